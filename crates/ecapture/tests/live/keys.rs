//! A run of `ecapture tls` that writes a key log, and programs that write their own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::capture::ecapture;
use crate::lab::{Lab, Server};
use crate::process::{Finished, Running, wait_for};

/// Lines of a key log.
pub type Lines = BTreeSet<String>;

/// What a key log has; comments of OpenSSL do not count.
pub fn lines(path: &Path) -> Lines {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The same of a file in which no line is there twice.
#[track_caller]
pub fn lines_once(path: &Path) -> Lines {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = lines(path);
    assert_eq!(text.lines().count(), lines.len(), "a line is there twice:\n{text}");
    lines
}

/// The lines with one of these labels.
pub fn labelled(lines: &Lines, labels: &[&str]) -> Lines {
    let is_one = |line: &&String| labels.iter().any(|label| line.starts_with(&format!("{label} ")));
    lines.iter().filter(is_one).cloned().collect()
}

/// Labels of full connections of TLS 1.3.
pub const TLS13: [&str; 5] = [
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
    "EXPORTER_SECRET",
];

/// A run in progress.
pub struct KeyCapture {
    running: Running,
    pub path: PathBuf,
}

/// A run that ended.
pub struct Keys {
    pub lines: Lines,
    pub stderr: String,
}

impl KeyCapture {
    /// `ecapture tls -m keylog` for the programs of a lab; returns when it captures.
    pub fn of<A: AsRef<OsStr>>(lab: &Lab, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::with(ecapture(), lab, arguments)
    }

    /// The same with a command that runs ecapture.
    pub fn with<A: AsRef<OsStr>>(
        mut command: Command,
        lab: &Lab,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let path = lab.path("captured.keys");
        command.args(["tls", "-m", "keylog", "--libssl"]).arg(&lab.libssl).arg("-k").arg(&path);
        let running = Running::start(command.args(arguments));
        running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
        Self { running, path }
    }

    /// Sends a signal and goes on.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits until the file at `path` has this many lines.
    pub fn wait_for_lines(&self, path: &Path, count: usize) -> Lines {
        wait_for("lines of the key log", || Some(lines(path)).filter(|lines| lines.len() >= count))
    }

    /// Ends it; no line may be there twice, and nothing may have been refused or lost.
    #[track_caller]
    pub fn stop(self) -> Keys {
        let keys = self.stop_anyhow();
        assert!(keys.stderr.contains(" keys_refused=0 keys_lost=0"), "{}", keys.stderr);
        assert_eq!(keys.count("keys"), keys.lines.len() as u64, "{}", keys.stderr);
        keys
    }

    /// Ends it.
    #[track_caller]
    pub fn stop_anyhow(self) -> Keys {
        self.running.signal(Signal::INT);
        let ended: Finished = self.running.finish().succeeded();
        Keys { lines: lines_once(&self.path), stderr: ended.stderr }
    }
}

impl Keys {
    /// The number behind `name=` in the summary.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let word = format!(" {name}=");
        let (_, rest) = self.stderr.split_once(&word).unwrap_or_else(|| panic!("no {name}: {}", self.stderr));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }
}

impl Lab {
    /// `openssl` with these words as arguments, and a pipe as standard input.
    pub fn openssl(&self, arguments: &str) -> Running {
        let mut command = self.command("openssl");
        Running::start_with_input(command.args(arguments.split_ascii_whitespace()).stdin(Stdio::piped()))
    }

    /// `openssl s_server`, which writes its own key log to `server.keys`.
    pub fn s_server(&self, options: &str) -> Server {
        let common = "-accept 0 -cert cert.pem -key key.pem -keylogfile server.keys";
        let running = self.openssl(&format!("s_server {common} {options}"));
        let port = running.line("\"ACCEPT\"", |line| {
            line.strip_prefix("ACCEPT ").and_then(|address| address.rsplit_once(':')?.1.parse().ok())
        });
        Server { running, port }
    }

    /// `openssl s_client`.
    pub fn s_client(&self, port: u16, options: &str) -> Running {
        self.openssl(&format!("s_client -connect localhost:{port} {options}"))
    }

    /// What the server wrote to its own key log.
    pub fn server_keys(&self) -> Lines {
        lines(&self.path("server.keys"))
    }
}
