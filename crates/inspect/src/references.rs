//! Code that refers to an address: loads it, calls it or jumps to it. One walk over all code.
//!
//! x86_64 code is searched for the four bytes that give a wanted address, and then for the opcode before them; what is
//! found may be the middle of another instruction. aarch64 code is read from one end to the other with the constants
//! that its registers hold, as an address takes two instructions or three.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use crate::binary::{Binary, Machine};
use crate::code::{Address, Effect, Flow, RegSet, arm64};
use crate::constants::MOST;
use crate::error::ElfError;
use crate::relocation::relatives;

/// Most references that are kept; more are too strange to trust.
const MOST_HITS: usize = 1 << 16;
/// Most places in memory that hold a wanted address.
const MOST_SLOTS: usize = 1 << 10;
/// Bytes before the four, and with them, of the longest instruction that is looked for.
const BEFORE: usize = 7;
const LONGEST_INSN: usize = BEFORE + 4;

/// What an instruction does with the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// Puts it into a register, the stack or memory.
    Load,
    Call,
    /// Also a conditional jump.
    Jump,
}

/// An instruction that refers to a wanted address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// The instruction, or behind its prefix if that makes no difference; on aarch64 the one that completes the
    /// address.
    pub(crate) at: u64,
    /// The wanted address.
    pub(crate) to: u64,
    pub(crate) used: Use,
}

/// Addresses to look for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Sorted, not touching.
    ranges: Vec<Range<u64>>,
    low: u64,
    span: u64,
    /// A bit for each block of `1 << shift` bytes from `low` on: whether any of it is wanted.
    blocks: Vec<u64>,
    shift: u32,
    /// Places in memory that hold one of them, and which.
    slots: BTreeMap<u64, u64>,
}

/// Most blocks: so many bits stay in the first-level cache.
const MOST_BLOCKS: u64 = 1 << 16;

impl FromIterator<Range<u64>> for Wanted {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut all: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in all {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        let low = ranges.first().map_or(0, |range| range.start);
        let span = ranges.last().map_or(0, |range| range.end - low);
        let shift = (0..u64::BITS).find(|shift| span >> shift < MOST_BLOCKS).unwrap_or(0);
        let mut blocks = vec![0; (span >> shift) as usize / 64 + 1];
        for block in
            ranges.iter().flat_map(|range| (range.start - low) >> shift..=(range.end - 1 - low) >> shift)
        {
            blocks[block as usize / 64] |= 1 << (block % 64);
        }
        Self { ranges, low, span, blocks, shift, slots: BTreeMap::new() }
    }
}

impl Wanted {
    /// Whether it can be one of them: cheap, as every byte of code is asked for.
    #[inline]
    fn may_be(&self, address: u64) -> bool {
        let into = address.wrapping_sub(self.low);
        let block = into >> self.shift;
        into < self.span
            && self.blocks.get(block as usize / 64).is_some_and(|bits| bits & 1 << (block % 64) != 0)
    }

    /// Also what loads them from the global offset table, as aarch64 code does for what might be in another file.
    pub(crate) fn with_slots(mut self, binary: &Binary<'_>) -> Self {
        let mut slots = BTreeMap::new();
        relatives(binary, |slot, address| {
            if slots.len() < MOST_SLOTS && self.contains(address) {
                slots.insert(slot, address);
            }
        });
        self.slots = slots;
        self
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        self.may_be(address) && {
            let after = self.ranges.partition_point(|range| range.start <= address);
            after.checked_sub(1).is_some_and(|at| self.ranges[at].contains(&address))
        }
    }
}

/// All instructions that refer to a wanted address, sorted by their own; `None` if there is too much code, or too many.
/// Without the short jumps of x86_64, which reach 128 bytes.
pub(crate) fn references(binary: &Binary<'_>, wanted: &Wanted) -> Result<Option<Vec<Reference>>, ElfError> {
    let (mut hits, mut left) = (Vec::new(), MOST);
    for load in binary.instructions() {
        let Some(rest) = left.checked_sub(load.file.len) else { return Ok(None) };
        left = rest;
        let mut registers = Registers::default();
        let overlap = match binary.machine() {
            Machine::X86_64 => LONGEST_INSN as u64,
            Machine::Aarch64 => 0,
        };
        binary.source.walk(load.file, overlap, "code", |position, piece| {
            let start = load.address + position;
            match binary.machine() {
                Machine::X86_64 => search_x86(piece, start, binary.headers.fixed_address, wanted, &mut hits),
                Machine::Aarch64 => sweep_arm64(piece, start, &mut registers, wanted, &mut hits),
            }
            if hits.len() < MOST_HITS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    hits.sort_unstable();
    hits.dedup();
    Ok((hits.len() < MOST_HITS).then_some(hits))
}

fn search_x86(piece: &[u8], start: u64, fixed: bool, wanted: &Wanted, hits: &mut Vec<Reference>) {
    for (into, four) in piece.array_windows::<4>().enumerate() {
        let value = i32::from_le_bytes(*four);
        let end = start.wrapping_add(into as u64 + 4);
        let near = end.wrapping_add_signed(i64::from(value));
        let far = i64::from(value).cast_unsigned();
        if wanted.may_be(near) && wanted.contains(near) {
            hits.extend(opcode_of_distance(&piece[..into], end, near));
        }
        if fixed && wanted.may_be(far) && wanted.contains(far) {
            hits.extend(opcode_of_address(&piece[..into], end, far));
        }
    }
}

/// The instruction whose last four bytes are a distance from its end.
fn opcode_of_distance(before: &[u8], end: u64, to: u64) -> Option<Reference> {
    let (len, used) = match *before {
        // lea distance(%rip),%reg
        [.., 0x48..=0x4f, 0x8d, mode] if mode & 0xc7 == 5 => (7, Use::Load),
        [.., 0xe8] => (5, Use::Call),
        [.., 0xe9] => (5, Use::Jump),
        [.., 0x0f, 0x80..=0x8f] => (6, Use::Jump),
        _ => return None,
    };
    Some(Reference { at: end.wrapping_sub(len), to, used })
}

/// The instruction whose last four bytes are an address.
fn opcode_of_address(before: &[u8], end: u64, to: u64) -> Option<Reference> {
    let len = match *before {
        // mov $address,%reg; push $address
        [.., 0xb8..=0xbf | 0x68] => 5,
        // movq $address to a register, to memory at one, or near one
        [.., 0xc7, 0xc0..=0xc7 | 0x00..=0x03 | 0x06 | 0x07] => 6,
        [.., 0xc7, 0x40..=0x43 | 0x45..=0x47, _] | [.., 0xc7, 0x04, _] => 7,
        [.., 0xc7, 0x44, _, _] => 8,
        [.., 0xc7, 0x80..=0x83 | 0x85..=0x87, _, _, _, _] => 10,
        [.., 0xc7, 0x84, _, _, _, _, _] => 11,
        _ => return None,
    };
    Some(Reference { at: end.wrapping_sub(len), to, used: Use::Load })
}

/// Constants in registers.
#[derive(Default)]
struct Registers {
    values: [u64; 32],
    known: RegSet,
}

impl Registers {
    fn get(&self, reg: u8) -> Option<u64> {
        (self.known & 1 << reg != 0).then(|| self.values[usize::from(reg) % 32])
    }

    fn set(&mut self, reg: u8, value: Option<u64>) {
        self.known &= !(1 << reg);
        if let Some(value) = value {
            self.known |= 1 << reg;
            self.values[usize::from(reg) % 32] = value;
        }
    }

    fn branch(&mut self, word: u32, at: u64) -> Option<(u64, Use)> {
        match arm64::flow(word, at) {
            Flow::Call(target) => {
                self.known &= !arm64::ABI.clobbered;
                target.address().map(|to| (to, Use::Call))
            }
            Flow::Jump(target) => target.address().map(|to| (to, Use::Jump)),
            Flow::Branch(to, _) => Some((to, Use::Jump)),
            Flow::Next | Flow::Return | Flow::Stop => None,
        }
    }

    /// Any other instruction.
    fn compute(&mut self, bytes: &[u8; 4], at: u64, wanted: &Wanted) -> Option<(u64, Use)> {
        let insn = arm64::decode(bytes, at)?;
        match insn.effects[0] {
            _ if insn.effects[1] != Effect::Other => {
                self.known &= !insn.writes;
                None
            }
            Effect::Offset { to, base, by } => {
                let value = self.get(base).map(|value| value.wrapping_add_signed(by));
                self.set(to, value);
                value.map(|value| (value, Use::Load))
            }
            Effect::Copy { to, from } => {
                self.set(to, self.get(from));
                None
            }
            Effect::Load { to, from: Address { base: Some(base), at, index: None }, size: 8 } => {
                let slot = self.get(base).map(|base| base.wrapping_add_signed(at));
                let value = slot.and_then(|slot| wanted.slots.get(&slot).copied());
                self.set(to, value);
                value.map(|value| (value, Use::Load))
            }
            _ => {
                self.known &= !insn.writes;
                None
            }
        }
    }
}

fn sweep_arm64(
    piece: &[u8],
    start: u64,
    registers: &mut Registers,
    wanted: &Wanted,
    hits: &mut Vec<Reference>,
) {
    let (words, _) = piece.as_chunks::<4>();
    for (index, bytes) in words.iter().enumerate() {
        let word = u32::from_le_bytes(*bytes);
        let at = start.wrapping_add(index as u64 * 4);
        let referred = if arm64::may_branch(word) {
            registers.branch(word, at)
        } else if let Some((to, value)) = arm64::near_address(word, at) {
            registers.set(to, Some(value));
            Some((value, Use::Load))
        } else if registers.known & arm64::named(word) != 0 {
            registers.compute(bytes, at, wanted)
        } else {
            None
        };
        if let Some((to, used)) = referred
            && wanted.contains(to)
        {
            hits.push(Reference { at, to, used });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(addresses: &[u64]) -> Wanted {
        addresses.iter().map(|&address| address..address + 1).collect()
    }

    fn x86(code: &[u8], fixed: bool, addresses: &[u64]) -> Vec<(u64, u64, Use)> {
        let mut hits = Vec::new();
        search_x86(code, 0x1000, fixed, &wanted(addresses), &mut hits);
        hits.iter().map(|hit| (hit.at, hit.to, hit.used)).collect()
    }

    fn arm64(words: &[u32], addresses: &[u64]) -> Vec<(u64, u64, Use)> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut hits = Vec::new();
        sweep_arm64(&code, 0x1000, &mut Registers::default(), &wanted(addresses), &mut hits);
        hits.iter().map(|hit| (hit.at, hit.to, hit.used)).collect()
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let wanted = Wanted::from_iter([0x30..0x40, 0x10..0x20, 0x20..0x28, 0x12..0x14, 0x50..0x50]);
        let inside: Vec<_> = (0..0x60).filter(|at| wanted.contains(*at)).collect();
        assert_eq!(inside, (0x10..0x28).chain(0x30..0x40).collect::<Vec<_>>());
        let far = Wanted::from_iter([3..5, u64::MAX - 9..u64::MAX]);
        let around = [0, 2, 3, 4, 5, u64::MAX - 10, u64::MAX - 9, u64::MAX - 1, u64::MAX];
        assert_eq!(
            around.map(|at| far.contains(at)),
            [false, false, true, true, false, false, true, true, false]
        );
        assert!(!Wanted::from_iter([]).contains(0));
    }

    #[test]
    fn x86_instructions_are_told_by_their_opcode() {
        // lea 0x100(%rip),%r9; call +0x100; je +0x100; jmp -0x12; mov 0x100(%rip),%rax
        let code = b"\x4c\x8d\x0d\x00\x01\x00\x00\xe8\x00\x01\x00\x00\x0f\x84\x00\x01\x00\x00\
                     \xe9\xe9\xff\xff\xff\x48\x8b\x05\x00\x01\x00\x00";
        let all = [0x1107, 0x110c, 0x1112, 0x1000, 0x111e];
        let found = [
            (0x1000, 0x1107, Use::Load),
            (0x1007, 0x110c, Use::Call),
            (0x100c, 0x1112, Use::Jump),
            (0x1012, 0x1000, Use::Jump),
        ];
        assert_eq!(x86(code, false, &all), found);
    }

    #[test]
    fn x86_addresses_count_where_the_program_cannot_be_moved() {
        // mov $0x405000,%esi; mov $0x405000,%r8d; push $0x405000; movq $0x405000,%rax; movq $0x405000,8(%rsp);
        // movq $0x405000,-0x140(%rbp); movq $0x405000,0x108(%rsp)
        let code = b"\xbe\x00\x50\x40\x00\x41\xb8\x00\x50\x40\x00\x68\x00\x50\x40\x00\
                     \x48\xc7\xc0\x00\x50\x40\x00\x48\xc7\x44\x24\x08\x00\x50\x40\x00\
                     \x48\xc7\x85\xc0\xfe\xff\xff\x00\x50\x40\x00\
                     \x48\xc7\x84\x24\x08\x01\x00\x00\x00\x50\x40\x00";
        let at = [0x1000, 0x1006, 0x100b, 0x1011, 0x1018, 0x1021, 0x102c];
        assert_eq!(x86(code, true, &[0x40_5000]), at.map(|at| (at, 0x40_5000, Use::Load)));
        assert_eq!(x86(code, false, &[0x40_5000]), []);
    }

    #[test]
    fn arm64_addresses_are_put_together_from_up_to_three_instructions() {
        // adrp x19,+0x2000; add x19,x19,#0x540; add x0,x19,#0x1f0; bl +0x100; add x1,x19,#0x1f0; adr x2,-0xc
        let words = [0xd000_0013, 0x9115_0273, 0x9107_c260, 0x9400_0040, 0x9107_c261, 0x1000_07e2];
        let found = [(0x1008, 0x3730, Use::Load), (0x100c, 0x110c, Use::Call), (0x1010, 0x3730, Use::Load)];
        assert_eq!(arm64(&words, &[0x3730, 0x110c]), found);
        assert_eq!(arm64(&words, &[0x1110]), [(0x1014, 0x1110, Use::Load)]);
    }

    #[test]
    fn arm64_addresses_are_loaded_from_memory() {
        // adrp x4,+0x2000; ldr x4,[x4,#3592]; ldr x5,[x4]
        let words = [0xd000_0004, 0xf947_0484, 0xf940_0085];
        let mut wanted = wanted(&[0x3730]);
        wanted.slots.insert(0x3e08, 0x3730);
        let code: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let mut hits = Vec::new();
        sweep_arm64(&code, 0x1000, &mut Registers::default(), &wanted, &mut hits);
        assert_eq!(hits, [Reference { at: 0x1004, to: 0x3730, used: Use::Load }]);
    }

    #[test]
    fn arm64_constants_end_where_registers_are_overwritten() {
        let address = &[0x3730];
        // adrp x8,+0x2000; bl; add x0,x8,#0x730
        assert_eq!(arm64(&[0xd000_0008, 0x9400_0040, 0x911c_c100], address), []);
        // adrp x8,+0x2000; ldr x8,[x8]; add x0,x8,#0x730
        assert_eq!(arm64(&[0xd000_0008, 0xf940_0108, 0x911c_c100], address), []);
        // adrp x8,+0x2000; mov x9,x8; ldr x8,[x8]; add x0,x9,#0x730
        let copied = [0xd000_0008, 0xaa08_03e9, 0xf940_0108, 0x911c_c120];
        assert_eq!(arm64(&copied, address), [(0x100c, 0x3730, Use::Load)]);
        // b.eq +0x100; cbz x0,+0x100; tbz w0,#0,+0x100; b +0x100
        let jumps = [0x5400_0800, 0xb400_0800, 0x3600_0800, 0x1400_0040];
        let to = [0x1100, 0x1104, 0x1108, 0x110c];
        assert_eq!(arm64(&jumps, &to).len(), 4);
    }
}
