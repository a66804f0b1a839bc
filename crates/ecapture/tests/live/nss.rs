//! NSS: every way in which a program may call it yields exactly the bytes that went through TLS, and keys, in several
//! versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::capture::{Capture, Captured, ROOM_FOR_ALL};
use crate::keys::{lines, lines_once};
use crate::lab::{Lab, Server, target};
use crate::pattern::{self, assert_same};
use crate::process::{Running, output_of};
use crate::record::{RECEIVED, SENT};

/// Versions of TLS, and the number of lines that a connection has in a key log.
const VERSIONS: [(&str, usize); 2] = [("1.2", 1), ("1.3", 5)];

const LENGTH: usize = 300_000;

/// Takes a line in clear and, in TLS, so many bytes, and gives them back. Keeps a key log.
const ECHO: &str = r"
import socket, ssl, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
context.keylog_filename = 'server.keys'
def serve(plain):
    assert plain.recv(9, socket.MSG_WAITALL) == b'STARTTLS\n'
    with context.wrap_socket(plain, server_side=True) as tls:
        body = b''
        while len(body) < 300000:
            body += tls.recv(65536)
        tls.sendall(body)
        tls.recv(1)
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// A lab whose programs use the NSS of another directory, if one is given.
struct Installed {
    lab: Lab,
    server: Server,
    /// What a run is told to hook.
    files: Vec<PathBuf>,
}

/// Libraries of NSS that depend on each other, and find each other in their directory.
const LIBRARIES: [&str; 6] =
    ["libssl3.so", "libnss3.so", "libnssutil3.so", "libsoftokn3.so", "libfreeblpriv3.so", "libsmime3.so"];
/// What that of Firefox needs.
const OF_FIREFOX: &str = "libmozsqlite3.so";

impl Installed {
    /// With copies of the libraries, as other programs may use these.
    fn from(directories: &[PathBuf]) -> Self {
        let lab = Lab::new();
        let server = lab.python_server(ECHO);
        for name in LIBRARIES {
            let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.exists());
            fs::copy(found.expect("a library of NSS"), lab.path("lib").join(name)).expect("copy it");
        }
        if let Some(found) = directories.iter().map(|at| at.join(OF_FIREFOX)).find(|path| path.exists()) {
            fs::copy(found, lab.path("lib").join(OF_FIREFOX)).expect("copy it");
        }
        let files = ["libssl3.so", "libfreeblpriv3.so"].map(|name| lab.path("lib").join(name));
        Self { lab, server, files: files.to_vec() }
    }

    fn of_this_system() -> Self {
        Self::from(&[system()])
    }

    /// Sends a body in one way, and receives it in another; answers how often calls were made again.
    fn run(&self, sending: &str, receiving: &str, version: &str) -> (Captured, u64, Vec<u8>) {
        let body = pattern::body(9, LENGTH);
        self.lab.file("body", &body);
        let capture = Capture::of_nss(&self.files, &self.lab.path("captured.keys"), &ROOM_FOR_ALL);
        let mut command = self.lab.command(target("nss_forms"));
        command.args([sending, receiving, version, &self.server.port.to_string()]);
        let ended = Running::start(&mut command).finish().succeeded();
        (capture.stop(), ended.text().trim().parse().expect("a number"), body)
    }

    #[track_caller]
    fn assert(&self, sending: &str, receiving: &str, is_again: bool) {
        for (version, count) in VERSIONS {
            let (captured, again, body) = self.run(sending, receiving, version);
            for (part, expected) in
                [("keys", count), ("keys_not_seen", 0), ("keys_refused", 0), ("keys_lost", 0)]
            {
                assert_eq!(captured.summary().get(part), expected as u64, "{part}: {}", captured.stderr);
            }
            let records = captured.complete();
            assert_same(&records.way(SENT).bytes(), &body, "sent");
            assert_same(&records.way(RECEIVED).bytes(), &body, "received");
            assert_eq!(again != 0, is_again, "{sending}: {again} calls were made again");
            let port = format!("127.0.0.1:{}", self.server.port);
            assert_eq!(*records.way(SENT).same("dst"), port);
        }
        // Both connections of this lab.
        assert_eq!(lines_once(&self.lab.path("captured.keys")), lines(&self.lab.path("server.keys")));
    }
}

/// Where this system has NSS.
fn system() -> PathBuf {
    let needed = output_of("ldd", &[target("nss_forms").to_str().expect("UTF-8")]);
    let line = needed.lines().find(|line| line.contains("libssl3.so")).expect("it uses NSS");
    let path = line.split_ascii_whitespace().find(|word| word.starts_with('/')).expect("a path");
    PathBuf::from(path).parent().expect("a directory").to_owned()
}

#[test]
fn every_way_to_send_and_receive() {
    for (sending, receiving) in [("write", "read"), ("send", "recv"), ("writev", "peek"), ("file", "read")] {
        Installed::of_this_system().assert(sending, receiving, false);
    }
}

#[test]
fn calls_that_are_made_again_count_once() {
    Installed::of_this_system().assert("nonblocking", "recv", true);
}

/// Fetches a package of another release of Debian and unpacks it, once; answers where. `None` where it can not be had.
fn unpacked(suite: &str) -> Option<PathBuf> {
    let directory = crate::packages::kept(&format!("libnss3-{suite}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/corpus/unpack");
    let there = directory.exists()
        || crate::packages::succeeds(Command::new(script).args([suite, "libnss3"]).arg(&directory));
    there.then(|| directory.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)))
}

#[test]
#[ignore = "gets packages; make test-all"]
fn other_versions() {
    let debian = unpacked("bullseye").map(|at| vec![at.join("nss"), at]);
    let firefox = ["/usr/lib/firefox-esr", "/usr/lib/firefox"].map(PathBuf::from);
    let firefox = firefox.into_iter().find(|at| at.exists()).map(|at| vec![at, system()]);
    let versions: Vec<_> = [debian, firefox].into_iter().flatten().collect();
    assert!(!versions.is_empty(), "no other version is to be had");
    for directories in versions {
        println!("{}", directories[0].display());
        Installed::from(&directories).assert("send", "recv", false);
    }
}
