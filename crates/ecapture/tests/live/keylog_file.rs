//! Where the key log goes: `-k`, its mode, rotation, and what happens when it can not be written.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::capture::ecapture;
use crate::keys::{KeyCapture, lines};
use crate::lab::{Lab, Server};
use crate::process::{Finished, Running, wait_for};

fn exchange(lab: &Lab, server: &Server) {
    lab.client(server.port, "/bytes/64/7", &[]);
}

#[test]
fn what_is_there_stays_and_a_new_file_is_private() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let first = KeyCapture::of(&lab, ["-d"; 0]);
    exchange(&lab, &server);
    let path = first.path.clone();
    let before = first.stop().lines;
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
    let second = KeyCapture::of(&lab, ["-d"; 0]);
    exchange(&lab, &server);
    let both = second.stop_anyhow().lines;
    assert_eq!((before.len(), both.len()), (5, 10));
    assert!(before.is_subset(&both));
}

#[test]
fn lines_are_there_while_it_runs_and_sighup_opens_the_file_again() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = KeyCapture::of(&lab, ["-d"; 0]);
    exchange(&lab, &server);
    capture.wait_for_lines(&capture.path, 5);
    let moved = lab.path("moved.keys");
    fs::rename(&capture.path, &moved).expect("rename");
    capture.signal(Signal::HUP);
    wait_for("a new file", || capture.path.exists().then_some(()));
    exchange(&lab, &server);
    capture.wait_for_lines(&capture.path, 5);
    let after = capture.stop_anyhow().lines;
    assert!(after.is_disjoint(&lines(&moved)));
    assert_eq!((lines(&moved).len(), after.len()), (5, 5));
}

#[test]
fn sighup_where_the_file_can_not_be_opened_again() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = KeyCapture::of(&lab, ["-d"; 0]);
    let moved = lab.path("moved.keys");
    fs::rename(&capture.path, &moved).expect("rename");
    fs::create_dir(&capture.path).expect("a directory");
    capture.signal(Signal::HUP);
    exchange(&lab, &server);
    capture.wait_for_lines(&moved, 5);
    let stderr = capture.stop_anyhow().stderr;
    assert!(stderr.contains(" WARN ") && stderr.contains("captured.keys: not opened again"), "{stderr}");
}

/// `ecapture tls` with these arguments in a lab, and one exchange; how it ended.
fn run(lab: &Lab, arguments: &[&str]) -> Finished {
    let server = lab.server(&[]);
    let mut command = ecapture();
    command.current_dir(lab.path(".")).args(["tls", "--libssl"]).arg(&lab.libssl).args(arguments);
    let running = Running::start(&mut command);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    exchange(lab, &server);
    running.signal(Signal::INT);
    running.finish()
}

#[test]
fn the_default_file_and_standard_output() {
    let lab = Lab::new();
    run(&lab, &["-m", "key"]).succeeded();
    assert_eq!(lines(&lab.path("ecapture_masterkey.log")).len(), 5);
    let printed = run(&lab, &["-m", "keylog", "-k", "-"]).succeeded();
    assert_eq!(printed.text().lines().count(), 5, "{}", printed.text());
    assert!(printed.text().lines().all(|line| line.split(' ').count() == 3));
}

#[test]
fn plaintext_and_keys_together() {
    for arguments in [&["-m", "text,keylog", "-k", "keys"][..], &["-k", "keys"]] {
        let lab = Lab::new();
        let ended = run(&lab, &[arguments, &["--format", "json", "-o", "records"]].concat()).succeeded();
        assert_eq!(lines(&lab.path("keys")).len(), 5, "{}", ended.stderr);
        let records = crate::record::parse(&fs::read_to_string(lab.path("records")).expect("text"));
        assert_eq!(records.0.len(), 4, "{}", ended.stderr);
    }
}

#[test]
fn keys_alone_copy_no_plaintext() {
    let lab = Lab::new();
    let ended = run(&lab, &["-m", "keylog"]).succeeded();
    assert!(ended.stderr.contains(" messages=0 events=0 bytes=0 "), "{}", ended.stderr);
    assert_eq!(ended.text(), "");
}

#[test]
fn a_file_that_can_not_be_opened() {
    let lab = Lab::new();
    let mut command = ecapture();
    command.args(["tls", "-m", "keylog", "-k", "/no/such/directory/keys", "--libssl"]).arg(&lab.libssl);
    let ended = Running::start(&mut command).finish();
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("/no/such/directory/keys"), "{}", ended.stderr);
}

#[test]
fn a_full_disk() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let mut command = ecapture();
    command.args(["tls", "-m", "keylog", "-k", "/dev/full", "--libssl"]).arg(&lab.libssl);
    let running = Running::start(&mut command);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    exchange(&lab, &server);
    let ended = running.finish();
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("/dev/full") && ended.stderr.contains("space"), "{}", ended.stderr);
}
