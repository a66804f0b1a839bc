//! Compiles every BPF program under `src/bpf` to an object that is embedded in the binary.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The builds of each program: for kernels with the newer features, for the rest, and for those of the rest that
/// have no BTF: libbpf refuses an object with a single CO-RE relocation there, even in a program that is not loaded.
///
/// `-mcpu` is pinned: what clang takes by default changes with its version, and old kernels
/// refuse newer instruction sets.
const VARIANTS: [(&str, &[&str]); 3] = [
    ("modern", &["-mcpu=v3"]),
    ("legacy", &["-mcpu=v2", "-DECAPTURE_LEGACY"]),
    ("nobtf", &["-mcpu=v2", "-DECAPTURE_LEGACY", "-DECAPTURE_NO_BTF"]),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-changed=src/bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rustc-env=ECAPTURE_FACTS_REVISION={:016x}", facts_revision());
    let sources = Path::new("src/bpf").read_dir().expect("src/bpf is readable");
    for source in sources.map(|entry| entry.expect("src/bpf is readable").path()) {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".bpf.c") {
            for (variant, flags) in VARIANTS {
                compile(&source, flags, &out.join(format!("{stem}.{variant}.bpf.o")));
            }
        }
    }
}

/// Sources that decide what is found in a file: what an older version found may be wrong for this one.
const FACTS: [&str; 3] = ["../inspect/src", "src/probes", "src/bpf"];

/// A hash of these sources.
fn facts_revision() -> u64 {
    let mut hasher = DefaultHasher::new();
    for directory in FACTS {
        println!("cargo:rerun-if-changed={directory}");
        hash(Path::new(directory), &mut hasher);
    }
    hasher.finish()
}

fn hash(directory: &Path, hasher: &mut DefaultHasher) {
    let entries = directory.read_dir().expect("sources are readable");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("sources are readable").path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            hash(&path, hasher);
        } else {
            fs::read(path).expect("sources are readable").hash(hasher);
        }
    }
}

fn compile(source: &Path, flags: &[&str], object: &Path) {
    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    let status = Command::new(&clang)
        .args(["-g", "-O2", "-target", "bpf", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-unused-parameter", "-Wno-missing-declarations", "-Wno-unused-function"])
        .arg(format!("-D__TARGET_ARCH_{}", bpf_arch()))
        // The headers of the libbpf that we link with, not those of the system.
        .arg("-isystem")
        .arg(env::var_os("DEP_BPF_INCLUDE").expect("libbpf-sys exports its headers"))
        .args(flags)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}; install clang", clang.display()));
    assert!(status.success(), "clang failed on {}", source.display());
}

fn bpf_arch() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        Ok("aarch64") => "arm64",
        other => panic!("no BPF build for architecture {other:?}"),
    }
}
