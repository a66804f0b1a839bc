//! What can not work says so, names the thing, and ends with 1.

use std::fs;
use std::path::{Path, PathBuf};

use crate::capture::ecapture;
use crate::lab::{Lab, system_libssl};
use crate::process::{Finished, Running, output_of};

/// Runs `ecapture tls` with these arguments, which must end it at once.
#[track_caller]
fn refused(arguments: &[&str]) -> Finished {
    let finished = Running::start(ecapture().arg("tls").args(arguments)).finish();
    assert_eq!(finished.code(), 1, "{arguments:?}: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let errors = finished.stderr.lines().filter(|line| line.starts_with("ecapture: ")).count();
    assert_eq!(errors, 1, "one sentence: {}", finished.stderr);
    assert_eq!(finished.text(), "");
    finished
}

/// A file as `--libssl` must be refused, with its name and these words.
#[track_caller]
fn refused_library(path: &Path, words: &str) {
    let name = path.to_str().expect("UTF-8");
    let message = refused(&["--libssl", name]).stderr;
    assert!(message.contains(name) && message.to_lowercase().contains(words), "{message}");
}

#[test]
fn libraries_that_are_no_files() {
    let lab = Lab::new();
    refused_library(&lab.path("missing"), "no such file");
    refused_library(&lab.path("lib"), "directory");
    refused_library(Path::new("/dev/null"), "");
}

#[test]
fn libraries_that_are_no_elf() {
    let lab = Lab::new();
    refused_library(&lab.file("empty", ""), "");
    refused_library(&lab.file("text", "These are words, and no library.\n".repeat(100)), "elf");
}

#[test]
fn truncated_libraries() {
    let lab = Lab::new();
    let whole = fs::read(&lab.libssl).expect("libssl");
    for length in [1, 4, 16, 63, 64, 100, 1000, 4096, whole.len() / 4, whole.len() / 2, whole.len() - 100] {
        refused_library(&lab.file(&format!("first-{length}"), &whole[..length]), "");
    }
}

#[test]
fn libraries_of_other_machines() {
    let lab = Lab::new();
    let mut bytes = fs::read(&lab.libssl).expect("libssl");
    let here = std::env::consts::ARCH;
    // e_machine: AArch64 or x86-64, whichever is not ours.
    bytes[18] = if here == "x86_64" { 183 } else { 62 };
    refused_library(&lab.file("other-machine", &bytes), if here == "x86_64" { "aarch64" } else { "x86" });
    let mut bytes = fs::read(&lab.libssl).expect("libssl");
    bytes[4] = 1; // ELFCLASS32
    refused_library(&lab.file("class-32", &bytes), "32");
    let mut header = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0\x01\0\0\0".to_vec(); // i386
    header.resize(52, 0);
    refused_library(&lab.file("i386", &header), "32");
}

#[test]
fn libraries_without_tls() {
    let needed = output_of("ldd", &[system_libssl().to_str().expect("UTF-8")]);
    let libc = needed.split_ascii_whitespace().find(|word| word.contains("/libc.so")).expect("libc");
    refused_library(Path::new(libc), "no function of openssl");
    refused_library(Path::new("/bin/true"), "no function of openssl");
}

#[test]
fn processes_that_do_not_exist() {
    let message = refused(&["-p", "4194304"]).stderr;
    assert!(message.contains("4194304"), "{message}");
    let own = std::process::id().to_string();
    let message = refused(&["-p", &own, "-p", "4194304"]).stderr;
    assert!(message.contains("4194304"), "{message}");
}

#[test]
fn places_that_can_not_be_written() {
    let lab = Lab::new();
    let directory = lab.path("lib");
    let under_a_file = lab.file("file", "").join("below");
    let places: [PathBuf; 3] = ["/no/such/directory/file".into(), directory, under_a_file];
    let library = lab.libssl.to_str().expect("UTF-8");
    for option in ["--output_file", "--eventaddr", "--logaddr"] {
        for place in &places {
            let place = place.to_str().expect("UTF-8");
            let message = refused(&["--libssl", library, option, place]).stderr;
            assert!(message.contains(place), "{message}");
        }
    }
}

#[test]
fn cgroups_that_are_none() {
    let lab = Lab::new();
    for path in [lab.path("missing"), lab.path("lib"), "/proc".into()] {
        let path = path.to_str().expect("UTF-8");
        let message = refused(&["--cgroup_path", path]).stderr;
        assert!(message.contains(path) && message.contains("--cgroup_path"), "{message}");
    }
}
