//! Bytes per second through a connection. `cargo bench -p decode`
#![allow(missing_docs, clippy::unwrap_used)]
use std::io::Write;

use decode::{Connection, Direction, Limits, is_text};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// What one TLS record holds.
const RECORD: usize = 16 << 10;

const REQUEST: &str = "GET /api/v1/items?page=3&size=20 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 27\r\nConnection: keep-alive\r\n\r\n{\"items\":[1,2,3],\"next\":4}\n";

fn push(connection: &mut Connection, dir: Direction, bytes: &[u8]) {
    connection.push(dir, bytes, &mut |lane, part| {
        black_box((lane, part));
    });
}

/// Pushes `head` and then `body` in records, as one process would.
fn stream(bencher: Bencher<'_, '_>, head: impl AsRef<[u8]>, body: &[u8]) {
    let head = head.as_ref();
    bencher.bench_local(|| {
        let mut connection = Connection::new(Limits { decoded: u64::MAX, ..Limits::default() });
        push(&mut connection, Direction::Received, head);
        body.chunks(RECORD).for_each(|record| push(&mut connection, Direction::Received, record));
    });
}

#[divan::bench]
fn small_messages(bencher: Bencher<'_, '_>) {
    let mut connection = Connection::new(Limits::default());
    bencher.counter(BytesCount::new(100 * (REQUEST.len() + RESPONSE.len()))).bench_local(|| {
        for _ in 0..100 {
            push(&mut connection, Direction::Sent, REQUEST.as_bytes());
            push(&mut connection, Direction::Received, RESPONSE.as_bytes());
        }
    });
}

#[divan::bench]
fn large_body(bencher: Bencher<'_, '_>) {
    let body = vec![b'x'; 64 << 20];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream(bencher.counter(BytesCount::of_slice(&body)), &head, &body);
}

#[divan::bench(args = [64, 1024, 8192])]
fn chunked_body(bencher: Bencher<'_, '_>, chunk: usize) {
    let one = [format!("{chunk:x}\r\n").as_bytes(), &vec![b'x'; chunk], b"\r\n"].concat();
    let body = one.repeat((8 << 20) / chunk);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream(bencher.counter(BytesCount::of_slice(&body)), head, &body);
}

/// Figures are of decoded bytes.
#[divan::bench]
fn gzip_body(bencher: Bencher<'_, '_>) {
    let lines: String = (0..200_000_u32)
        .map(|n| format!("{{\"id\":{n},\"hash\":{}}}\n", n.wrapping_mul(2_654_435_761)))
        .collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(lines.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    stream(bencher.counter(BytesCount::of_str(&lines)), &head, &body);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[divan::bench(args = [64, 1024, 16384])]
fn http2_body(bencher: Bencher<'_, '_>, size: usize) {
    let body = frame(0, 0, 1, &vec![b'x'; size]).repeat((8 << 20) / size);
    let head = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(1, 4, 1, &[0x83, 0x84])].concat();
    stream(bencher.counter(BytesCount::of_slice(&body)), head, &body);
}

/// Requests like those of a browser: half of the fields are in the table, the others Huffman coded or plain.
/// Figures are of bytes on the wire.
#[divan::bench]
fn http2_heads(bencher: Bencher<'_, '_>) {
    let path: &[u8] =
        &[0x04, 0x8D, 0x60, 0x75, 0x99, 0x8D, 0x33, 0x31, 0x92, 0x93, 0x5A, 0x29, 0x5C, 0x87, 0xA7];
    let plain = [&[0x0F, 0x0B, 40][..], &[b'v'; 40]].concat();
    let block = [&[0x82, 0x87, 0x84, 0xBE, 0xBF][..], path, &plain].concat();
    let insert = [&[0x41, 11][..], b"example.com", &[0x7A, 11], b"curl/8.5.0+", &[0x82]].concat();
    let mut requests = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(1, 5, 1, &insert)].concat();
    (1..1000).for_each(|n| requests.extend(frame(1, 5, 2 * n + 1, &block)));
    bencher.counter(BytesCount::of_slice(&requests)).bench_local(|| {
        let mut connection = Connection::new(Limits::default());
        requests.chunks(RECORD).for_each(|record| push(&mut connection, Direction::Sent, record));
    });
}

/// What a client sends: masked.
#[divan::bench]
fn websocket(bencher: Bencher<'_, '_>) {
    let head = [&[0x82, 0xFE, 0x10, 0][..], &[1, 2, 3, 4]].concat();
    let body = [head, vec![b'x'; 4096]].concat().repeat(1024);
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| {
        let mut connection = Connection::new(Limits::default());
        push(&mut connection, Direction::Sent, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
        push(&mut connection, Direction::Received, b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n");
        body.chunks(RECORD).for_each(|record| push(&mut connection, Direction::Sent, record));
    });
}

/// The worst peer: the longest head that is kept, one byte per call.
#[divan::bench(args = ["target", "field"], sample_count = 5)]
fn endless_head(bencher: Bencher<'_, '_>, part: &str) {
    let start = if part == "target" { "GET /" } else { "GET / HTTP/1.1\r\nX: " };
    bencher.counter(BytesCount::new(64_usize << 10)).bench_local(|| {
        let mut connection = Connection::new(Limits::default());
        push(&mut connection, Direction::Received, start.as_bytes());
        (0..64 << 10).for_each(|_| push(&mut connection, Direction::Received, b"x"));
    });
}

#[divan::bench]
fn text(bencher: Bencher<'_, '_>) {
    let text = RESPONSE.repeat(64);
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| is_text(black_box(text.as_bytes())));
}

#[divan::bench]
fn text_not_ascii(bencher: Bencher<'_, '_>) {
    let text = "Grüße aus Köln, 日本語 ".repeat(512);
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| is_text(black_box(text.as_bytes())));
}
