//! Realistic streams and every rule of HTTP/1, each with all that must come out.
mod seen;

use decode::Direction::{Received, Sent};
use decode::Limits;
use seen::{Item, Tap};

#[track_caller]
fn check(tap: &mut Tap, expected: &str) {
    let expected: String = expected.lines().map(|l| format!("{}\n", l.trim_start())).collect();
    assert_eq!(tap.lines(), expected.trim_start_matches('\n'));
}

#[test]
fn keep_alive_as_a_client() {
    let mut tap = Tap::new();
    tap.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .receive("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    tap.send("POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\n").send("abc");
    tap.receive("HTTP/1.1 404 Not Found\r\ncontent-length : 0\r\n\r\n");
    check(
        &mut tap,
        "> GET /a HTTP/1.1
         > end 0
         < HTTP/1.1 200 OK length=5
         < body hello
         < end 5
         > POST /b HTTP/1.1 length=3
         > body abc
         > end 3
         < HTTP/1.1 404 Not Found length=0
         < end 0",
    );
}

#[test]
fn pipelining_as_a_server_in_one_push() {
    let mut tap = Tap::new();
    tap.receive("HEAD /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\r\nDELETE /3 HTTP/1.0\n\n");
    tap.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.0 204\n\n");
    check(
        &mut tap,
        "< HEAD /1 HTTP/1.1
         < end 0
         < GET /2 HTTP/1.1
         < end 0
         < DELETE /3 HTTP/1.0
         < end 0
         > HTTP/1.1 200 OK length=9
         > end 0
         > HTTP/1.1 304 Not Modified length=9
         > end 0
         > HTTP/1.0 204
         > end 0",
    );
}

#[test]
fn chunked_with_extensions_and_trailers() {
    let mut tap = Tap::new();
    tap.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n");
    tap.receive("5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nX-Sum: 1\r\n more\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    check(
        &mut tap,
        r"< HTTP/1.1 200 OK chunked
         < body hello!
         < end 43 decoded 6 trailers X-Sum: 1\r\n more\r\n
         < HTTP/1.1 100 Continue
         < end 0",
    );
}

#[test]
fn until_close() {
    let mut tap = Tap::new();
    tap.send("GET / HTTP/1.0\r\n\r\n").receive("HTTP/1.0 200 OK\r\n\r\npart ").receive("and rest").finish();
    check(
        &mut tap,
        "> GET / HTTP/1.0
         > end 0
         < HTTP/1.0 200 OK
         < body part and rest
         < end 13",
    );
}

#[test]
fn closed_inside_bodies_and_heads() {
    let mut tap = Tap::new();
    tap.send("PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").receive("HTTP/1.1 200 O").finish();
    check(
        &mut tap,
        "> PUT / HTTP/1.1 length=9
         > body abc
         > end 3 incomplete: ends early
         < raw HTTP/1.1 200 O",
    );
    let mut tap = Tap::new();
    tap.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: x\r\n").finish();
    check(
        &mut tap,
        r"< HTTP/1.1 200 OK chunked
         < body ab
         < end 16 decoded 2 trailers T: x\r\n incomplete: ends early",
    );
}

#[test]
fn connect_sniffs_anew_in_the_tunnel() {
    let mut tap = Tap::new();
    tap.send("CONNECT a:80 HTTP/1.1\r\n\r\n").receive("HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno");
    tap.send("CONNECT a:80 HTTP/1.1\r\n\r\n")
        .receive("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x16\x03\x01");
    tap.send("GET /in HTTP/1.1\r\n\r\n").receive("HTTP/1.1 204 None\r\n\r\n").send("\x17\x03");
    check(
        &mut tap,
        r"> CONNECT a:80 HTTP/1.1
         > end 0
         < HTTP/1.1 407 Who length=2
         < body no
         < end 2
         > CONNECT a:80 HTTP/1.1
         > end 0
         < HTTP/1.1 200 OK length=2
         < end 0
         < raw \x16\x03\x01
         > GET /in HTTP/1.1
         > end 0
         < HTTP/1.1 204 None
         < end 0
         > raw \x17\x03",
    );
}

#[test]
fn upgrade_is_raw() {
    let mut tap = Tap::new();
    tap.send("GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    tap.receive("HTTP/1.1 101 Switching Protocols\r\n\r\n\u{1}\u{2}\u{3}")
        .send("\u{1}\u{5}GET / HTTP/1.1\r\n\r\n");
    check(
        &mut tap,
        r"> GET /chat HTTP/1.1
         > end 0
         < HTTP/1.1 101 Switching Protocols
         < end 0
         < raw \x01\x02\x03
         > raw \x01\x05GET / HTTP/1.1\r\n\r\n",
    );
}

#[test]
fn interim_responses_do_not_answer() {
    let mut tap = Tap::new();
    tap.send("HEAD / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n");
    tap.receive("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    tap.receive("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    check(
        &mut tap,
        "> HEAD / HTTP/1.1
         > end 0
         < HTTP/1.1 103 Early Hints
         < end 0
         < HTTP/1.1 200 OK chunked
         < end 0
         < HTTP/1.1 200 OK length=1
         < body 1
         < end 1",
    );
}

#[test]
fn joined_in_the_middle_of_a_body() {
    let mut tap = Tap::new();
    tap.receive("lo, wor")
        .receive("ld\r\nGET / HTTP/1.1\r\n\r\n")
        .receive("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    tap.send("GET /next HTTP/1.1\r\n\r\n");
    check(
        &mut tap,
        r"< raw lo, world\r\nGET / HTTP/1.1\r\n\r\n
         < HTTP/1.1 200 OK length=2
         < body ok
         < end 2
         > GET /next HTTP/1.1
         > end 0",
    );
}

#[test]
fn a_response_whose_request_was_not_seen_may_have_been_to_head() {
    let mut tap = Tap::new();
    tap.receive("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        .receive("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    check(
        &mut tap,
        "< HTTP/1.1 200 OK length=500
         < end 0
         < HTTP/1.1 200 OK length=2
         < body ok
         < end 2",
    );
}

#[test]
fn contradictory_lengths_are_not_guessed() {
    let mut tap = Tap::new();
    tap.send("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    tap.send("GET /sync HTTP/1.1\r\n\r\n");
    check(
        &mut tap,
        r"> POST / HTTP/1.1
         > end 0 incomplete: bad length or chunk
         > raw GET / HTTP/1.1\r\n\r\n
         > GET /sync HTTP/1.1
         > end 0",
    );
}

#[test]
fn bad_chunks_end_the_message() {
    let mut tap = Tap::new();
    tap.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX\r\n0\r\n\r\n");
    tap.receive("HTTP/1.1 204 Fine\r\n\r\n");
    check(
        &mut tap,
        r"< HTTP/1.1 200 OK chunked
         < body ab
         < end 5 decoded 2 incomplete: bad length or chunk
         < raw X\r\n0\r\n\r\n
         < HTTP/1.1 204 Fine
         < end 0",
    );
}

#[test]
fn gaps() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let next = "HTTP/1.1 204 Next\r\n\r\n";
    let mut inside = Tap::new();
    inside.receive(head).receive("abc").gap(Received, 4).receive(format!("hij{next}"));
    check(
        &mut inside,
        "< HTTP/1.1 200 OK length=10
         < body abc
         < gap 4
         < body hij
         < end 6 incomplete: bytes lost inside
         < HTTP/1.1 204 Next
         < end 0",
    );
    let mut exactly = Tap::new();
    exactly.receive(head).receive("abc").gap(Received, 7).receive(next);
    check(
        &mut exactly,
        "< HTTP/1.1 200 OK length=10
         < body abc
         < gap 7
         < end 3 incomplete: bytes lost inside
         < HTTP/1.1 204 Next
         < end 0",
    );
    let mut beyond = Tap::new();
    beyond.receive(head).receive("abc").gap(Received, 8).receive("TP/1.1 200 OK\r\n\r\n").receive(next);
    check(
        &mut beyond,
        r"< HTTP/1.1 200 OK length=10
         < body abc
         < gap 8
         < end 3 incomplete: ends early, bytes lost inside
         < raw TP/1.1 200 OK\r\n\r\n
         < HTTP/1.1 204 Next
         < end 0",
    );
}

#[test]
fn gaps_in_chunks_heads_and_between() {
    let mut tap = Tap::new();
    tap.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab").gap(Received, 3);
    tap.receive("\r\n1\r\nf\r\n0").gap(Received, 1).receive("\n\r\n");
    tap.gap(Sent, 0).send("GET / HTTP/1.1\r\nHos").gap(Sent, 9).send("t\r\n\r\n").gap(Received, u64::MAX);
    check(
        &mut tap,
        r"< HTTP/1.1 200 OK chunked
         < body ab
         < gap 3
         < body f
         < gap 1
         < end 14 decoded 3 incomplete: ends early, bytes lost inside
         > raw GET / HTTP/1.1\r\nHos
         > gap 9
         > raw t\r\n\r\n
         < raw \n\r\n
         < gap 18446744073709551615",
    );
}

#[test]
fn flush_shows_and_remembers() {
    let mut tap = Tap::new();
    assert!(!tap.connection.holds_back());
    tap.send("GE");
    assert!(tap.connection.holds_back());
    tap.flush().send("T / HT").flush().flush();
    assert!(!tap.connection.holds_back());
    tap.send("TP/1.1\r\n\r\n").send("he").flush().send(" said so");
    check(
        &mut tap,
        "> raw GET / HT
         > GET / HTTP/1.1 (8 shown)
         > end 0
         > raw he said so",
    );
}

#[test]
fn heads_beyond_the_limit_are_raw() {
    let mut tap = Tap::with(Limits { head: 40, ..Limits::default() });
    tap.send("GET / HTTP/1.1\r\nX: 678901234567890123\r\n\r\n");
    tap.send("GET / HTTP/1.1\r\nX: 67890123456789012\r\n\r\n");
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40));
    tap.send(&endless[..20]).send(&endless[20..]).send("GET /ok HTTP/1.1\r\n\r\n");
    let items = tap.seen.of(Sent);
    assert!(matches!(&items[0], Item::Raw(raw) if raw.len() == 41), "{items:?}");
    assert!(matches!(&items[1], Item::Start { raw, .. } if raw.len() == 40), "{items:?}");
    assert!(matches!(&items[3], Item::Raw(raw) if raw == endless.as_bytes()), "{items:?}");
    assert!(matches!(&items[4], Item::Start { line, .. } if line == "GET /ok HTTP/1.1"), "{items:?}");
}

#[test]
fn endless_trailers_are_bounded() {
    let mut tap = Tap::with(Limits { head: 60, ..Limits::default() });
    tap.receive("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    for _ in 0..9 {
        tap.receive("T: 34567\r\n");
    }
    let pushed = 47 + 3 + 9 * 10;
    assert_eq!(tap.seen.bytes(Received), pushed);
    assert!(tap.lines().contains("incomplete: bad length or chunk"), "{}", tap.lines());
}

#[test]
fn the_raw_head_is_exact() {
    let raw = b"\r\nPOST /\xFF HTTP/1.1\nA: b\n c\r\nContent-Length:\t0 \n\r\n";
    let mut tap = Tap::new();
    tap.send(raw);
    assert!(matches!(&tap.seen.of(Sent)[0], Item::Start { raw: seen, .. } if seen == raw));
}
