//! What once broke the fuzz target: `fuzz/regressions/decode`, in the form that `fuzz/fuzz_targets/decode.rs` reads.
#![allow(missing_docs, clippy::unwrap_used)]
mod seen;

use std::path::Path;

use decode::Direction::{self, Received, Sent};
use decode::Limits;
use seen::Tap;

#[test]
fn every_byte_is_accounted_for() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions/decode");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let mut tap = Tap::with(Limits { head: 4096, decoded: 64 << 10 });
        let (mut rest, mut pushed) = (input.as_slice(), [0; 2]);
        while let Some((&[sign, _, _, high, low], after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
            let (call, after) = after.split_at(length);
            let dir = if sign == b'>' { Sent } else { Received };
            match sign {
                b'!' => tap.gap(dir, length as u64),
                b'~' => tap.flush(),
                b'#' => tap.give_up(),
                _ => {
                    pushed[dir as usize] += length as u64;
                    tap.keep_order(dir).push(dir, call)
                }
            };
            rest = after;
        }
        tap.finish();
        for dir in Direction::BOTH {
            assert_eq!(tap.seen.bytes(dir), pushed[dir as usize], "{}: {}", path.display(), tap.lines());
        }
    }
}
