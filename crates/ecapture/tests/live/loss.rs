//! What is lost shows as a gap of the right size at the right place, and all else is right.

use rustix::process::Signal;

use crate::capture::{Capture, Captured, ecapture};
use crate::http::{answer, request};
use crate::lab::{Lab, Server};
use crate::pattern::assert_same;
use crate::process::Running;
use crate::record::{RECEIVED, Records, SENT};

const MIB: usize = 1 << 20;

/// Compares what was shown of a stream with what it was: bytes at their places, gaps between them. Answers the bytes
/// that are missing.
#[track_caller]
fn assert_positions(shown: &Records, truth: &[u8]) -> u64 {
    let mut at = 0;
    let mut missing = 0;
    for record in &shown.0 {
        if record.kind() == "gap" {
            missing += record.number("bytes");
            at += record.number("bytes") as usize;
            continue;
        }
        let data = record.data();
        assert!(
            at + data.len() <= truth.len(),
            "more than there was: {at} + {} of {}",
            data.len(),
            truth.len()
        );
        assert_same(&data, &truth[at..at + data.len()], &format!("bytes at {at}"));
        at += data.len();
    }
    assert_eq!(at, truth.len(), "captured and missing bytes are not all");
    missing
}

/// A download must show losses where they were, and the summary must agree.
#[track_caller]
fn assert_accounted(captured: &Captured, client: u32, server: &Server, truth: &[u8]) {
    assert_eq!(captured.code, 0, "{}", captured.stderr);
    let ends =
        [captured.records.of(client).way(RECEIVED), captured.records.of(server.running.pid()).way(SENT)];
    let missing: u64 = ends.iter().map(|end| assert_positions(end, truth)).sum();
    let summary = captured.summary();
    assert!(missing > 0, "nothing was lost: {}", captured.stderr);
    assert_eq!(summary.get("lost"), missing, "{}", captured.stderr);
    assert_eq!(summary.get("gap_bytes"), missing, "{}", captured.stderr);
    let gaps = ends.iter().flat_map(|end| &end.0).filter(|record| record.kind() == "gap").count();
    assert_eq!(summary.get("gaps"), gaps as u64, "{}", captured.stderr);
}

#[test]
fn a_tiny_buffer_loses_and_says_what() {
    let lab = Lab::new();
    let server = lab.server(&["--write-size", "10000"]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--mapsize", "64"]);
    let length = 30 * MIB;
    let client = lab.client(server.port, &format!("/bytes/{length}/7"), &[]);
    assert_accounted(&capture.stop(), client, &server, &answer(7, length));
}

#[test]
fn text_names_what_is_missing() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let mut command = ecapture();
    command.arg("tls").arg("--libssl").arg(&lab.libssl).args(["--mapsize", "64", "--comm", "tls_client"]);
    let running = Running::start(&mut command);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    lab.client(server.port, "/up", &["--upload", "5000000"]);
    running.signal(Signal::INT);
    let text = running.finish().succeeded().text();
    let number = |line: &str| {
        line.strip_prefix("--- ")?.strip_suffix(" bytes were lost here ---")?.parse::<u64>().ok()
    };
    let missing: Vec<u64> = text.lines().filter_map(number).collect();
    assert!(!missing.is_empty());
    for bytes in missing {
        assert!(text.contains(&format!("Type:gap, Length:{bytes},")), "{bytes}");
    }
}

#[test]
fn calls_larger_than_the_buffer() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--mapsize", "64"]);
    let client = lab.client(server.port, "/bytes/5000000/7", &[]);
    assert_accounted(&capture.stop(), client, &server, &answer(7, 5_000_000));
}

#[test]
fn a_stopped_reader_loses_and_goes_on() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = Capture::start(["--libssl", lab.libssl.to_str().expect("UTF-8"), "--mapsize", "1024"]);
    // The first answer is captured, of the next two something is lost, and the last is whole again.
    let before = lab.client(server.port, "/bytes/3000/1", &[]);
    capture.wait_for_record("the first answer", |record| {
        record.pid() == before && record.text("dir") == RECEIVED
    });
    capture.running_signal(Signal::STOP);
    let lost = lab.client(server.port, "/bytes/4000000/2", &["--requests", "2"]);
    capture.running_signal(Signal::CONT);
    capture.wait_for_record("something of the lost answers", |record| record.pid() == lost);
    let after = lab.client(server.port, "/bytes/3000/3", &[]);
    let captured = capture.stop();
    assert!(captured.summary().get("lost") > 0, "{}", captured.stderr);
    let records = &captured.records;
    assert_same(&records.of(before).both_ways().1, &answer(1, 3000), "before");
    let (sent, received) = records.of(after).both_ways();
    assert_same(&sent, &request("/bytes/3000/3", None, 0, 0, 1), "the request after");
    assert_same(&received, &answer(3, 3000), "the answer after");
    let missing = assert_positions(&records.of(lost).way(RECEIVED), &answer(2, 4_000_000).repeat(2));
    assert!(missing > 0);
}
