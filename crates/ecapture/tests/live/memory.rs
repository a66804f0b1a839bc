//! Memory is bounded, whatever passes.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::capture::{Capture, Captured, ecapture};
use crate::lab::{Lab, read_text, say};
use crate::process::{Running, wait_for};
use crate::record::Records;

/// Captures what uses the library of the lab.
fn start(lab: &Lab, output: &Path, arguments: &[&str]) -> Running {
    let mut command = ecapture();
    command.args(["tls", "--format", "json", "--libssl"]).arg(&lab.libssl).arg("-o").arg(output);
    let running = Running::start(command.args(arguments));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    running
}

/// A line of `/proc/PID/status`, in bytes.
#[track_caller]
fn status(pid: u32, name: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let kib = line.trim_matches([':', ' ', '\t']).split(' ').next().expect("a number");
    kib.parse::<usize>().expect("a number") << 10
}

/// The number behind `name=` in the summary.
#[track_caller]
fn of_summary(stderr: &str, name: &str) -> u64 {
    let number = stderr.split([' ', '\n']).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name}: {stderr}"))
}

#[test]
fn a_body_of_a_gib_goes_through_64_mib() {
    const BODY: u64 = 1 << 30;
    let lab = Lab::new();
    let server = lab.server(&["--write-size", "16384"]);
    let only_client = ["--memory-limit", "64", "--mapsize", "1024", "--comm", "tls_client"];
    let running = start(&lab, Path::new("/dev/null"), &only_client);
    let mut client = lab.start_client(server.port, &format!("/bytes/{BODY}/7"), &[]);
    // A busy machine takes longer than other tests are patient.
    let until = Instant::now() + Duration::from_secs(300);
    while client.ended().is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    client.finish().succeeded();
    let most = status(running.pid(), "VmHWM");
    running.signal(Signal::INT);
    let ended = running.finish().succeeded();
    let passed = of_summary(&ended.stderr, "bytes") + of_summary(&ended.stderr, "lost");
    assert!(passed > BODY, "{}", ended.stderr);
    assert!(most <= 64 << 20, "{most} bytes");
}

/// Opens connections to itself, so many and, when a line comes, more: each has one exchange, and stays.
const KEEPS: &str = r"
import resource, socket, ssl, sys
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain('cert.pem', 'key.pem')
client = ssl._create_unverified_context()
kept = []
def step(call):
    try:
        call()
    except ssl.SSLWantReadError:
        pass
resource.setrlimit(resource.RLIMIT_NOFILE, (10000, 10000))
for count in 300, 1500:
    for n in range(count):
        near, far = socket.socketpair()
        near.setblocking(False), far.setblocking(False)
        a = client.wrap_socket(near, server_hostname='a', do_handshake_on_connect=False)
        b = server.wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        for _ in range(3):
            step(a.do_handshake), step(b.do_handshake)
        a.sendall(b'GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: lab\r\nAccept: */*\r\n\r\n')
        b.recv(1000)
        b.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nanswer')
        a.recv(1000)
        kept.append((a, b))
    print('open', len(kept), flush=True)
    sys.stdin.readline()
";

#[test]
fn an_idle_connection_takes_4_kib() {
    let lab = Lab::new();
    let output = lab.path("records");
    let running = start(&lab, &output, &[]);
    let mut command = lab.command("/usr/bin/python3");
    let mut program = Running::start_with_input(command.args(["-c", KEEPS]).stdin(Stdio::piped()));
    let mut input = program.input();
    let mut few = 0;
    for open in [300, 1800] {
        let line = format!("open {open}");
        program.line(&line, |shown| (shown == line).then_some(()));
        // Two messages at both ends.
        wait_for("all messages", || (read_text(&output).lines().count() == 4 * open).then_some(()));
        if open == 300 {
            few = status(running.pid(), "VmRSS");
            say(&mut input, "\n");
        }
    }
    wait_for("at most 4 KiB for each connection", || {
        let each = status(running.pid(), "VmRSS").saturating_sub(few) / (2 * 1500);
        (each <= 4096).then_some(())
    });
}

/// Opens connections to itself, each in the middle of a long head. When a line comes, they go on.
const UNFINISHED: &str = r"
import resource, socket, ssl, sys
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain('cert.pem', 'key.pem')
client = ssl._create_unverified_context()
resource.setrlimit(resource.RLIMIT_NOFILE, (10000, 10000))
def step(call):
    try:
        call()
    except ssl.SSLWantReadError:
        pass
def move(a, b, data):
    a.sendall(data)
    while data:
        data = data[len(b.recv(16384)):]
pairs = []
for n in range(200):
    near, far = socket.socketpair()
    near.setblocking(False), far.setblocking(False)
    a = client.wrap_socket(near, server_hostname='a', do_handshake_on_connect=False)
    b = server.wrap_socket(far, server_side=True, do_handshake_on_connect=False)
    for _ in range(3):
        step(a.do_handshake), step(b.do_handshake)
    move(a, b, b'GET / HTTP/1.1\r\nLong: ' + b'x' * 60000)
    pairs.append((a, b))
print('open', flush=True)
sys.stdin.readline()
for a, b in pairs:
    move(a, b, b'\r\n\r\n')
";

const HEAD: usize = "GET / HTTP/1.1\r\nLong: ".len() + 60_000 + 4;

/// Captures 400 ends of such connections, which go on when `is_time`; what was captured, and of which process.
fn capture_unfinished(arguments: &[&str], is_time: impl Fn(&Records) -> bool) -> (Captured, u32) {
    let lab = Lab::new();
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let always = ["--mapsize", "65536", "--memory-limit", "32", "--libssl", libssl];
    let capture = Capture::start(always.iter().chain(arguments));
    let mut command = lab.command("/usr/bin/python3");
    let mut program = Running::start_with_input(command.args(["-c", UNFINISHED]).stdin(Stdio::piped()));
    let pid = program.pid();
    let mut input = program.input();
    program.line("\"open\"", |line| (line == "open").then_some(()));
    wait_for("the time to go on", || is_time(&capture.so_far().of(pid)).then_some(()));
    say(&mut input, "\n");
    program.finish().succeeded();
    (capture.stop(), pid)
}

fn bytes(records: &Records) -> usize {
    records.0.iter().map(|record| record.data().len()).sum()
}

#[test]
fn connections_are_given_up_when_memory_is_short() {
    // Nothing of a head is kept from the reader for long.
    let (captured, pid) = capture_unfinished(&[], |records| bytes(records) == 400 * (HEAD - 4));
    let given_up = captured.summary().get("given_up");
    assert!((1..400).contains(&given_up), "{given_up}");
    let records = captured.complete().of(pid);
    assert_eq!(bytes(&records), 400 * HEAD);
    // Of those that were not given up, the end is known as such.
    let ended = records.only(|record| record.kind() == "HTTP/1.1 request").connections().len() as u64;
    assert_eq!(ended, 400 - given_up);
}

/// What follows could be the rest of a secret: it is counted, and not shown.
#[test]
fn with_redaction_nothing_follows_what_was_given_up() {
    let (captured, pid) = capture_unfinished(&["--redact"], |records| !records.0.is_empty());
    let given_up = captured.summary().get("given_up");
    assert!((1..400).contains(&given_up), "{given_up}");
    assert_eq!(captured.summary().get("lost"), 4 * given_up, "{}", captured.stderr);
    assert_eq!(bytes(&captured.records.of(pid)), 400 * HEAD - 4 * given_up as usize);
}
