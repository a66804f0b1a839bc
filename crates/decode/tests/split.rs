//! However a stream is cut into calls, the same comes out; and whatever comes in, all of it is accounted for.
#![allow(clippy::unwrap_used)]
mod seen;

use decode::Direction::{Received, Sent};
use decode::{Direction, Limits};
use proptest::prelude::*;
use proptest::sample::Index;
use seen::streams::{FOX_BROTLI, FOX_ZSTD, fox, gzip, hex, zlib};
use seen::{Item, Seen, Tap};

/// One request and its response.
type Exchange = (Vec<u8>, Vec<u8>);

fn field() -> impl Strategy<Value = String> {
    "[A-Z][a-z-]{0,20}: ?[ -~]{0,40}"
        .prop_filter("would frame the body", |f| !f.to_lowercase().starts_with("content"))
}

fn body() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|b| ("", b)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|b| ("Content-Encoding: gzip\r\n", gzip(&b))),
        prop::collection::vec(0..4_u8, 0..3000)
            .prop_map(|b| ("content-encoding: deflate,gzip\n", gzip(&zlib(&b)))),
        Just(("Content-Encoding: br\r\n", hex(FOX_BROTLI))),
        Just(("Content-Encoding: zstd\r\n", [hex(FOX_ZSTD), hex(FOX_ZSTD)].concat())),
        Just(("Content-Encoding: rot13\r\n", fox())),
    ]
}

/// The fields and the bytes of a body, framed one way or the other.
fn framed() -> impl Strategy<Value = (String, Vec<u8>)> {
    let cuts = prop::collection::vec(any::<Index>(), 0..5);
    (body(), cuts, any::<bool>(), "(;[a-z]{1,5}(=[a-z]{1,3})?)?", "(T: [a-z]{0,9}\r?\n){0,2}").prop_map(
        |((coding, body), cuts, chunked, extension, trailers)| {
            if !chunked {
                return (format!("{coding}Content-Length:  {} \r\n", body.len()), body);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let mut wire = Vec::new();
            for chunk in cuts.windows(2).map(|w| &body[w[0]..w[1]]).filter(|chunk| !chunk.is_empty()) {
                wire.extend(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(format!("0{extension}\r\n{trailers}\r\n").as_bytes());
            (format!("{coding}Transfer-Encoding: chunked\r\n"), wire)
        },
    )
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let fields = || {
        prop::collection::vec(field(), 0..4)
            .prop_map(|all| all.iter().map(|f| format!("{f}\r\n")).collect::<String>())
    };
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "patch", "M-SEARCH"]);
    (method, "/[!-~]{0,60}", fields(), framed(), fields(), framed(), 100..600_u16, "[ -~]{0,20}").prop_map(
        |(method, target, fields, (framing, body), more, (reply_framing, reply), status, reason)| {
            let request = format!("{method} {target} HTTP/1.1\r\n{fields}{framing}\r\n");
            let status = if status == 101 { 200 } else { status };
            let response = format!("HTTP/1.1 {status} {reason}\r\n{more}{reply_framing}\r\n");
            let empty = method == "HEAD" || status < 200 || status == 204 || status == 304;
            let last = if status < 200 { "HTTP/1.1 200 \n\n" } else { "" };
            let reply = if empty { Vec::new() } else { reply };
            // A final response without length lasts until the connection closes: keep one off.
            let last = last.replace("\n\n", "\ncontent-length: 0\n\n");
            (
                [request.into_bytes(), body].concat(),
                [response.into_bytes(), reply, last.into_bytes()].concat(),
            )
        },
    )
}

/// All requests, then all responses, each cut at `cuts`.
fn run(exchanges: &[Exchange], end: &[u8], cuts: &[Index], flush: bool) -> Seen {
    let mut tap = Tap::new();
    let requests: Vec<u8> = exchanges.iter().flat_map(|(request, _)| request.clone()).collect();
    let responses =
        exchanges.iter().flat_map(|(_, response)| response.clone()).chain(end.iter().copied()).collect();
    for (dir, stream) in [(Sent, requests), (Received, responses)] {
        cut(&mut tap, dir, &stream, cuts, flush);
        assert_eq!(stream.is_empty(), tap.seen.of(dir).is_empty() && !tap.connection.holds_back());
    }
    tap.finish();
    tap.seen
}

fn cut(tap: &mut Tap, dir: Direction, stream: &[u8], cuts: &[Index], flush: bool) {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    for piece in at.windows(2) {
        tap.push(dir, &stream[piece[0]..piece[1]]);
        if flush {
            tap.flush();
        }
    }
}

/// What is raw only because of a flush is in the head as well.
fn without_flushes(seen: &Seen, dir: Direction) -> Vec<Item> {
    let unshown = |item| match item {
        Item::Start { line, raw, wire, .. } => Item::Start { line, raw, wire, shown: 0 },
        other => other,
    };
    seen.of(dir).into_iter().filter(|item| !matches!(item, Item::Raw(_))).map(unshown).collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        exchanges in prop::collection::vec(exchange(), 1..6),
        close in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        cuts in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let end = close.map(|body| [b"HTTP/1.0 200 OK\r\n\r\n", body.as_slice()].concat()).unwrap_or_default();
        let whole = run(&exchanges, &end, &[], false);
        for dir in Direction::BOTH {
            prop_assert!(whole.of(dir).iter().all(|i| !matches!(i, Item::Raw(_))), "{}", whole.lines());
        }
        let starts = whole.of(Sent).iter().filter(|i| matches!(i, Item::Start { .. })).count();
        prop_assert_eq!(starts, exchanges.len());
        let split = run(&exchanges, &end, &cuts, false);
        let flushed = run(&exchanges, &end, &cuts, true);
        for dir in Direction::BOTH {
            prop_assert_eq!(whole.of(dir), split.of(dir));
            prop_assert_eq!(whole.of(dir), without_flushes(&flushed, dir));
        }
    }

    /// Small limits, gaps, garbage between pieces of real messages: every byte pushed is accounted for.
    #[test]
    fn hostile_streams_are_accounted_for(
        exchanges in prop::collection::vec(exchange(), 1..4),
        garbage in prop::collection::vec((any::<Index>(), prop::collection::vec(any::<u8>(), 1..6)), 0..6),
        pushes in prop::collection::vec((any::<bool>(), 1..200_usize, 0..8_u8), 1..60),
        head in 0..300_usize,
        decoded in 0..1000_u64,
    ) {
        let mut tap = Tap::with(Limits { head, decoded });
        let mut streams = [Vec::new(), Vec::new()];
        for (request, response) in exchanges {
            streams[0].extend(request);
            streams[1].extend(response);
        }
        for (at, bytes) in garbage {
            let stream = &mut streams[at.index(2)];
            let at = at.index(stream.len() + 1);
            stream.splice(at..at, bytes);
        }
        let mut pushed = [0, 0];
        for (received, len, event) in pushes {
            let dir = if received { Received } else { Sent };
            let stream = &mut streams[dir as usize];
            let piece: Vec<u8> = stream.drain(..len.min(stream.len())).collect();
            pushed[dir as usize] += piece.len() as u64;
            tap.push(dir, &piece);
            match event {
                0 => drop(tap.gap(dir, len as u64).flush().lines()),
                1 => drop(tap.flush().lines()),
                _ => {}
            }
        }
        tap.finish();
        for dir in Direction::BOTH {
            prop_assert_eq!(tap.seen.bytes(dir), pushed[dir as usize], "{}", tap.lines());
        }
    }

    #[test]
    fn random_bytes_come_out_raw(bytes in prop::collection::vec(any::<u8>(), 0..500), push in 1..50_usize) {
        let mut tap = Tap::new();
        for piece in bytes.chunks(push) {
            tap.push(Sent, piece);
        }
        tap.finish();
        prop_assert_eq!(tap.seen.bytes(Sent), bytes.len() as u64);
    }
}
