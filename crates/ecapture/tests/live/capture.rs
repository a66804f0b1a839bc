//! A run of ecapture.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Finished, Running, wait_for};
use crate::record::{self, Record, Records};

/// The program under test.
pub const ECAPTURE: &str = env!("CARGO_BIN_EXE_ecapture");

/// Room for what client and server make of 100 MiB while they leave no CPU to anyone: these tests are about
/// exactness. Whether the default size keeps up with a real client and server is measured by the bench.
pub const ROOMY: [&str; 2] = ["--mapsize", if cfg!(debug_assertions) { "524288" } else { "262144" }];

/// Room for the whole of a test's traffic: the bytes of one call come faster than anyone reads.
pub const ROOM_FOR_ALL: [&str; 2] = ["--mapsize", "524288"];

/// `ecapture`, in a known environment.
pub fn ecapture() -> Command {
    let mut command = Command::new(ECAPTURE);
    clean(&mut command);
    command
}

/// Takes out of the environment what would change how ecapture behaves.
pub fn clean(command: &mut Command) {
    command.env_remove("NO_COLOR").env_remove("ECAPTURE_DISABLE_FEATURES").env_remove("LD_LIBRARY_PATH");
    command.env("CACHE_DIRECTORY", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
}

/// The mount point of cgroup v2.
pub fn cgroup_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    PathBuf::from(words.find(|words| words[2] == "cgroup2").expect("cgroup2 is mounted")[1])
}

/// A cgroup that holds this process and what it starts from now on.
pub fn own_cgroup() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        const NAME: &str = "ecapture-tests-";
        let root = cgroup_root();
        // A process can not remove the group that it is in: those of earlier runs are removed here.
        for entry in fs::read_dir(&root).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(NAME).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        let own = root.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir(&own).expect("make a cgroup");
        fs::write(own.join("cgroup.procs"), std::process::id().to_string()).expect("move to a cgroup");
        own
    })
}

/// A capture in progress, as JSON lines in a file.
pub struct Capture {
    running: Running,
    directory: TempDir,
}

/// A capture that ended.
#[derive(Debug)]
pub struct Captured {
    pub code: i32,
    pub stderr: String,
    pub records: Records,
    /// Nothing when it ended without one.
    pub summary: Option<Summary>,
}

/// The numbers of the summary line.
#[derive(Debug)]
pub struct Summary(String);

impl Summary {
    fn of(stderr: &str) -> Option<Self> {
        stderr.lines().find_map(|line| Some(Self(line.split_once("summary: ")?.1.to_owned())))
    }

    /// The number behind `name=`.
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        let number =
            self.0.split([' ', '(', ')', ';']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

impl Capture {
    /// `ecapture tls` with these arguments; returns when it captures.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::with(ecapture(), arguments)
    }

    /// `ecapture tls`, which finds files itself, for programs of these tests: other traffic of the machine is
    /// left out in the kernel, where it could fill the buffer.
    pub fn everywhere() -> Self {
        Self::everywhere_with(ecapture())
    }

    /// The same with a command that runs ecapture.
    pub fn everywhere_with(command: Command) -> Self {
        Self::with(command, [OsStr::new("--cgroup_path"), own_cgroup().as_os_str()])
    }

    /// Captures only what uses this file.
    pub fn of(library: &Path) -> Self {
        Self::start([OsStr::new("--libssl"), library.as_os_str()])
    }

    /// The same with this much room.
    pub fn of_much(library: &Path, room: [&str; 2]) -> Self {
        Self::start([OsStr::new("--libssl"), library.as_os_str()].into_iter().chain(room.map(OsStr::new)))
    }

    /// `ecapture gnutls`, only of what uses this file.
    pub fn of_gnutls(library: &Path, arguments: &[&str]) -> Self {
        let only = [OsStr::new("--gnutls"), library.as_os_str()];
        Self::commands("gnutls", only.into_iter().chain(arguments.iter().map(OsStr::new)))
    }

    /// `ecapture nss` with a key log, only of what uses these files.
    pub fn of_nss(files: &[PathBuf], keys: &Path, arguments: &[&str]) -> Self {
        let only = files.iter().flat_map(|file| [OsStr::new("--nspr"), file.as_os_str()]);
        let keys = ["-m".as_ref(), "text,keylog".as_ref(), "-k".as_ref(), keys.as_os_str()];
        Self::commands("nss", only.chain(keys).chain(arguments.iter().map(OsStr::new)))
    }

    /// `ecapture gotls`, for Go programs of these tests, with much room.
    pub fn of_go() -> Self {
        let cgroup = own_cgroup();
        let only = [OsStr::new("--cgroup_path"), cgroup.as_os_str()];
        Self::commands("gotls", only.into_iter().chain(ROOMY.map(OsStr::new)))
    }

    /// With a command that runs ecapture.
    pub fn with<A: AsRef<OsStr>>(command: Command, arguments: impl IntoIterator<Item = A>) -> Self {
        let capture = Self::launch(command, arguments);
        capture.wait_until_ready();
        capture
    }

    /// `ecapture` with another command than `tls`; returns when it captures.
    pub fn commands<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let capture = Self::launch_as(program, ecapture(), arguments);
        capture.wait_until_ready();
        capture
    }

    /// Does not wait until it captures.
    pub fn launch<A: AsRef<OsStr>>(command: Command, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::launch_as("tls", command, arguments)
    }

    /// The same with any command of ecapture.
    pub fn launch_as<A: AsRef<OsStr>>(
        program: &str,
        mut command: Command,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Another user may have to write there.
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("chmod");
        command.arg(program).args(arguments);
        command.args(["--format", "json", "--output_file"]).arg(directory.path().join("records"));
        Self { running: Running::start(&mut command), directory }
    }

    /// Waits for the line that says so.
    pub fn wait_until_ready(&self) {
        self.running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    }

    /// Waits for a line on standard error that contains `words`.
    pub fn wait_for_line(&self, words: &str) -> String {
        self.running.error_line(words, |line| line.contains(words).then(|| line.to_owned()))
    }

    /// Its process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Sends a signal and goes on.
    pub fn running_signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Where records go.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join("records")
    }

    /// Waits until a record is shown that `accepts`.
    pub fn wait_for_record(&self, what: &str, accepts: impl Fn(&Record) -> bool) -> Record {
        wait_for(what, || self.so_far().0.into_iter().find(&accepts))
    }

    /// The records until now.
    pub fn so_far(&self) -> Records {
        let text = fs::read_to_string(self.output()).unwrap_or_default();
        record::parse(&text[..text.rfind('\n').map_or(0, |end| end + 1)])
    }

    /// Ends it with SIGINT.
    pub fn stop(self) -> Captured {
        self.stop_with(Signal::INT)
    }

    /// Ends it with a signal.
    pub fn stop_with(self, signal: Signal) -> Captured {
        self.running.signal(signal);
        self.finish()
    }

    /// Waits until it ends by itself.
    pub fn finish(self) -> Captured {
        let output = self.output();
        let ended: Finished = self.running.finish();
        let mut text = fs::read_to_string(output).expect("records are UTF-8");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        assert!(whole == text.len() || ended.code() > 128, "a cut line: {}", ended.stderr);
        text.truncate(whole);
        let summary = Summary::of(&ended.stderr);
        Captured { code: ended.code(), stderr: ended.stderr, records: record::parse(&text), summary }
    }
}

impl Captured {
    /// The records of a run that must have gone well and lost nothing.
    #[track_caller]
    pub fn complete(self) -> Records {
        assert_eq!(self.code, 0, "{}", self.stderr);
        assert_eq!(self.summary().get("lost"), 0, "{}", self.stderr);
        assert_eq!(self.summary().get("gaps"), 0, "{}", self.stderr);
        assert!(self.stderr.contains("stream not announced: 0 bytes; malformed: 0"), "{}", self.stderr);
        assert!(!self.stderr.contains(" WARN "), "{}", self.stderr);
        self.records
    }

    /// The same of commands, which have no streams.
    #[track_caller]
    pub fn complete_commands(self) -> Records {
        assert_eq!((self.code, self.summary().get("lost")), (0, 0), "{}", self.stderr);
        assert!(!self.stderr.contains(" WARN "), "{}", self.stderr);
        self.records
    }

    /// The summary, which must be there.
    #[track_caller]
    pub fn summary(&self) -> &Summary {
        self.summary.as_ref().unwrap_or_else(|| panic!("no summary: {}", self.stderr))
    }

    /// How many files were attached.
    pub fn attached(&self, path: &str) -> usize {
        self.stderr.lines().filter(|line| line.contains(" attached ") && line.contains(path)).count()
    }
}
