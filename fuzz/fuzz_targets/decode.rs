//! A connection takes anything: no panic, and no byte unaccounted for.
#![no_main]
use decode::{Connection, Direction, Limits, Part};
use libfuzzer_sys::fuzz_target;

/// Bytes that the parts of each direction account for.
fn run(input: &[u8]) -> [[u64; 2]; 2] {
    let mut connection = Connection::new(Limits { head: 4096, decoded: 64 << 10 });
    let (mut pushed, mut seen) = ([0; 2], [0; 2]);
    let mut out = |lane: decode::Lane, part: Part<'_>| {
        seen[lane.direction as usize] += match part {
            Part::Start(head) => head.wire - head.shown as u64,
            Part::End(end) => end.wire,
            Part::Whole(whole) => whole.wire,
            Part::Framing(bytes) => bytes,
            Part::Raw(bytes) => bytes.len() as u64,
            Part::Unit(_) | Part::Body(_) | Part::Undecoded(_) | Part::Gap(_) => 0,
        };
    };
    let mut rest = input;
    // The form of the recordings in crates/decode/tests, which are a good corpus. Besides: `!` is a gap, `~` a time in
    // which nothing comes, `#` the end of patience with what is held.
    while let Some((&[sign, _, _, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (call, after) = after.split_at(length);
        let dir = if sign == b'>' { Direction::Sent } else { Direction::Received };
        match sign {
            b'!' => connection.gap(dir, length as u64, &mut out),
            b'~' => connection.flush(&mut out),
            b'#' => connection.give_up(&mut out),
            _ => {
                pushed[dir as usize] += length as u64;
                connection.keep_order(dir, &mut out);
                connection.push(dir, call, &mut out);
            }
        }
        rest = after;
    }
    connection.finish(&mut out);
    [pushed, seen]
}

fuzz_target!(|input: &[u8]| {
    let [pushed, seen] = run(input);
    assert_eq!(pushed, seen);
});
