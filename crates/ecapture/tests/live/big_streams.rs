//! Large transfers are captured whole.

use crate::capture::{Capture, ROOM_FOR_ALL, ROOMY};
use crate::http::{answer, request, upload_answer};
use crate::lab::Lab;
use crate::pattern::assert_same;

const MIB: usize = 1 << 20;

#[track_caller]
fn download(length: usize, server_options: &[&str], room: [&str; 2]) {
    let lab = Lab::new();
    let server = lab.server(server_options);
    let capture = Capture::of_much(&lab.libssl, room);
    let path = format!("/bytes/{length}/7");
    let client = lab.client(server.port, &path, &[]);
    let records = capture.stop().complete();
    let answered = answer(7, length);
    assert_same(&records.of(client).both_ways().1, &answered, "what the client received");
    assert_same(&records.of(server.running.pid()).both_ways().0, &answered, "what the server sent");
}

#[track_caller]
fn upload(length: usize) {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture_much();
    let client = lab.client(server.port, "/up", &["--upload", &length.to_string(), "--write-size", "16384"]);
    let records = capture.stop().complete();
    let asked = request("/up", Some(length), 0, 0, 1);
    let (sent, received) = records.of(client).both_ways();
    assert_same(&sent, &asked, "what the client sent");
    assert_same(&received, &upload_answer(length), "its answer");
    assert_same(&records.of(server.running.pid()).both_ways().1, &asked, "what the server received");
}

#[test]
fn download_of_100_mib() {
    download(100 * MIB, &["--write-size", "16384"], ROOMY);
}

#[test]
fn upload_of_100_mib() {
    upload(100 * MIB);
}

#[test]
fn one_mib_in_one_call() {
    download(MIB, &[], ROOMY);
}

#[test]
fn sixty_four_mib_in_one_call() {
    download(64 * MIB, &[], ROOM_FOR_ALL);
}
