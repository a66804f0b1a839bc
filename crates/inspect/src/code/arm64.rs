//! aarch64: instructions are words, and the few that matter are fixed patterns.
//!
//! What is not recognised counts as overwriting every register that its encoding could name as a result.

use super::{Abi, Effect, Flow, Insn, Reg, RegSet, Target};

/// AAPCS64: x0 to x7; a call may change x0 to x18 and the link register x30.
pub(crate) const ABI: Abi = Abi { args: &[0, 1, 2, 3, 4, 5, 6, 7], stack: SP, clobbered: 0x7_ffff | 1 << 30 };

/// Number 31 is the stack pointer or the zero register, depending on the instruction.
const SP: Reg = 31;

pub(crate) fn decode(bytes: &[u8], address: u64) -> Option<Insn> {
    let word = word_at(bytes, 0)?;
    let effect = match near_address(word, address) {
        Some((to, value)) => Effect::Constant { to, value },
        None => effect(word),
    };
    Some(Insn { len: 4, flow: flow(word, address), effect, writes: writes(word) })
}

/// What `adr` and, for whole pages, `adrp` put into which register.
pub(crate) fn near_address(word: u32, address: u64) -> Option<(Reg, u64)> {
    let field = i64::from(bits(word, 5, 19) << 2 | bits(word, 29, 2));
    let signed = (field << 43) >> 43;
    let value = match word & 0x9f00_0000 {
        0x1000_0000 => address.wrapping_add_signed(signed),
        0x9000_0000 => (address & !0xfff).wrapping_add_signed(signed << 12),
        _ => return None,
    };
    Some((reg(word, 0), value)).filter(|(to, _)| *to != SP)
}

/// Whether an instruction is a branch, or of the same group.
pub(crate) fn may_branch(word: u32) -> bool {
    word & 0x1c00_0000 == 0x1400_0000
}

/// Registers in all fields of an instruction: no other is read or written, but by a call.
pub(crate) fn named(word: u32) -> RegSet {
    1 << reg(word, 0) | 1 << reg(word, 5) | 1 << reg(word, 10) | 1 << reg(word, 16)
}

pub(crate) fn word_at(bytes: &[u8], index: usize) -> Option<u32> {
    let word = bytes.get(index * 4..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

/// `len` bits of the word from bit `at` on.
fn bits(word: u32, at: u32, len: u32) -> u32 {
    (word >> at) & ((1 << len) - 1)
}

/// A register field.
fn reg(word: u32, at: u32) -> Reg {
    bits(word, at, 5) as Reg
}

/// A signed field of words, as a distance in bytes.
fn distance(word: u32, at: u32, len: u32) -> u64 {
    let value = i64::from(bits(word, at, len));
    let signed = (value << (64 - len)) >> (64 - len);
    (signed * 4) as u64
}

/// Where control goes.
pub(crate) fn flow(word: u32, address: u64) -> Flow {
    let to = |at, len| address.wrapping_add(distance(word, at, len));
    match word {
        _ if word & 0xfc00_0000 == 0x1400_0000 => Flow::Jump(Target::Address(to(0, 26))),
        _ if word & 0xfc00_0000 == 0x9400_0000 => Flow::Call(Target::Address(to(0, 26))),
        // b.cond, cbz/cbnz, tbz/tbnz
        _ if word & 0xfe00_0000 == 0x5400_0000 => Flow::Branch(to(5, 19)),
        _ if word & 0x7e00_0000 == 0x3400_0000 => Flow::Branch(to(5, 19)),
        _ if word & 0x7e00_0000 == 0x3600_0000 => Flow::Branch(to(5, 14)),
        // br, blr, ret and their authenticated forms; eret and others end the path too
        _ if word & 0xfe00_0000 == 0xd600_0000 => match bits(word, 21, 4) & 0b111 {
            0 => Flow::Jump(Target::Unknown),
            1 => Flow::Call(Target::Unknown),
            2 => Flow::Return,
            _ => Flow::Stop,
        },
        // svc comes back; brk, hlt and undefined words do not
        _ if word & 0xffe0_001f == 0xd400_0001 => Flow::Call(Target::Unknown),
        _ if word & 0xff00_0000 == 0xd400_0000 || word >> 16 == 0 => Flow::Stop,
        _ => Flow::Next,
    }
}

fn effect(word: u32) -> Effect {
    let (to, base, from) = (reg(word, 0), reg(word, 5), reg(word, 16));
    let by = i64::from(bits(word, 10, 12) << (12 * bits(word, 22, 1)));
    let at = i64::from(bits(word, 10, 12));
    let (second, pair_at) = (reg(word, 10), distance(word, 15, 7).wrapping_mul(2) as i64);
    match word {
        // movz xd and wd, with the constant in one of the quarters
        _ if word & 0x7f80_0000 == 0x5280_0000 && to != SP => {
            Effect::Constant { to, value: u64::from(bits(word, 5, 16)) << (16 * bits(word, 21, 2)) }
        }
        // orr xd, xzr, xm and orr wd, wzr, wm
        _ if word & 0xffe0_ffe0 == 0xaa00_03e0 => copy(to, from, false),
        _ if word & 0xffe0_ffe0 == 0x2a00_03e0 => copy(to, from, true),
        // sxtw xd, wn
        _ if word & 0xffff_fc00 == 0x9340_7c00 => copy(to, base, true),
        // add and sub xd, xn, #constant
        _ if word & 0xff80_0000 == 0x9100_0000 => Effect::Offset { to, base, by },
        _ if word & 0xff80_0000 == 0xd100_0000 => Effect::Offset { to, base, by: -by },
        // str and ldr of x, w (also sign-extended) at base + unsigned offset; number 31 is zero here
        _ if word & 0xffc0_0000 == 0xf900_0000 => {
            Effect::Store { base, at: at * 8, size: 8, from: not_zero(to) }
        }
        _ if word & 0xffc0_0000 == 0xb900_0000 => {
            Effect::Store { base, at: at * 4, size: 4, from: not_zero(to) }
        }
        _ if word & 0xffc0_0000 == 0xf940_0000 && to != SP => Effect::Load { to, base, at: at * 8, size: 8 },
        _ if matches!(word & 0xffc0_0000, 0xb940_0000 | 0xb980_0000) && to != SP => {
            Effect::Load { to, base, at: at * 4, size: 4 }
        }
        // stp and ldp of x, neither pre- nor post-indexed
        _ if word & 0xffc0_0000 == 0xa900_0000 => {
            let from = [not_zero(to), not_zero(second)];
            Effect::StorePair { base, at: pair_at, from }
        }
        _ if word & 0xffc0_0000 == 0xa940_0000 && to != SP && second != SP => {
            Effect::LoadPair { to: [to, second], base, at: pair_at }
        }
        _ => stack_move(word).or_else(|| other_store(word)).unwrap_or(Effect::Other),
    }
}

fn not_zero(reg: Reg) -> Option<Reg> {
    (reg != SP).then_some(reg)
}

/// Pairs and single registers saved below the stack pointer, which moves: `stp x29, x30, [sp, #-80]!`.
/// They go where nothing lived before, so only the stack pointer matters.
fn stack_move(word: u32) -> Option<Effect> {
    let by = match word {
        // stp and ldp of x, post- and pre-indexed
        _ if word & 0xfe80_0000 == 0xa880_0000 => distance(word, 15, 7).wrapping_mul(2) as i64,
        // str and ldr of x, post- and pre-indexed
        _ if word & 0xffa0_0400 == 0xf800_0400 => distance(word, 12, 9) as i64 / 4,
        _ => return None,
    };
    (reg(word, 5) == SP).then_some(Effect::Offset { to: SP, base: SP, by })
}

/// Any other store: an overwritten stack slot must be forgotten. Stores have bit 22 clear (bits 22 and 23
/// for single registers, where vectors of 16 bytes use bit 23).
fn other_store(word: u32) -> Option<Effect> {
    let class = bits(word, 25, 4) & 0b0101 == 0b0100;
    let pair = bits(word, 27, 3) == 0b101 && bits(word, 24, 1) == 1;
    (class && bits(word, 22, 1) == 0).then(|| {
        let scale = if bits(word, 26, 1) == 1 { 4 << bits(word, 30, 2) } else { 4 << bits(word, 31, 1) };
        let at = if pair { distance(word, 15, 7) as i64 / 4 * scale } else { i64::MIN / 2 };
        let size = if pair { scale as u32 * 2 } else { 0 };
        Effect::Store { base: reg(word, 5), at, size, from: None }
    })
}

/// A move between registers; number 31 is zero here, not the stack pointer.
fn copy(to: Reg, from: Reg, half: bool) -> Effect {
    match (to, from, half) {
        (SP, ..) | (_, SP, _) => Effect::Other,
        (_, _, true) => Effect::CopyHalf { to, from },
        (_, _, false) => Effect::Copy { to, from },
    }
}

/// Registers that may change. As a result, number 31 is the zero register with few exceptions; as a base
/// it is the stack pointer.
fn writes(word: u32) -> RegSet {
    let results = (1 << reg(word, 0)) & !STACK;
    match bits(word, 25, 4) {
        // Branches write the link register at most; system instructions (mrs) may write the first field.
        0b1010 | 0b1011 => match word {
            _ if word & 0xfc00_0000 == 0x9400_0000 || word & 0xfe00_0000 == 0xd600_0000 => 1 << 30,
            _ if word & 0xffc0_0000 == 0xd500_0000 => results,
            _ => 0,
        },
        // Loads and stores.
        class if class & 0b0101 == 0b0100 => loads_and_stores(word, results),
        _ if results == 0 && computes_stack_pointer(word) => STACK,
        // Conditional comparisons have flags in the first field.
        _ if word & 0x1fe0_0000 == 0x1a40_0000 => 0,
        // Everything else computes into the first field.
        _ => results,
    }
}

const STACK: RegSet = 1 << SP;

/// Forms in which a result number 31 is the stack pointer: add and sub of a constant or an extended
/// register, and logical operations with a constant; none of those that set flags.
fn computes_stack_pointer(word: u32) -> bool {
    let constant = word & 0x3f80_0000 == 0x1100_0000;
    let extended = word & 0x3fe0_0000 == 0x0b20_0000;
    let logical = word & 0x1f80_0000 == 0x1200_0000 && bits(word, 29, 2) != 3;
    constant || extended || logical
}

fn loads_and_stores(word: u32, rd: RegSet) -> RegSet {
    let (rn, rt2, rs) = (1 << reg(word, 5), (1 << reg(word, 10)) & !STACK, (1 << reg(word, 16)) & !STACK);
    let vector = bits(word, 26, 1) == 1;
    match bits(word, 27, 3) {
        // Pairs: load bit 22, addressing in bits 23 and 24 (1 and 3 change the base).
        0b101 => {
            let loaded = if bits(word, 22, 1) == 1 && !vector { rd | rt2 } else { 0 };
            loaded | if bits(word, 23, 1) == 1 { rn } else { 0 }
        }
        // Single registers: bits 22 and 23 are 0 for a plain store; immediate forms may change the base.
        0b111 => {
            let atomic = bits(word, 24, 1) == 0 && bits(word, 21, 1) == 1 && bits(word, 10, 2) == 0;
            let loaded = if (bits(word, 22, 2) != 0 || atomic) && !vector { rd } else { 0 };
            let indexed = bits(word, 24, 1) == 0 && bits(word, 21, 1) == 0 && bits(word, 10, 1) == 1;
            loaded | if indexed { rn } else { 0 }
        }
        0b011 if !vector => rd,
        0b011 => 0,
        // Exclusive, structure and tagged forms: any field.
        _ => rd | rn | rt2 | rs,
    }
}

/// The slot that a linkage stub jumps through: `[bti c] adrp x16, page; ldr x17, [x16, #n]; add; br x17`.
pub(crate) fn stub_slot(bytes: &[u8], address: u64) -> Option<u64> {
    const BTI_C: u32 = 0xd503_245f;
    const BR_X17: u32 = 0xd61f_0220;
    let skip = usize::from(word_at(bytes, 0)? == BTI_C);
    let [adrp, load, _add, branch] = [0, 1, 2, 3].map(|index| word_at(bytes, skip + index));
    let (adrp, load) = (adrp?, load?);
    if adrp & 0x9f00_001f != 0x9000_0010 || load & 0xffc0_03ff != 0xf940_0211 || branch? != BR_X17 {
        return None;
    }
    let (_, page) = near_address(adrp, address.checked_add(skip as u64 * 4)?)?;
    Some(page.wrapping_add(u64::from(bits(load, 10, 12)) * 8))
}

/// Whether the kernel simulates the instruction instead of stepping over a copy of it:
/// arch/arm64/kernel/probes/decode-insn.c. Hints are stepped there, but nops are simulated since 6.13.
pub(crate) fn simulated(word: u32) -> bool {
    let branch =
        !matches!(flow(word, 0), Flow::Next | Flow::Return | Flow::Stop) && word & 0xff00_0000 != 0xd400_0000;
    let ret = word & 0xffff_fc1f == 0xd65f_0000;
    let adr = word & 0x1f00_0000 == 0x1000_0000;
    // ldr literal of w, x and sign-extended w
    let literal = word & 0x3f00_0000 == 0x1800_0000 && word >> 30 != 3;
    branch || ret || adr || literal
}
