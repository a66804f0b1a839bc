//! Rules of HTTP/2 that the recordings do not show, each with all that must come out.
#![allow(clippy::unwrap_used)]
mod seen;

use std::collections::HashMap;

use decode::Direction::{Received, Sent};
use decode::{Connection, Exchange, Kind, Limits, Part};
use seen::frames::{END_STREAM, PREFACE, SETTINGS, block, data, frame, get, headers};
use seen::{Item, Tap};

#[track_caller]
fn check(tap: &mut Tap, expected: &str) {
    let expected: String = expected.lines().map(|l| format!("{}\n", l.trim_start())).collect();
    assert_eq!(tap.lines(), expected.trim_start_matches('\n'));
}

fn client() -> Tap {
    let mut tap = Tap::new();
    tap.send([PREFACE, &SETTINGS].concat()).receive(SETTINGS);
    tap
}

fn ok(stream: u32) -> Vec<u8> {
    headers(stream, 0, &[(":status", "200")])
}

#[test]
fn the_head_is_readable_and_faked_fields_are_not() {
    let mut tap = client();
    tap.send(headers(1, END_STREAM, &[(":method", "GET"), (":path", "/a"), ("x", "1\r\ny: 2"), ("z", "")]));
    let Item::Start { raw, .. } = &tap.seen.of(Sent)[0] else { panic!("{}", tap.lines()) };
    assert_eq!(String::from_utf8_lossy(raw), ":method: GET\r\n:path: /a\r\nx: 1\\r\\ny: 2\r\nz: \r\n\r\n");
    let mut connection = Connection::new(Limits::default());
    let mut fields = Vec::new();
    let request = [PREFACE, &SETTINGS, &get(1, "/a")].concat();
    connection.push(Sent, &request, &mut |_, part| {
        if let Part::Start(head) = part {
            fields.extend(head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())));
        }
    });
    assert_eq!(fields, [(b":method".to_vec(), b"GET".to_vec()), (b":path".to_vec(), b"/a".to_vec())]);
}

#[test]
fn padding_and_priority_are_not_content() {
    let mut tap = client();
    let fields = block(&[(":method", "POST"), (":path", "/")]);
    tap.send(frame(1, 4 | 8 | 0x20, 1, &[&[3, 0, 0, 0, 0, 9][..], &fields, b"pad"].concat()));
    tap.send(data(1, 8, b"\x02hello..")).send(data(1, END_STREAM | 8, b"\x00!")).send(data(
        3,
        8,
        b"\x09short",
    ));
    check(
        &mut tap,
        r"> 1 POST / HTTP/2
         > 1 body hello!
         > 1 end 28 decoded 6
         > raw \x00\x00\x06\x00\x08\x00\x00\x00\x03\tshort",
    );
}

#[test]
fn a_push_is_a_request_and_its_response() {
    let mut tap = client();
    tap.send(get(1, "/"));
    let promise = [&[0, 0, 0, 2][..], &block(&[(":method", "GET"), (":path", "/pushed")])].concat();
    tap.receive(frame(5, 4, 1, &promise)).receive(ok(2)).receive(data(2, END_STREAM, "it"));
    check(
        &mut tap,
        "> 1 GET / HTTP/2
         > 1 end 0
         < 2 GET /pushed HTTP/2
         < 2 end 0
         < 2 HTTP/2 200
         < 2 body it
         < 2 end 11 decoded 2",
    );
}

#[test]
fn a_reset_ends_both_directions() {
    let mut tap = client();
    tap.send(headers(1, 0, &[(":method", "POST"), (":path", "/")])).send(data(1, 0, "up"));
    tap.receive(ok(1)).send(frame(3, 0, 1, &[0, 0, 0, 8])).receive(data(1, END_STREAM, "late"));
    check(
        &mut tap,
        "> 1 POST / HTTP/2
         > 1 body up
         < 1 HTTP/2 200
         > 1 end 11 decoded 2 incomplete: reset
         < 1 end 0 incomplete: reset
         > 1 HTTP/2 RST_STREAM CANCEL
         < 1 HTTP/2 data
         < 1 body late
         < 1 end 13 decoded 4: reset",
    );
}

#[test]
fn a_reset_in_the_middle_of_a_frame() {
    let mut tap = client();
    let upload = data(1, END_STREAM, "uploaded");
    tap.send(headers(1, 0, &[(":method", "POST"), (":path", "/")])).send(&upload[..11]);
    tap.receive(frame(3, 0, 1, &[0; 4])).send(&upload[11..]);
    check(
        &mut tap,
        "> 1 POST / HTTP/2
         > 1 body up
         > 1 end 11 decoded 2 incomplete: reset
         < 1 HTTP/2 RST_STREAM NO_ERROR
         > 1 HTTP/2 data
         > 1 body loaded
         > 1 end 6: reset",
    );
}

#[test]
fn goaway_says_why() {
    let mut tap = client();
    tap.receive(frame(7, 0, 0, b"\0\0\0\x05\0\0\0\x0Bslow down"));
    check(&mut tap, "< HTTP/2 GOAWAY ENHANCE_YOUR_CALM, last stream 5: slow down");
}

#[test]
fn connect_is_followed_into_its_tunnel() {
    let mut tap = client();
    tap.send(headers(1, 0, &[(":method", "CONNECT"), (":authority", "a:80")])).receive(ok(1));
    tap.send(data(1, 0, "GET /in HTTP/1.1\r\n\r\n"));
    tap.receive(data(1, END_STREAM, "HTTP/1.1 204 None\r\n\r\n")).send(data(1, END_STREAM, ""));
    check(
        &mut tap,
        "> 1 CONNECT a:80 HTTP/2
         < 1 HTTP/2 200
         > 1 end 0
         < 1 end 0
         > 1 GET /in HTTP/1.1
         > 1 end 0
         < 1 HTTP/1.1 204 None
         < 1 end 0",
    );
}

#[test]
fn websocket_in_a_stream() {
    let mut tap = client();
    let connect = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat")];
    tap.send(headers(1, 0, &connect)).receive(ok(1));
    tap.send(data(1, 0, b"\x81\x82\x01\x02\x03\x04\x69\x6b")).receive(data(1, 0, b"\x81\x02ho\x88\x00"));
    check(
        &mut tap,
        "> 1 CONNECT /chat HTTP/2
         < 1 HTTP/2 200
         > 1 end 0
         < 1 end 0
         > 1 WebSocket text
         > 1 body hi
         > 1 end 8 decoded 2
         < 1 WebSocket text
         < 1 body ho
         < 1 end 4 decoded 2
         < 1 WebSocket close ",
    );
}

#[test]
fn gaps_in_content_and_beyond_it() {
    let mut tap = client();
    tap.receive(ok(1)).receive(&data(1, 0, "abcdef")[..11]).gap(Received, 3).receive("f");
    tap.receive(data(1, 0, "next"))
        .gap(Received, 40)
        .receive("er of a frame")
        .receive(data(1, END_STREAM, "tail"));
    tap.receive(SETTINGS).receive(ok(3));
    check(
        &mut tap,
        r"< 1 HTTP/2 200
         < 1 body ab
         < 1 gap 3
         < 1 body fnext
         < 1 end 25 decoded 7 incomplete: bytes lost inside
         < gap 40
         < raw er of a frame
         < 1 HTTP/2 data
         < 1 body tail
         < 1 end 13 decoded 4 incomplete: head not seen
         < 3 HTTP/2 200",
    );
}

#[test]
fn two_frames_are_sure_and_one_is_not() {
    let mut tap = Tap::new();
    tap.receive(data(1, 0, "one"));
    assert!(tap.connection.holds_back());
    tap.receive(data(1, END_STREAM, "two"));
    check(
        &mut tap,
        "< 1 HTTP/2 data
         < 1 body onetwo
         < 1 end 24 decoded 6 incomplete: head not seen",
    );
}

#[test]
fn a_wrong_guess_is_corrected() {
    let mut tap = Tap::new();
    tap.receive([&SETTINGS[..], b"no frame at all"].concat());
    tap.receive("HTTP/1.1 204 None\r\n\r\n").send("GET / HTTP/1.1\r\n\r\n");
    check(
        &mut tap,
        "< raw no frame at all
         < HTTP/1.1 204 None
         < end 0
         > GET / HTTP/1.1
         > end 0",
    );
}

#[test]
fn long_heads_are_cut() {
    let mut tap = Tap::with(Limits { head: 2000, ..Limits::default() });
    tap.send([PREFACE, &SETTINGS].concat());
    // One entry of the table, said over and over.
    let insert = [&[0x40, 1, b'a', 100][..], &[b'x'; 100]].concat();
    tap.send(frame(1, 5, 1, &[insert, vec![0xBE; 1000]].concat()));
    let Item::Start { raw, .. } = &tap.seen.of(Sent)[0] else { panic!("{}", tap.lines()) };
    assert!((1800..2010).contains(&raw.len()), "{}", raw.len());
    assert!(tap.lines().contains("end 0: too long, cut"), "{}", tap.lines());
}

#[test]
fn endless_headers_are_bounded() {
    let mut tap = client();
    tap.send(frame(1, 0, 1, &[0x82]));
    for _ in 0..100 {
        tap.send(frame(9, 0, 1, &vec![0; 16 << 10]));
    }
    let raw: usize =
        tap.seen.of(Sent).iter().map(|item| if let Item::Raw(raw) = item { raw.len() } else { 0 }).sum();
    assert!(raw >= 64 * (16 << 10), "{raw}");
}

#[test]
fn streams_without_end_are_bounded() {
    let mut tap = client();
    for stream in 0..5000 {
        tap.receive(headers(2 * stream + 1, 0, &[(":status", "200"), ("content-encoding", "gzip")]));
    }
    let given_up = tap.seen.items.iter().filter(|(_, item)| matches!(item, Item::End { .. })).count();
    assert_eq!(given_up, 5000 - 1024);
}

/// 10,000 requests over 100 streams at a time, whose responses come in pieces and in another order.
#[test]
fn many_streams_are_paired_and_not_mixed() {
    let mut connection = Connection::new(Limits::default());
    let (mut bodies, mut pairs) = (HashMap::<u32, Vec<u8>>::new(), HashMap::<u64, u32>::new());
    let mut push = |dir, bytes: &[u8]| {
        connection.push(dir, bytes, &mut |lane, part| match part {
            Part::Start(head) => match (head.kind, head.exchange.unwrap()) {
                (Kind::Request { target, .. }, Exchange::Asks(number)) => {
                    assert_eq!(target, format!("/{}", lane.stream).as_bytes());
                    pairs.insert(number, lane.stream);
                }
                (Kind::Response { .. }, Exchange::Answers(number)) => {
                    assert_eq!(pairs.remove(&number), Some(lane.stream));
                }
                other => panic!("{other:?}"),
            },
            Part::Body(bytes) => bodies.entry(lane.stream).or_default().extend(bytes),
            Part::End(end) => assert!(end.complete),
            Part::Framing(_) => {}
            other => panic!("{other:?}"),
        });
    };
    push(Sent, PREFACE);
    for round in 0..100_u32 {
        let streams: Vec<u32> = (0..100).map(|n| 2 * (100 * round + n) + 1).collect();
        for stream in &streams {
            push(Sent, &get(*stream, &format!("/{stream}")));
        }
        let answer: Vec<u8> = streams.iter().rev().flat_map(|stream| ok(*stream)).collect();
        answer.chunks(777).for_each(|call| push(Received, call));
        for piece in 0..3 {
            for stream in &streams {
                let end = if piece == 2 { END_STREAM } else { 0 };
                push(Received, &data(*stream, end, format!("{stream}:{piece} ")));
            }
        }
    }
    assert!(pairs.is_empty());
    assert_eq!(bodies.len(), 10_000);
    for (stream, body) in bodies {
        assert_eq!(body, format!("{stream}:0 {stream}:1 {stream}:2 ").as_bytes());
    }
}
