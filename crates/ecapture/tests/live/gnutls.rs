//! GnuTLS: every way in which a program may call it yields exactly the bytes that were moved, and keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;

use crate::capture::{Capture, ROOM_FOR_ALL, ecapture};
use crate::keys::{TLS13, labelled, lines};
use crate::lab::{Lab, Server, free_port, say, target, wait_for_port};
use crate::packages::unpacked;
use crate::pattern::{self, assert_same};
use crate::process::{Running, output_of, wait_for};
use crate::record::{RECEIVED, Record, Records, SENT};

/// Priorities of GnuTLS for each version, and the number of lines of a key log that a connection has.
const VERSIONS: [(&str, usize); 2] = [("NORMAL:-VERS-TLS1.3", 1), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", 5)];

/// A lab whose programs have their own copy of libgnutls.
fn lab() -> (Lab, PathBuf) {
    let needed = output_of("ldd", &[target("gnutls_forms").to_str().expect("UTF-8")]);
    let line = needed.lines().find(|line| line.contains("libgnutls.so")).expect("it uses libgnutls");
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    lab_with(Path::new(words[2]), words[0])
}

/// The same with this library, which programs know by that name.
fn lab_with(original: &Path, name: &str) -> (Lab, PathBuf) {
    let lab = Lab::new();
    let library = lab.path("lib").join(name);
    fs::copy(original, &library).expect("copy libgnutls");
    (lab, library)
}

/// Sends a body in one way and receives it in another.
fn forms(sending: &str, receiving: &str, version: &str) -> (Records, u64, Vec<u8>) {
    forms_in(lab(), sending, receiving, version)
}

fn forms_in(
    (lab, library): (Lab, PathBuf),
    sending: &str,
    receiving: &str,
    version: &str,
) -> (Records, u64, Vec<u8>) {
    let body = pattern::body(9, 300_000);
    lab.file("body", &body);
    let capture = Capture::of_gnutls(&library, &ROOM_FOR_ALL);
    let mut command = lab.command(target("gnutls_forms"));
    let ended = Running::start(command.args([sending, receiving, version])).finish().succeeded();
    let again = ended.text().trim().parse().expect("a number");
    (capture.stop().complete(), again, body)
}

#[track_caller]
fn assert_forms(sending: &str, receiving: &str, is_again: bool) {
    for (version, _) in VERSIONS {
        assert_form(sending, receiving, version, is_again);
    }
}

#[track_caller]
fn assert_form(sending: &str, receiving: &str, version: &str, is_again: bool) {
    assert_bytes(sending, forms(sending, receiving, version), is_again);
}

#[track_caller]
fn assert_bytes(sending: &str, (records, again, body): (Records, u64, Vec<u8>), is_again: bool) {
    assert_same(&records.way(SENT).bytes(), &body, "sent");
    assert_same(&records.way(RECEIVED).bytes(), &body, "received");
    assert_eq!(again != 0, is_again, "{sending}: {again} calls were made again");
}

#[test]
fn sent_at_once() {
    assert_forms("send", "recv", false);
    assert_forms("send", "seq", false);
    assert_forms("file", "recv", false);
    assert_form("range", "recv", "NORMAL", false); // which takes TLS 1.3, where lengths can be hidden
}

/// GnuTLS 3.7.1.
#[test]
#[ignore = "fetches packages"]
fn an_older_version() {
    let Some(directory) = unpacked("bullseye", "libgnutls30") else { panic!("it is not to be had") };
    for (version, _) in VERSIONS {
        for (sending, is_again) in [("send", false), ("resume", true), ("cork", true)] {
            let lab = lab_with(&directory.join("libgnutls.so.30"), "libgnutls.so.30");
            assert_bytes(sending, forms_in(lab, sending, "recv", version), is_again);
        }
    }
}

#[test]
fn calls_that_are_made_again_count_once() {
    assert_forms("resend", "recv", true);
    // Without the buffer, in which there is something else by then.
    assert_forms("resume", "recv", true);
}

#[test]
fn corked_bytes_count_once() {
    assert_forms("cork", "recv", true);
    assert_forms("cork-wait", "recv", false);
}

#[test]
fn bytes_in_memory_of_the_library_are_a_gap() {
    let (lab, library) = lab();
    let body = pattern::body(9, 300_000);
    lab.file("body", &body);
    let capture = Capture::of_gnutls(&library, &ROOM_FOR_ALL);
    let mut command = lab.command(target("gnutls_forms"));
    Running::start(command.args(["send", "packet", "NORMAL"])).finish().succeeded();
    let captured = capture.stop();
    assert_same(&captured.records.way(SENT).bytes(), &body, "sent");
    let received = captured.records.way(RECEIVED);
    let missing: u64 = received.0.iter().map(|record| record.number("bytes")).sum();
    assert_eq!(missing, body.len() as u64, "{received:#?}");
    assert_eq!(captured.summary().get("lost"), body.len() as u64);
}

/// `gnutls-serv`, which keeps a key log and answers with what it gets.
fn echo_server(lab: &Lab, version: &str) -> Server {
    let port = free_port();
    let mut command = lab.command("gnutls-serv");
    command.env("SSLKEYLOGFILE", lab.path("server.keys"));
    command.args(["--echo", "--x509certfile=cert.pem", "--x509keyfile=key.pem", "--priority", version]);
    let running = Running::start(command.arg(format!("--port={port}")));
    wait_for_port(port);
    Server { running, port }
}

/// `gnutls-cli` that says this.
fn client(lab: &Lab, port: u16, words: &str) -> u32 {
    let mut command = lab.command("gnutls-cli");
    command.args(["--insecure", &format!("--port={port}"), "127.0.0.1"]).stdin(Stdio::piped());
    let mut running = Running::start_with_input(&mut command);
    running.line("the end of the handshake", |line| line.contains("Simple Client Mode").then_some(()));
    let mut input = running.input();
    say(&mut input, words);
    running.line("the answer", |line| (line == words.trim_end()).then_some(()));
    let pid = running.pid();
    drop(input);
    running.finish().succeeded();
    pid
}

#[test]
fn both_ends_with_their_addresses() {
    for (version, _) in VERSIONS {
        let (lab, library) = lab();
        let server = echo_server(&lab, version);
        let capture = Capture::of_gnutls(&library, &[]);
        let pid = client(&lab, server.port, "a line\n");
        let of_server = |record: &Record| record.pid() == server.running.pid();
        wait_for_both(&capture, of_server);
        let records = capture.stop().complete();
        let (client, server_side) = (records.of(pid), records.only(of_server));
        assert_eq!(client.both_ways(), (b"a line\n".to_vec(), b"a line\n".to_vec()));
        assert_eq!(server_side.both_ways(), (b"a line\n".to_vec(), b"a line\n".to_vec()));
        let ends = |records: &Records, way| {
            (records.way(way).same("src").clone(), records.way(way).same("dst").clone())
        };
        assert_eq!(ends(&client, SENT).1, format!("127.0.0.1:{}", server.port));
        assert_eq!(ends(&client, SENT), ends(&server_side, RECEIVED));
        assert_eq!(ends(&client, RECEIVED), ends(&server_side, SENT));
    }
}

fn wait_for_both(capture: &Capture, of_server: impl Fn(&Record) -> bool) {
    capture.wait_for_record("the answer", |record| of_server(record) && record.text("dir") == SENT);
}

#[test]
fn early_data_counts_once() {
    let (lab, library) = lab();
    lab.file("early", "early\n");
    let port = free_port();
    let mut server = lab.command("gnutls-serv");
    server.args([
        "--echo",
        "--earlydata",
        "--maxearlydata=1000",
        "--x509certfile=cert.pem",
        "--x509keyfile=key.pem",
    ]);
    let server = Running::start(server.arg(format!("--port={port}")));
    wait_for_port(port);
    let capture = Capture::of_gnutls(&library, &[]);
    let mut command = lab.command("gnutls-cli");
    command.args(["--resume", "--earlydata=early", "--insecure", &format!("--port={port}"), "127.0.0.1"]);
    let mut client = Running::start_with_input(command.stdin(Stdio::piped()));
    let mut input = client.input();
    client.line("a resumed session", |line| line.contains("This is a resumed session").then_some(()));
    say(&mut input, "a line\n");
    client.line("the answer", |line| (line == "a line").then_some(()));
    let pid = client.pid();
    drop(input);
    client.finish().succeeded();
    wait_for_both(&capture, |record| record.pid() == server.pid());
    let records = capture.stop().complete();
    assert_eq!(records.of(pid).both_ways(), (b"early\na line\n".to_vec(), b"a line\n".to_vec()));
    assert_eq!(records.of(server.pid()).both_ways(), (b"a line\n".to_vec(), b"early\na line\n".to_vec()));
}

#[test]
fn keys_are_those_of_its_own_key_log() {
    for (version, count) in VERSIONS {
        let (lab, library) = lab();
        let server = echo_server(&lab, version);
        let path = lab.path("captured.keys");
        let mut command = ecapture();
        command.args(["gnutls", "-m", "keylog", "--gnutls"]).arg(&library).arg("-k").arg(&path);
        let capture = Running::start(&mut command);
        capture.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
        client(&lab, server.port, "a line\n");
        let captured = wait_for("lines", || Some(lines(&path)).filter(|lines| lines.len() >= count));
        capture.signal(Signal::INT);
        let ended = capture.finish().succeeded();
        assert!(ended.stderr.contains(" keys_refused=0 keys_lost=0"), "{}", ended.stderr);
        let expected = lab.server_keys();
        assert_eq!(expected.len(), count, "{expected:?}");
        assert_eq!(captured, expected);
        assert_eq!(labelled(&captured, &TLS13).len(), if count == 1 { 0 } else { count });
    }
}

#[test]
fn wget_is_captured() {
    let (lab, library) = lab();
    let body = pattern::body(10, 100_000);
    fs::create_dir(lab.path("www")).expect("a directory");
    fs::write(lab.path("www/body"), &body).expect("write a file");
    let server = lab.nginx("");
    let capture = Capture::of_gnutls(&library, &[]);
    let mut command = lab.command("wget");
    command.args([
        "-q",
        "--no-check-certificate",
        "-O",
        "got",
        &format!("https://127.0.0.1:{}/body", server.port),
    ]);
    let wget = Running::start(&mut command);
    let pid = wget.pid();
    wget.finish().succeeded();
    assert_same(&fs::read(lab.path("got")).expect("a file"), &body, "the file");
    let records = capture.stop().complete().of(pid);
    let (sent, received) = records.both_ways();
    assert!(sent.starts_with(b"GET /body HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&sent));
    assert!(received.ends_with(&body), "the answer");
}

#[test]
fn tls_finds_it_where_a_process_uses_it() {
    let (lab, _) = lab();
    let server = echo_server(&lab, "NORMAL");
    let capture = Capture::start(["-p", &server.running.pid().to_string()]);
    client(&lab, server.port, "a line\n");
    wait_for_both(&capture, |record| record.pid() == server.running.pid());
    let records = capture.stop().complete();
    assert_eq!(records.both_ways(), (b"a line\n".to_vec(), b"a line\n".to_vec()));
}
