//! Programs with more than one stack in a thread, and calls that are left by longjmp: they must not notice, and are
//! captured once their returns are probed.

use std::process::Stdio;

use crate::capture::Captured;
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
    Running::start_with_input(
        command.args([how, thread, &CONNECTIONS.to_string()]).stdin(Stdio::piped()),
    )
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
        let stream = sent.get(1..5).and_then(|hex| std::str::from_utf8(hex).ok());
        let stream = stream.and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
        if stream >= AGAIN {
            assert_same(&sent, &body(stream, BYTES), "sent");
            assert_same(&connection.way("received").bytes(), &body(stream ^ 1, BYTES), "received");
            found += 1;
        }
    }
    assert_eq!(found, 2 * CONNECTIONS, "both ends of each connection");
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
        let watched = run(program, || {
            for function in ["ssl_read_internal", "ssl_write_internal"] {
                capture.wait_for_line(&format!("calls {function} on a stack"));
            }
        });
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
