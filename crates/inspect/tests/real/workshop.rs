//! Files built for the tests. Needs gcc, binutils and, for the static program, libssl-dev (`libssl.a`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use inspect::openssl::{OpenSsl, Refusal, resolve, resolve_without_symbols};
use inspect::{Binary, Hook};

/// A directory that goes away, with whatever is built in it.
pub struct Workshop(tempfile::TempDir);

impl Workshop {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Compiles a source from tests/fakes (or the C text itself) with these options.
    pub fn gcc(&self, source: &str, options: &str) -> PathBuf {
        let output = self.0.path().join(format!("out{}", self.0.path().read_dir().unwrap().count()));
        let mut path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes").join(source);
        if source.contains('\n') {
            path = output.with_extension("c");
            std::fs::write(&path, source).unwrap();
        }
        let (before, after) = options.split_once(" -- ").unwrap_or((options, ""));
        let mut command = Command::new("gcc");
        command.args(before.split_whitespace()).arg(path).args(after.split_whitespace());
        run(command.arg("-o").arg(&output));
        output
    }

    /// A copy without `.symtab`.
    pub fn stripped(&self, file: &Path) -> PathBuf {
        let output = file.with_extension("stripped");
        run(Command::new("strip").arg("-o").arg(&output).arg(file));
        output
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What is found in a file.
pub fn found_in(path: impl AsRef<Path>) -> Result<OpenSsl, Refusal> {
    let file = File::open(path).unwrap();
    resolve(&Binary::open(&file)?)
}

/// What is found in a file as if it had no symbols.
pub fn nameless_in(path: impl AsRef<Path>) -> Result<OpenSsl, Refusal> {
    let file = File::open(path).unwrap();
    resolve_without_symbols(&Binary::open(&file)?)
}

/// Names of the functions to be hooked, in order.
pub fn names(found: &OpenSsl) -> Vec<&'static str> {
    found.hooks.iter().map(|hook| hook.function).collect()
}

/// The hook of one function.
pub fn hook<'o>(found: &'o OpenSsl, name: &str) -> &'o Hook {
    found.hooks.iter().find(|hook| hook.function == name).unwrap_or_else(|| panic!("{name}: {found:?}"))
}

/// A package of a release of Debian for a machine, unpacked; `None` where it can not be had.
pub fn unpacked(suite: &str, package: &str, machine: &str) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-{suite}-{machine}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/corpus/unpack");
    let mut unpack = Command::new(script);
    unpack.args([suite, package]).arg(&directory).arg(machine);
    (directory.exists() || unpack.status().is_ok_and(|status| status.success())).then_some(directory)
}

/// The one regular file below a directory whose name begins so.
pub fn below(directory: &Path, name: &str) -> PathBuf {
    let mut find = Command::new("find");
    find.arg(directory).args(["-type", "f", "-name", &format!("{name}*")]);
    let found = String::from_utf8(find.output().unwrap().stdout).unwrap();
    PathBuf::from(found.lines().next().unwrap_or_else(|| panic!("no {name}")))
}
