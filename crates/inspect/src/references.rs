//! Code that refers to an address, found without disassembling: what is found may be the middle of an instruction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::binary::Binary;
use crate::constants::MOST;
use crate::error::ElfError;

/// Most references and jumps that are kept; more are too strange to trust.
const MOST_HITS: usize = 1 << 16;
/// Longest instruction that is looked for.
const LONGEST_INSN: usize = 7;

/// Instructions that load a wanted address, and the address.
pub(crate) fn references(
    binary: &Binary<'_>,
    wanted: impl Fn(u64) -> bool,
) -> Result<Option<BTreeMap<u64, u64>>, ElfError> {
    let fixed = binary.headers.fixed_address;
    scan(binary, |at, code| {
        let to = match *code {
            // lea distance(%rip),%reg
            [0x48..=0x4f, 0x8d, mode, a, b, c, d] if mode & 0xc7 == 5 => {
                relative(at.wrapping_add(7), i32::from_le_bytes([a, b, c, d]))
            }
            // mov $address,%reg
            [0xb8..=0xbf, a, b, c, d, ..] if fixed => u64::from(u32::from_le_bytes([a, b, c, d])),
            [0x48 | 0x49, 0xc7, 0xc0..=0xc7, a, b, c, d] if fixed => {
                relative(0, i32::from_le_bytes([a, b, c, d]))
            }
            _ => return None,
        };
        wanted(to).then_some(to)
    })
}

/// Where a call, jump or conditional jump goes.
pub(crate) fn relative_branch(at: u64, code: &[u8; LONGEST_INSN]) -> Option<u64> {
    match *code {
        [0xe8 | 0xe9, a, b, c, d, ..] => Some(relative(at.wrapping_add(5), i32::from_le_bytes([a, b, c, d]))),
        [0x0f, 0x80..=0x8f, a, b, c, d, _] => {
            Some(relative(at.wrapping_add(6), i32::from_le_bytes([a, b, c, d])))
        }
        [0xeb | 0x70..=0x7f, distance, ..] => {
            Some(relative(at.wrapping_add(2), i32::from(distance.cast_signed())))
        }
        _ => None,
    }
}

fn relative(base: u64, distance: i32) -> u64 {
    base.wrapping_add_signed(i64::from(distance))
}

/// Calls `what` for every address of code; gives those with an answer, or `None` if not all was seen. What it
/// sees there may be the middle of an instruction.
pub(crate) fn scan(
    binary: &Binary<'_>,
    what: impl Fn(u64, &[u8; LONGEST_INSN]) -> Option<u64>,
) -> Result<Option<BTreeMap<u64, u64>>, ElfError> {
    let (mut hits, mut left) = (BTreeMap::new(), MOST);
    for load in binary.headers.loads.iter().filter(|load| load.executable) {
        let Some(rest) = left.checked_sub(load.file.len) else { return Ok(None) };
        left = rest;
        binary.source.walk(load.file, LONGEST_INSN as u64, "code", |position, piece| {
            for (into, code) in piece.array_windows().enumerate() {
                let at = load.address + position + into as u64;
                if let Some(to) = what(at, code) {
                    hits.insert(at, to);
                }
            }
            if hits.len() < MOST_HITS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok((hits.len() < MOST_HITS).then_some(hits))
}
