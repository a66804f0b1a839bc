//! What a peer can make a connection remember.
#![allow(missing_docs)]
mod seen;

use decode::{Connection, Direction, Limits};
use seen::frames::{PREFACE, frame};

/// Most bytes that the connection takes, at every 16th call, while a client says `start` and then 1 MiB of `more`.
fn most(start: &[u8], more: impl Fn(u32) -> Vec<u8>) -> usize {
    let mut connection = Connection::new(Limits::default());
    let (mut most, mut pushed, mut count) = (0, 0, 0);
    let mut next = start.to_vec();
    while pushed < 1 << 20 {
        connection.push(Direction::Sent, &next, &mut |_, _| {});
        if count % 16 == 0 {
            most = most.max(connection.memory());
        }
        pushed += next.len();
        next = more(count);
        count += 1;
    }
    most
}

const KIB: usize = 1 << 10;

#[test]
fn messages_without_an_end_cost_a_bounded_amount() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let gzip_name = b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\nContent-Encoding: gzip\r\n\r\n\x1F\x8B\x08\x08\0\0\0\0\0\0";
    let postgres = b"\0\0\0\x11\0\x03\0\0user\0lab\0\0Q\x10\0\0\0";
    let cases: [(&str, &[u8], &[u8]); 10] = [
        ("target", b"GET /", b"x"),
        ("field", b"GET / HTTP/1.1\r\nX: ", b"x"),
        ("fields", b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        ("chunk extension", &[chunked.as_bytes(), b"1;"].concat(), b"x"),
        ("trailers", &[chunked.as_bytes(), b"0\r\n"].concat(), b"A: b\r\n"),
        ("name in gzip", gzip_name, b"x"),
        ("requests without responses", b"", b"GET / HTTP/1.1\r\n\r\n"),
        ("string of Redis", b"*2\r\n$3\r\nGET\r\n$99999999\r\n", b"x"),
        ("commands of Redis", b"", b"*1\r\n$4\r\nPING\r\n"),
        ("query of PostgreSQL", postgres, b"x"),
    ];
    for (what, start, more) in cases {
        for times in [100, 10_000] {
            let most = most(start, |_| more.repeat(times));
            assert!(most <= 256 * KIB, "{what}: {most} bytes");
        }
    }
}

#[test]
fn streams_of_http_2_without_an_end_cost_a_bounded_amount() {
    let continued = most(&[PREFACE, &frame(1, 0, 1, &[0x82])].concat(), |_| frame(9, 0, 1, &[0x82; 1000]));
    assert!(continued <= 512 * KIB, "{continued} bytes");
    // POST, and gzip as encoding: 1024 messages are followed, 128 of them decoded.
    let post = [&[0x83, 0x84, 0x0F, 0x0B, 4][..], b"gzip"].concat();
    let open = most(PREFACE, |count| frame(1, 4, 2 * count + 1, &post));
    assert!(open <= 16 << 20, "{open} bytes");
}
