//! Removal of content-encodings from real encoders, and what happens when it fails.
#![allow(clippy::unwrap_used)]
mod seen;

use decode::Direction::Received;
use decode::Limits;
use proptest::prelude::*;
use seen::streams::{
    FOX_BROTLI, FOX_BROTLI_ZSTD, FOX_GZIP, FOX_GZIP_BROTLI, FOX_ZSTD, ZEROS_BROTLI, ZEROS_ZSTD, deflate, fox,
    gzip, hex, response, zlib,
};
use seen::{Item, Tap};

/// Body, undecoded bytes, and the line of the end.
fn receive(stream: &[u8], push: usize, limits: Limits) -> (Vec<u8>, Vec<u8>, String) {
    let mut tap = Tap::with(limits);
    stream.chunks(push).for_each(|piece| {
        tap.receive(piece);
    });
    let (mut body, mut undecoded, mut ends) = (Vec::new(), Vec::new(), String::new());
    for item in tap.seen.of(Received) {
        match item {
            Item::Body(b) => body.extend(b),
            Item::Undecoded(b) => undecoded.extend(b),
            Item::End { text, .. } => ends += &text,
            _ => {}
        }
    }
    (body, undecoded, ends)
}

/// Every encoding with its real bytes.
fn encoded() -> Vec<(&'static str, Vec<u8>)> {
    let fox = fox();
    let (head, tail) = fox.split_at(50);
    let skippable = hex("552a4d18030000006d6574");
    vec![
        ("gzip", gzip(&fox)),
        ("X-GZIP", hex(FOX_GZIP)),
        ("gzip", [gzip(head), gzip(b""), gzip(tail)].concat()),
        ("deflate", zlib(&fox)),
        ("Deflate", deflate(&fox)),
        ("br", hex(FOX_BROTLI)),
        ("zstd", hex(FOX_ZSTD)),
        ("zstd", [skippable, hex(FOX_ZSTD)].concat()),
        ("gzip, br, identity", hex(FOX_GZIP_BROTLI)),
        ("deflate, gzip", gzip(&zlib(&fox))),
        ("br,zstd , gzip", gzip(&hex(FOX_BROTLI_ZSTD))),
    ]
}

#[test]
fn all_encodings_at_all_splits() {
    for (coding, body) in encoded() {
        let stream = response(coding, &body);
        for push in [1, 2, 3, 7, 50, stream.len()] {
            let (plain, undecoded, end) = receive(&stream, push, Limits::default());
            assert_eq!(
                plain.escape_ascii().to_string(),
                fox().escape_ascii().to_string(),
                "{coding} by {push}"
            );
            assert_eq!((undecoded.len(), end), (0, format!("end {} decoded {}", body.len(), fox().len())));
        }
    }
}

#[test]
fn transfer_codings_come_off_first() {
    let body = gzip(&zlib(&fox()));
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let stream = [format!("{head}{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(receive(&stream, 10, Limits::default()).0, fox());
}

#[test]
fn bombs_stop_at_the_cap() {
    let zeros = vec![0; 1_000_000];
    let bombs = [
        ("gzip", gzip(&zeros)),
        ("deflate", deflate(&zeros)),
        ("br", hex(ZEROS_BROTLI)),
        ("zstd", hex(ZEROS_ZSTD)),
        ("gzip, gzip", gzip(&gzip(&zeros))),
    ];
    for (coding, body) in bombs {
        let stream = response(coding, &body);
        // The limit holds for each stage: a lower one would stop the outer of two.
        for decoded in [2_000, 50_000, 999_999] {
            let (plain, undecoded, end) = receive(&stream, 11, Limits { decoded, ..Limits::default() });
            assert_eq!((plain.len() as u64, undecoded.len()), (decoded, 0), "{coding}");
            assert!(end.ends_with(": decoded up to the limit only"), "{coding}: {end}");
        }
        let (plain, _, end) = receive(&stream, 11, Limits { decoded: 1_000_000, ..Limits::default() });
        assert_eq!(
            (plain.len(), end),
            (1_000_000, format!("end {} decoded 1000000", body.len())),
            "{coding}"
        );
    }
}

#[test]
fn the_rest_beyond_the_cap_is_counted() {
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let body = gzip(&noise);
    let (_, _, end) = receive(&response("gzip", &body), 1000, Limits { decoded: 1000, ..Limits::default() });
    let undecoded: usize = end.split(' ').nth(5).unwrap().trim_end_matches(':').parse().unwrap();
    assert!(undecoded > body.len() / 2 && undecoded < body.len(), "{end}");
}

#[test]
fn a_plain_body_that_claims_to_be_encoded_is_shown_whole() {
    for coding in ["gzip", "deflate", "br", "zstd", "deflate, gzip"] {
        let body = b"Hello, this is not compressed at all";
        for push in [1, 5, 1000] {
            let (plain, undecoded, end) = receive(&response(coding, body), push, Limits::default());
            assert_eq!((plain.len(), undecoded.as_slice()), (0, &body[..]), "{coding} by {push}");
            assert!(end.ends_with(": damaged content-encoding"), "{end}");
        }
    }
}

#[test]
fn damage_keeps_what_was_decoded() {
    for (coding, whole) in encoded() {
        let mut body = whole.clone();
        body.extend(b"trailing");
        let (plain, undecoded, end) = receive(&response(coding, &body), 9, Limits::default());
        assert!(end.ends_with(": damaged content-encoding"), "{coding}: {end}");
        if !coding.contains(',') {
            assert_eq!((plain, undecoded.as_slice()), (fox(), &b"trailing"[..]), "{coding}");
        }
    }
}

#[test]
fn a_wrong_check_sum_is_noticed() {
    for (coding, mut body) in [("gzip", gzip(&fox())), ("deflate", zlib(&fox())), ("zstd", hex(FOX_ZSTD))] {
        let sum = body.len() - if coding == "gzip" { 5 } else { 1 };
        body[sum] ^= 1;
        let (plain, _, end) = receive(&response(coding, &body), 1, Limits::default());
        assert_eq!(plain, fox(), "{coding}");
        assert!(end.ends_with(": damaged content-encoding"), "{coding}: {end}");
    }
}

#[test]
fn an_unknown_encoding_is_passed_on() {
    let (plain, undecoded, end) = receive(&response("gzip, lzma", b"?!"), 1, Limits::default());
    assert_eq!((plain.len(), undecoded.as_slice()), (0, &b"?!"[..]));
    assert_eq!(end, "end 2 decoded 0 undecoded 2: unknown content-encoding");
}

#[test]
fn streams_that_stop_early() {
    for (coding, body) in [("gzip", gzip(&fox())), ("br", hex(FOX_BROTLI)), ("zstd", hex(FOX_ZSTD))] {
        let cut = &body[..body.len() - 2];
        let (plain, _, end) = receive(&response(coding, cut), 1000, Limits::default());
        assert!(end.ends_with(": damaged content-encoding"), "{coding}: {end}");
        assert!(fox().starts_with(&plain));
        let mut tap = Tap::new();
        tap.receive(&response(coding, &body)[..100]).finish();
        assert!(tap.lines().trim_end().ends_with("incomplete: ends early"), "{}", tap.lines());
    }
}

#[test]
fn output_is_not_kept_back_by_the_window_of_zstd() {
    // All blocks but the last: the window is as large as the frame, so the crate itself gives out nothing.
    let body = hex(ZEROS_ZSTD);
    let (plain, undecoded, end) = receive(&response("zstd", &body[..body.len() - 10]), 7, Limits::default());
    assert_eq!(plain.len(), 6 * (128 << 10), "{end}");
    assert_eq!(undecoded, body[body.len() - 12..body.len() - 10]);
}

#[test]
fn after_a_gap_nothing_is_decoded() {
    let stream = response("gzip", &gzip(&vec![7; 100_000]));
    let mut tap = Tap::new();
    let (lost, cut) = (20, stream.len() - 60);
    tap.receive(&stream[..cut]).gap(Received, lost as u64).receive(&stream[cut + lost..]);
    let items = tap.seen.of(Received);
    assert!(matches!(&items[2], Item::Gap(20)), "{items:?}");
    assert!(matches!(&items[3], Item::Undecoded(rest) if *rest == stream[cut + lost..]), "{items:?}");
    assert!(
        tap.lines().trim_end().ends_with("undecoded 40 incomplete: bytes lost inside"),
        "{}",
        tap.lines()
    );
}

#[test]
fn an_empty_body_needs_no_stream() {
    let stream = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(receive(stream, 5, Limits::default()).2, "end 5 decoded 0");
}

proptest! {
    /// Broken streams: no panic, and the same body whatever the split.
    #[test]
    fn damaged_streams(which in 0..11_usize, at in 0..200_usize, flip in 1..=255_u8, push in 1..64_usize) {
        let (coding, mut body) = encoded().swap_remove(which);
        let at = at % body.len();
        body[at] ^= flip;
        let stream = response(coding, &body);
        let (plain, _, _) = receive(&stream, push, Limits::default());
        let (at_once, _, _) = receive(&stream, stream.len(), Limits::default());
        // A codec that fails may keep the last output to itself, more of it the more bytes it was given.
        prop_assert!(plain.starts_with(&at_once) || at_once.starts_with(&plain));
    }

    /// Random bytes under every encoding.
    #[test]
    fn random_streams(coding in "(gzip|deflate|br|zstd)(, (gzip|deflate|br|zstd))?", body in prop::collection::vec(any::<u8>(), 1..500)) {
        receive(&response(&coding, &body), 100, Limits::default());
    }
}
