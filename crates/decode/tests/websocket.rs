//! Rules of WebSocket and of Server-Sent Events that the recordings do not show.
#![allow(clippy::unwrap_used)]
mod seen;

use decode::Direction::Received;
use decode::Limits;
use seen::Tap;
use seen::streams::deflate;

#[track_caller]
fn check(tap: &mut Tap, expected: &str) {
    let expected: String = expected.lines().map(|l| format!("{}\n", l.trim_start())).collect();
    let lines = tap.lines();
    let shown: String = lines
        .lines()
        .filter(|l| !l.contains("HTTP/1.1") && *l != "> end 0" && *l != "< end 0")
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(shown, expected.trim_start_matches('\n'));
}

/// A client after the handshake.
fn client(extensions: &str, limits: Limits) -> Tap {
    let mut tap = Tap::with(limits);
    tap.send("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    tap.receive(format!(
        "HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
    ));
    tap
}

/// A compressed message of a server.
fn compressed(text: &[u8]) -> Vec<u8> {
    let payload = deflate(text);
    assert!(payload.len() < 126);
    [&[0xC1, payload.len() as u8][..], &payload].concat()
}

#[test]
fn control_frames_between_fragments() {
    let mut tap = client("", Limits::default());
    tap.receive(b"\x01\x02he\x89\x01?\x00\x02ll\x80\x01o").send(b"\x8A\x81\x01\x02\x03\x04\x3E");
    check(
        &mut tap,
        "< WebSocket text
         < body he
         < WebSocket ping ?
         < body llo
         < end 11 decoded 5
         > WebSocket pong ?",
    );
}

#[test]
fn a_gap_inside_a_payload_and_one_beyond() {
    let mut tap = client("", Limits::default());
    tap.receive(b"\x82\x06ab")
        .gap(Received, 2)
        .receive(b"ef\x82\x03a")
        .gap(Received, 9)
        .receive(b"\x81\x01x");
    check(
        &mut tap,
        r"< WebSocket binary
         < body ab
         < gap 2
         < body ef
         < end 6 decoded 4 incomplete: bytes lost inside
         < WebSocket binary
         < body a
         < end 3 decoded 1 incomplete: bytes lost inside
         < gap 9
         < raw \x81\x01x",
    );
}

#[test]
fn what_is_against_the_rules_is_raw() {
    let mut tap = client("", Limits::default());
    // A mask from a server.
    tap.receive(b"\x81\x81\x01\x02\x03\x04x").send(b"\x81\x81\x00\x00\x00\x00y");
    check(
        &mut tap,
        r"< raw \x81\x81\x01\x02\x03\x04x
         > WebSocket text
         > body y
         > end 7 decoded 1",
    );
}

#[test]
fn each_message_has_its_cap() {
    let deflating = "permessage-deflate; server_no_context_takeover";
    let mut tap = client(deflating, Limits { decoded: 10, ..Limits::default() });
    tap.receive(compressed(&[b'x'; 1000])).receive(compressed(b"fine"));
    check(
        &mut tap,
        "< WebSocket text
         < body xxxxxxxxxx
         < end 23 decoded 10: decoded up to the limit only
         < WebSocket text
         < body fine
         < end 8 decoded 4",
    );
}

#[test]
fn damaged_compression() {
    let mut tap = client("permessage-deflate", Limits::default());
    tap.receive(b"\xC1\x03\xFF\xFF\xFF\x81\x02ok");
    check(
        &mut tap,
        r"< WebSocket text
         < undecoded \xff\xff\xff
         < end 5 decoded 0 undecoded 3: damaged content-encoding
         < WebSocket text
         < body ok
         < end 4 decoded 2",
    );
}

#[test]
fn another_upgrade_is_not_websocket() {
    let mut tap = Tap::new();
    tap.send("GET / HTTP/1.1\r\nUpgrade: other\r\n\r\n");
    tap.receive("HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n\u{1}\u{2}\u{3}");
    assert!(tap.lines().ends_with("< raw \\x01\\x02\\x03\n"), "{}", tap.lines());
}

#[test]
fn events_end_at_blank_lines_of_every_kind() {
    let body = "\n: hi\r\n\r\ndata: a\ndata: b\n\n\ndata: c\r\rdata: d";
    for size in 1..body.len() {
        let mut tap = Tap::new();
        tap.receive("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n");
        body.as_bytes().chunks(size).for_each(|piece| {
            tap.receive(piece);
        });
        tap.finish();
        check(
            &mut tap,
            r"< body \n
             < unit Server-Sent Event
             < body : hi\r\n\r\n
             < unit Server-Sent Event
             < body data: a\ndata: b\n\n\n
             < unit Server-Sent Event
             < body data: c\r\r
             < unit Server-Sent Event
             < body data: d
             < end 43",
        );
    }
}
