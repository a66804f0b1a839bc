//! Ready soon, also on a busy machine.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::capture::{Capture, ecapture};
use crate::process::{Running, wait_for};

#[test]
fn ready_with_300_processes() {
    let mut many = Command::new("bash");
    // They are this shell's children and end with its input.
    many.args(["-c", "for i in {1..300}; do { read -r _; } & done <&0; echo started; wait"])
        .stdin(std::process::Stdio::piped());
    let mut many = Running::start_with_input(&mut many);
    let _open = many.input();
    many.line("\"started\"", |line| (line == "started").then_some(()));
    let started = Instant::now();
    let capture = Capture::launch(ecapture(), [""; 0]);
    capture.wait_until_ready();
    let took = started.elapsed();
    println!("ready after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let captured = capture.stop();
    assert_eq!(captured.code, 0, "{}", captured.stderr);
    drop(_open);
    wait_for("the end of the processes", || many.ended());
}
