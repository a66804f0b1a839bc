//! What real programs said to each other (recorded/record.py), as snapshots; at all splits, from the middle, damaged.
#![allow(clippy::unwrap_used)]
mod seen;

use std::path::Path;

use decode::Direction::{self, Received, Sent};
use decode::{Connection, Limits};
use proptest::prelude::*;
use proptest::sample::Index;
use seen::{Item, Seen, Tap};

const NAMES: [&str; 12] = [
    "h2_nghttp",
    "h2_node",
    "h2_continuation",
    "grpc",
    "websocket_plain",
    "websocket_keep",
    "websocket_forget",
    "redis",
    "postgres",
    "postgres_extended",
    "mysql",
    "mysql_prepared",
];

/// The calls of a recording, as the client made them.
fn calls(name: &str) -> Vec<(Direction, Vec<u8>)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name).with_extension("stream");
    let bytes = std::fs::read(path).unwrap();
    let (mut calls, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (call, after) = after.split_at(length);
        calls.push((if head[0] == b'>' { Sent } else { Received }, call.to_vec()));
        rest = after;
    }
    calls
}

/// What comes out when each call is cut by `cut`.
fn run(calls: &[(Direction, Vec<u8>)], cut: impl Fn(&[u8]) -> Vec<&[u8]>) -> Seen {
    let mut tap = Tap::new();
    for (dir, call) in calls {
        cut(call).into_iter().for_each(|piece| {
            tap.push(*dir, piece);
        });
    }
    tap.finish();
    for dir in Direction::BOTH {
        let pushed: u64 = calls.iter().filter(|(d, _)| *d == dir).map(|(_, call)| call.len() as u64).sum();
        assert_eq!(tap.seen.bytes(dir), pushed, "{}", tap.lines());
    }
    tap.seen
}

/// One line per item, long ones cut.
fn shown(seen: &Seen) -> String {
    let short = |line: &str| match line.char_indices().nth(400) {
        Some((at, _)) => format!("{}… {} more\n", &line[..at], line.len() - at),
        None => format!("{line}\n"),
    };
    seen.lines().lines().map(short).collect()
}

#[test]
fn snapshots() {
    for name in NAMES {
        insta::assert_snapshot!(name, shown(&run(&calls(name), |call| vec![call])));
    }
}

#[test]
fn every_split_gives_the_same() {
    for name in NAMES {
        let calls = calls(name);
        let whole = run(&calls, |call| vec![call]);
        for size in [1, 2, 3, 5, 7, 9, 10, 100] {
            let split = run(&calls, |call| call.chunks(size).collect());
            assert_eq!(split.lanes(), whole.lanes(), "{name} by {size}");
        }
    }
}

/// A recording without its first calls: heads refer to tables that nobody has.
fn from_the_middle(name: &str, skipped: usize) -> Seen {
    run(&calls(name)[skipped..], |call| vec![call])
}

#[test]
fn joined_in_the_middle() {
    insta::assert_snapshot!("middle_of_grpc", shown(&from_the_middle("grpc", 8)));
    insta::assert_snapshot!("middle_of_postgres", shown(&from_the_middle("postgres", 12)));
    insta::assert_snapshot!("middle_of_redis", shown(&from_the_middle("redis", 9)));
}

#[test]
fn fields_that_are_not_known_are_marked() {
    let seen = from_the_middle("grpc", 8);
    let heads: Vec<String> = seen
        .items
        .iter()
        .filter_map(|(_, item)| match item {
            Item::Start { raw, .. } => Some(String::from_utf8_lossy(raw).into_owned()),
            _ => None,
        })
        .collect();
    insta::assert_snapshot!("heads_in_the_middle_of_grpc", heads.join("---\n"));
    let whole = run(&calls("grpc"), |call| vec![call]).lines();
    assert!(!whole.contains("unknown"), "{whole}");
}

#[test]
fn nothing_secret_is_shown() {
    for name in NAMES {
        let lines = run(&calls(name), |call| vec![call]).lines();
        assert!(!lines.contains("hunter"), "{name}: {lines}");
    }
}

/// Between messages, nothing but what later messages refer to is kept: also the windows of permessage-deflate, one of
/// which is begun anew for each message in `websocket_forget`, and fields of kilobytes in the tables of HPACK.
#[test]
fn idle_connections_are_small() {
    for name in NAMES {
        let referred_to = match name {
            "websocket_keep" => 2 * (44 << 10),
            "websocket_forget" => 44 << 10,
            "h2_continuation" => 2 << 10,
            _ => 0,
        };
        let mut connection = Connection::new(Limits::default());
        for (dir, call) in calls(name) {
            connection.push(dir, &call, &mut |_, _| {});
        }
        let memory = size_of::<Connection>() + connection.memory();
        assert!(memory <= 4096 + referred_to, "{name}: {memory} bytes");
    }
}

/// A connection that is given up in the middle of anything keeps nothing, and every byte is accounted for.
#[test]
fn given_up_anywhere() {
    for name in NAMES {
        let calls = calls(name);
        for at in 0..=calls.len() {
            let mut tap = Tap::new();
            for (index, (dir, call)) in calls.iter().enumerate() {
                let (first, second) = call.split_at(call.len() / 2);
                tap.push(*dir, first);
                if index == at {
                    tap.give_up();
                    assert_eq!(tap.connection.memory(), 0, "{name}");
                }
                tap.push(*dir, second);
            }
            tap.finish();
            for dir in Direction::BOTH {
                let pushed: u64 =
                    calls.iter().filter(|(d, _)| *d == dir).map(|(_, call)| call.len() as u64).sum();
                assert_eq!(tap.seen.bytes(dir), pushed, "{name} at {at}: {}", tap.lines());
            }
        }
    }
}

proptest! {
    #[test]
    fn random_splits_give_the_same(name in prop::sample::select(&NAMES[..]), cuts in prop::collection::vec(any::<Index>(), 1..6)) {
        let calls = calls(name);
        let whole = run(&calls, |call| vec![call]);
        let split = run(&calls, |call| {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(call.len() + 1)).collect();
            at.extend([0, call.len()]);
            at.sort_unstable();
            at.windows(2).map(|ends| &call[ends[0]..ends[1]]).collect()
        });
        prop_assert_eq!(split.lanes(), whole.lanes());
    }

    /// Bytes flipped, cut out, said twice; gaps told and not told; a reader who waits or not: every byte is accounted for,
    /// once.
    #[test]
    fn damage_is_survived(
        name in prop::sample::select(&NAMES[..]),
        damage in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>(), 0..5_u8), 1..8),
        size in 1..4000_usize,
        is_watched in any::<bool>(),
    ) {
        let mut calls = calls(name);
        let mut gaps = Vec::new();
        for (call, at, byte, kind) in damage {
            let call = call.index(calls.len());
            let bytes = &mut calls[call].1;
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => gaps.push((call, u64::from(byte))),
                3 => bytes.extend_from_within(at..),
                _ => if let Some(b) = bytes.get_mut(at) { *b ^= byte },
            }
        }
        let mut tap = Tap::new();
        let mut pushed = [0; 2];
        for (index, (dir, call)) in calls.iter().enumerate() {
            for (_, lost) in gaps.iter().filter(|(at, _)| *at == index) {
                tap.gap(*dir, *lost);
            }
            for piece in call.chunks(size) {
                if is_watched {
                    tap.flush().keep_order(*dir);
                }
                tap.push(*dir, piece);
            }
            pushed[*dir as usize] += call.len() as u64;
        }
        tap.finish();
        for dir in Direction::BOTH {
            prop_assert_eq!(tap.seen.bytes(dir), pushed[dir as usize], "{}", tap.lines());
        }
    }
}
