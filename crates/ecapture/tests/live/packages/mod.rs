//! Programs that bring a TLS library of their own: their keys and plaintext, without an option of theirs.

mod program;
mod table;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::capture::{Capture, Captured};
use crate::keys::{lines, lines_once};
use crate::lab::{Lab, Server, ready_port, say};
use crate::packets::Packets;
use crate::process::Running;
use crate::record::{RECEIVED, SENT};
use program::{Library, Program, in_programs};
pub use program::{kept, succeeds, unpacked};

/// A server for one version of TLS, run by this Node.js.
fn serve_with(node: &Path, lab: &Lab, arguments: &[&str]) -> Server {
    let running = Running::start(lab.command(node).arg(in_programs("server.js")).args(arguments));
    let port = ready_port(&running);
    Server { running, port }
}

/// A server that writes a key log. It uses no file that these tests watch.
fn serve(lab: &Lab, version: &str) -> Server {
    serve_with(Path::new("/usr/bin/node"), lab, &[version, "server.keys"])
}

/// `ecapture tls -m text,keylog`; the key log is `captured.keys`.
fn capture(lab: &Lab, option: &str, value: impl AsRef<OsStr>) -> Capture {
    let keys = lab.path("captured.keys");
    let arguments = ["-m", "text,keylog", option].map(OsStr::new);
    Capture::start(arguments.into_iter().chain([value.as_ref(), "-k".as_ref(), keys.as_os_str()]))
}

/// The key log of a run must be that of `other`, with `count` lines.
#[track_caller]
fn assert_keys(lab: &Lab, captured: &Captured, other: &str, count: usize) {
    assert_eq!(lines_once(&lab.path("captured.keys")), lines(&lab.path(other)), "{}", captured.stderr);
    for (part, expected) in [("keys", count), ("keys_not_seen", 0), ("keys_refused", 0), ("keys_lost", 0)] {
        assert_eq!(captured.summary().get(part), expected as u64, "{part}: {}", captured.stderr);
    }
}

/// The process must have one request for `/secret-page`, in this direction.
#[track_caller]
fn assert_request(captured: Captured, pid: u32, direction: &str) {
    let records = captured.complete().of(pid).way(direction);
    let asks = |data: Vec<u8>| String::from_utf8_lossy(&data).contains("/secret-page");
    assert_eq!(records.only(|record| asks(record.data())).0.len(), 1, "{records:#?}");
}

/// A connection that is made while ecapture runs.
fn new_connection(program: &Program, file: &Path, version: &str, count: usize) {
    let lab = Lab::new();
    let server = serve(&lab, version);
    let packets = Packets::of(&lab, server.port);
    let capture = capture(&lab, "--libssl", file);
    let mut client = program.start(&lab, server.port);
    let pid = client.pid();
    say(&mut client.input(), "\n");
    client.finish().succeeded();
    let captured = capture.stop();
    assert_keys(&lab, &captured, "server.keys", count);
    assert_request(captured, pid, SENT);
    packets.assert_request("/secret-page", &lab.path("captured.keys"));
}

/// A connection that is open before ecapture starts, of a process whose library it has to find.
fn open_connection(program: &Program, _file: &Path, version: &str, count: usize) {
    let lab = Lab::new();
    let server = serve(&lab, version);
    let packets = Packets::of(&lab, server.port);
    let mut client = program.start(&lab, server.port);
    client.line("the first answer", |line| (line == "open").then_some(()));
    let pid = client.pid();
    let capture = capture(&lab, "--pid", pid.to_string());
    say(&mut client.input(), "\n");
    client.finish().succeeded();
    let captured = capture.finish(); // as the only process has ended
    if program.library == Library::BoringSsl && captured.summary().get("keys") == 0 {
        // It does not keep what a proof needs. Nothing is guessed, and the connection is counted.
        assert_eq!(captured.summary().get("keys_not_seen"), 1, "{}", captured.stderr);
        return assert_request(captured, pid, SENT);
    }
    assert_keys(&lab, &captured, "server.keys", count);
    assert_request(captured, pid, SENT);
    packets.assert_request("/secret-page", &lab.path("captured.keys"));
}

/// A connection to a server in a file of a program, which writes no key log.
fn accepted_connection(_program: &Program, file: &Path, version: &str, count: usize) {
    let lab = Lab::new();
    let server = serve_with(file, &lab, &[version]);
    let packets = Packets::of(&lab, server.port);
    let capture = capture(&lab, "--libssl", file);
    let mut curl = lab.command("curl");
    curl.args(["-sk", "--noproxy", "*", &format!("https://127.0.0.1:{}/secret-page", server.port)]);
    Running::start(curl.env("SSLKEYLOGFILE", "client.keys")).finish().succeeded();
    let captured = capture.stop();
    assert_keys(&lab, &captured, "client.keys", count);
    assert_request(captured, server.running.pid(), RECEIVED);
    packets.assert_request("/secret-page", &lab.path("captured.keys"));
}

/// Runs `test` with those that this machine can have; answers how many.
fn each<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
    test: impl Fn(&Program, &Path, &str, usize),
) -> usize {
    let mut count = 0;
    for program in programs {
        let Some(file) = program.install() else { continue };
        for (version, lines) in program.library.versions() {
            println!("{}, TLS {version}", program.name());
            test(program, &file, version, *lines);
        }
        count += 1;
    }
    count
}

#[test]
fn new_connections() {
    let programs = &table::FEW;
    assert_eq!(each(programs, new_connection), programs.len());
}

#[test]
#[ignore = "fetches many packages"]
fn new_connections_of_more_programs() {
    assert!(each(&table::MORE, new_connection) >= 14);
}

#[test]
fn connections_that_were_open_before() {
    let programs = || table::FEW.iter().filter(|program| program.says_when_open());
    assert_eq!(each(programs(), open_connection), programs().count());
}

#[test]
#[ignore = "fetches many packages"]
fn connections_of_more_programs_that_were_open_before() {
    assert!(each(&table::MORE, open_connection) >= 14);
}

#[test]
#[ignore = "fetches many packages"]
fn accepted_connections() {
    let is_node =
        |program: &&Program| program.name().starts_with("node-") && program.library == Library::OpenSsl;
    assert!(each(table::MORE.iter().filter(is_node), accepted_connection) >= 2);
}

/// Runs a program that says no HTTP and needs no word; answers how it was captured.
fn keys_of(program: &Program, file: &Path) -> Captured {
    let lab = Lab::new();
    let server = serve(&lab, "1.2");
    let capture = capture(&lab, "--libssl", file);
    program.start(&lab, server.port).finish().succeeded();
    let captured = capture.stop();
    assert_keys(&lab, &captured, "server.keys", 1);
    captured
}

/// OpenSSL before 1.1.1 hands no secrets over: they are read when the handshake returns.
#[test]
fn a_handshake_without_data() {
    let program = &table::HANDSHAKE_ALONE;
    let captured = keys_of(program, &program.install().expect("a package"));
    assert!(captured.stderr.contains("OpenSSL 1.1.0"), "{}", captured.stderr);
    assert_eq!(captured.summary().get("bytes"), 0);
}

#[test]
#[ignore = "fetches a package that is not there for every Python"]
fn openssl_102() {
    let program = &table::AEROSPIKE;
    let captured = keys_of(program, &program.install().expect("a package"));
    assert!(captured.stderr.contains("OpenSSL 1.0.2"), "{}", captured.stderr);
}

#[test]
#[ignore = "builds AWS-LC"]
fn aws_lc() {
    let programs = [&table::AWS_LC];
    assert_eq!(each(programs, new_connection), 1);
    assert_eq!(each(programs, open_connection), 1);
}

/// It writes no key log, and hands no secrets over: the server's log tells, and with TLS 1.3 there is nothing to read.
#[test]
#[ignore = "builds LibreSSL"]
fn libressl() {
    let program = &table::LIBRESSL;
    assert_eq!(each([program], new_connection), 1);
    assert_eq!(each([program], open_connection), 1);
    let lab = Lab::new();
    let server = serve(&lab, "1.3");
    let file = program.install().expect("a crate");
    let capture = capture(&lab, "--libssl", &file);
    let mut client = program.start(&lab, server.port);
    let pid = client.pid();
    say(&mut client.input(), "\n");
    client.finish().succeeded();
    let captured = capture.stop();
    assert_eq!((captured.summary().get("keys"), captured.summary().get("keys_not_seen")), (0, 1));
    assert!(captured.stderr.contains("LibreSSL 3.1.0"), "{}", captured.stderr);
    assert_request(captured, pid, SENT);
}

/// Conscrypt unpacks its library from a jar and removes the file at once.
#[test]
#[ignore = "needs a JDK and Maven"]
fn a_library_in_a_jar() {
    const CONSCRYPT: &str = "conscrypt-openjdk-uber-2.5.2";
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy", "-Dartifact=org.conscrypt:conscrypt-openjdk-uber:2.5.2:jar"]);
    maven.arg(format!("-DoutputDirectory={}", kept(CONSCRYPT).display()));
    let jar = kept(CONSCRYPT).join(format!("{CONSCRYPT}.jar"));
    assert!(jar.exists() || succeeds(&mut maven));
    for (version, count) in Library::BoringSsl.versions() {
        let lab = Lab::new();
        let server = serve(&lab, version);
        let mut java = lab.command("java");
        java.arg("-cp").arg(&jar).arg(in_programs("conscrypt.java")).arg(server.port.to_string());
        let mut java = Running::start_with_input(java.stdin(Stdio::piped()));
        java.line("the library", |line| (line == "open").then_some(()));
        let capture = capture(&lab, "--pid", java.pid().to_string());
        let pid = java.pid();
        let packets = Packets::of(&lab, server.port);
        say(&mut java.input(), "\n");
        java.finish().succeeded();
        let captured = capture.finish();
        assert_keys(&lab, &captured, "server.keys", *count);
        assert_request(captured, pid, SENT);
        packets.assert_request("/secret-page", &lab.path("captured.keys"));
    }
}
