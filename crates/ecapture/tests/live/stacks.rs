//! Programs with more than one stack in a thread, and calls that are left by longjmp: they must not notice, and are
//! captured once their returns are probed.

use std::process::{Command, Stdio};

use crate::capture::{Capture, Captured};
use crate::lab::{Lab, say, target};
use crate::pattern::{assert_same, body};
use crate::process::Running;
use crate::record::Records;

const CONNECTIONS: usize = 8;
/// `BYTES` of tls_stacks.c.
const BYTES: usize = 40_000;
/// Stream of the first connection after the break.
const AGAIN: u32 = 0x1000;

/// Before Linux 6.13 nothing keeps such programs from harm.
fn kernel_has_sessions() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(13))
}

fn start(lab: &Lab, how: &str, thread: &str) -> Running {
    let mut command = lab.command(target("tls_stacks"));
    Running::start_with_input(command.args([how, thread, &CONNECTIONS.to_string()]).stdin(Stdio::piped()))
}

/// Lets it run to its end; answers what it printed.
fn run(mut program: Running, at_the_break: impl FnOnce()) -> String {
    program.line("\"again\"", |line| (line == "again").then_some(()));
    at_the_break();
    say(&mut program.input(), "\n");
    program.finish().succeeded().text()
}

/// Every connection made after the break is captured whole.
#[track_caller]
fn assert_whole_after_the_break(records: &Records) {
    let mut found = 0;
    for connection in records.connections() {
        let sent = connection.way("sent").bytes();
        // Of those made before it the first bytes may be missing.
        let stream = sent.strip_prefix(b"L").and_then(|rest| std::str::from_utf8(rest.get(..4)?).ok());
        let stream = stream.map_or(0, |hex| u32::from_str_radix(hex, 16).expect("a stream"));
        if stream >= AGAIN {
            assert_same(&sent, &body(stream, BYTES), "sent");
            assert_same(&connection.way("received").bytes(), &body(stream ^ 1, BYTES), "received");
            found += 1;
        }
    }
    assert_eq!(found, 2 * CONNECTIONS, "both ends of each connection");
}

/// Waits until everything that it calls is followed.
fn wait_until_followed(capture: &Capture) {
    for function in ["ssl_read_internal", "ssl_write_internal"] {
        capture.wait_for_line(&format!("calls {function} on a stack"));
    }
}

#[track_caller]
fn survives_and_is_captured(how: &str) {
    if !kernel_has_sessions() {
        eprintln!("skipped: this kernel has no uprobe sessions");
        return;
    }
    for thread in ["main", "thread"] {
        let lab = Lab::new();
        let alone = run(start(&lab, how, thread), || ());
        let capture = lab.capture();
        let program = start(&lab, how, thread);
        let watched = run(program, || wait_until_followed(&capture));
        assert_eq!(watched, alone, "what the program says");
        let captured: Captured = capture.stop();
        assert!(captured.stderr.contains("; calls on foreign stacks: "), "{}", captured.stderr);
        assert_whole_after_the_break(&captured.complete());
    }
}

#[test]
fn coroutines_that_wait_inside_of_calls() {
    survives_and_is_captured("coroutines");
}

#[test]
fn coroutines_below_a_call_of_their_scheduler() {
    survives_and_is_captured("scheduler");
}

#[test]
fn coroutines_on_the_stack_of_their_thread() {
    survives_and_is_captured("carved");
}

#[test]
fn calls_that_are_left_by_longjmp() {
    survives_and_is_captured("longjmp");
}

/// Greenlets share one stack: the part of one that waits is copied away. These wait inside of calls, in a callback.
/// What one end sends in round R on connection C begins with `R-C-` and its side.
const GREENLETS: &str = r#"
import greenlet, hashlib, ssl, sys
main = greenlet.getcurrent()
received = hashlib.sha256()

def give_way(*_):
    if greenlet.getcurrent() is not main:
        main.switch()

def retry(call, *arguments):
    while True:
        try:
            return call(*arguments)
        except ssl.SSLWantReadError:
            give_way()

def converse(name, is_server, incoming, outgoing):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    if is_server:
        context.load_cert_chain('cert.pem', 'key.pem')
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context._msg_callback = give_way
    tls = context.wrap_bio(incoming, outgoing, server_side=is_server)
    retry(tls.do_handshake)
    sent = name.encode() * 2500
    for receives in (is_server, not is_server):
        if receives:
            got = b''
            while len(got) < len(sent):
                got += retry(tls.read, 20000)
            received.update(got)
        else:
            for at in range(0, len(sent), 5000):
                retry(tls.write, sent[at:at + 5000])

def converse_all(round):
    waiting = []
    for connection in range(8):
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        for is_server, ends in ((False, (back, there)), (True, (there, back))):
            name = f'{round}-{connection}-{"server" if is_server else "client"}\n'
            waiting.append(greenlet.greenlet(lambda *all: converse(*all)))
            waiting[-1].switch(name, is_server, *ends)
    while waiting := [each for each in waiting if not each.dead]:
        for each in waiting:
            each.switch()

converse_all(0)
print('again', flush=True)
sys.stdin.readline()
converse_all(1)
print(received.hexdigest())
"#;

#[test]
fn greenlets_that_wait_inside_of_calls() {
    let python = || Command::new("/usr/bin/python3");
    let installed = python().args(["-c", "import greenlet"]).status().expect("Python").success();
    if !kernel_has_sessions() || !installed {
        eprintln!("skipped: no uprobe sessions, or no greenlets");
        return;
    }
    let lab = Lab::new();
    let start = || {
        let mut command = lab.command("/usr/bin/python3");
        Running::start_with_input(command.args(["-c", GREENLETS]).stdin(Stdio::piped()))
    };
    let alone = run(start(), || ());
    let capture = lab.capture();
    let watched = run(start(), || wait_until_followed(&capture));
    assert_eq!(watched, alone, "what the program says");
    let records = capture.stop().complete();
    let after: Vec<_> =
        records.connections().into_iter().filter(|one| one.way("sent").bytes().starts_with(b"1-")).collect();
    assert_eq!(after.len(), 2 * CONNECTIONS, "both ends of each connection");
    for connection in after {
        let (sent, received) = connection.both_ways();
        let text = String::from_utf8_lossy(&sent[..sent.len().min(11)]).into_owned();
        let (number, side) = text.trim_end().rsplit_once('-').expect("a name");
        let other = if side == "client" { "server" } else { "client" };
        assert_same(&sent, format!("{number}-{side}\n").repeat(2500).as_bytes(), "sent");
        assert_same(&received, format!("{number}-{other}\n").repeat(2500).as_bytes(), "received");
    }
}
