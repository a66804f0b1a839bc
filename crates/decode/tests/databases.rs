//! Rules of the database protocols that the recordings do not show.
#![allow(clippy::unwrap_used)]
mod seen;

use decode::Direction::{Received, Sent};
use decode::Limits;
use seen::Tap;

#[track_caller]
fn check(tap: &mut Tap, expected: &str) {
    let expected: String = expected.lines().map(|l| format!("{}\n", l.trim_start())).collect();
    assert_eq!(tap.lines(), expected.trim_start_matches('\n'));
}

/// A message of PostgreSQL.
fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &(payload.len() as u32 + 4).to_be_bytes(), payload].concat()
}

/// A packet of MySQL.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..3], &[sequence], payload].concat()
}

/// A login of MySQL with these capabilities beside those that every client over TLS has.
fn login(capabilities: u32) -> Vec<u8> {
    let capabilities = (capabilities | 1 << 9 | 1 << 11 | 1 << 15).to_le_bytes();
    packet(2, &[&capabilities[..], &[0; 28], b"lab\0\x06secret"].concat())
}

#[test]
fn an_array_from_redis_is_no_command() {
    let mut tap = Tap::new();
    tap.receive("*2\r\n$3\r\nbob\r\n$5\r\nalice\r\n").send("*1\r\n$4\r\nPING\r\n").receive("+PONG\r\n");
    check(
        &mut tap,
        r"< raw *2\r\n$3\r\nbob\r\n$5\r\nalice\r\n
         > Redis command #1? PING
         < Redis reply #1! PONG",
    );
}

#[test]
fn what_a_subscriber_gets_answers_nothing() {
    let mut tap = Tap::new();
    tap.send("*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n");
    tap.receive(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\n\x01\xFF\r\n");
    check(
        &mut tap,
        r#"> Redis command #1? SUBSCRIBE news
         < Redis push [\"subscribe\", \"news\", 1]
         < Redis push [\"message\", \"news\", \"\\x01\\xff\"]"#,
    );
}

#[test]
fn long_values_of_redis_are_cut() {
    let mut tap = Tap::with(Limits { head: 50, ..Limits::default() });
    let value = "x".repeat(1000);
    tap.send("*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
        .receive(format!("*4\r\n*-1\r\n*0\r\n$1000\r\n{value}\r\n:7\r\n"));
    assert!(tap.lines().contains("< Redis reply #1! [(nil), [], "), "{}", tap.lines());
    assert!(tap.lines().ends_with(": too long, cut\n") && tap.lines().len() < 150, "{}", tap.lines());
    assert_eq!(tap.seen.bytes(Received), 1000 + 4 + 5 + 4 + 7 + 2 + 4);
}

#[test]
fn endless_nesting_in_redis_is_raw() {
    let mut tap = Tap::new();
    tap.send("*1\r\n$4\r\nPING\r\n").receive("*1\r\n".repeat(1000));
    assert!(tap.lines().contains("< raw *1"), "{}", tap.lines());
}

#[test]
fn postgres_goes_on_at_the_next_query_after_a_gap() {
    let mut tap = Tap::new();
    tap.send(message(b'Q', b"select 1\0")).receive(&message(b'D', b"a row")[..7]).gap(Received, 500);
    tap.receive("the rest").send(message(b'Q', b"select 2\0")).receive(message(b'C', b"SELECT 1\0"));
    check(
        &mut tap,
        "> PostgreSQL query #1? select 1
         < gap 500
         < raw the rest
         > PostgreSQL query #1? select 2
         < PostgreSQL result #1+ SELECT 1",
    );
}

#[test]
fn mysql_with_compression_is_raw_after_the_login() {
    let mut tap = Tap::new();
    tap.send(login(1 << 5))
        .receive(packet(3, b"\0\0\0\x02\0\0\0"))
        .send(b"\x09\0\0\0\0\0\0\x05\0\0\0\x03select");
    check(
        &mut tap,
        r"> MySQL login user lab
         < MySQL login accepted 
         > raw \t\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x03select",
    );
}

#[test]
fn marks_of_older_mysql_clients() {
    let mut tap = Tap::new();
    let end = b"\xFE\0\0\x02\0";
    tap.send(login(0)).receive(packet(2, b"\0\0\0\x02\0\0\0")).send(packet(0, b"\x03select n"));
    let rows = [
        packet(1, b"\x01"),
        packet(2, b"definition"),
        packet(3, end),
        packet(4, b"\x011"),
        packet(5, b"\xFB"),
        packet(6, end),
    ];
    tap.receive(rows.concat()).send(packet(0, b"\x07?")).receive(packet(1, b"\xFF\x17\x04#08S01no"));
    check(
        &mut tap,
        "> MySQL login user lab
         < MySQL login accepted 
         > MySQL query #1? select n
         < MySQL result #1! 2 rows
         > MySQL command #2? (hidden)
         < MySQL error #2! 1047 (08S01): no",
    );
}

#[test]
fn a_login_cut_short_shows_nothing() {
    let mut tap = Tap::new();
    tap.send(&login(0)[..45]).finish();
    assert_eq!(tap.lines(), "");
    assert_eq!(tap.seen.framing[Sent as usize], 45);
}
