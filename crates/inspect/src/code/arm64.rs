//! aarch64: instructions are words, and the few that matter are fixed patterns.
//!
//! What is not recognised counts as overwriting every register that its encoding could name as a result.

use super::{Abi, Address, Condition, Effect, Effects, Flow, Insn, Operand, Reg, RegSet, Target, just};

/// AAPCS64: x0 to x7; a call may change x0 to x18 and the link register x30.
pub(crate) const ABI: Abi =
    Abi { args: &[0, 1, 2, 3, 4, 5, 6, 7], stack: SP, frame: 29, clobbered: 0x7_ffff | 1 << 30 };

/// Number 31 is the stack pointer or the zero register, depending on the instruction.
const SP: Reg = 31;

pub(crate) fn decode(bytes: &[u8], address: u64) -> Option<Insn> {
    let word = word_at(bytes, 0)?;
    let (effects, writes) = (effects(word, address), writes(word));
    Some(Insn { len: 4, flow: flow(word, address), effects, writes, flags: changes_flags(word) })
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
        _ if word & 0xfe00_0000 == 0x5400_0000 => Flow::Branch(to(5, 19), condition(word, 0)),
        _ if word & 0x7e00_0000 == 0x3400_0000 => {
            let size = 4 << bits(word, 31, 1);
            Flow::Branch(to(5, 19), Condition::Zero(reg(word, 0), size, bits(word, 24, 1) == 0))
        }
        _ if word & 0x7e00_0000 == 0x3600_0000 => Flow::Branch(to(5, 14), Condition::Other),
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

/// The four bits of a condition.
fn condition(word: u32, at: u32) -> Condition {
    match bits(word, at, 4) {
        0 => Condition::Equal(true),
        1 => Condition::Equal(false),
        _ => Condition::Other,
    }
}

fn effects(word: u32, address: u64) -> Effects {
    pair(word).or_else(|| indexed(word)).or_else(|| select(word)).unwrap_or_else(|| {
        let near = near_address(word, address).map(|(to, value)| Effect::Constant { to, value });
        just(near.or_else(|| computed(word)).or_else(|| moved(word)).or_else(|| other_store(word)))
    })
}

/// Instructions that compute from registers and constants.
fn computed(word: u32) -> Option<Effect> {
    let (to, base, from) = (reg(word, 0), reg(word, 5), reg(word, 16));
    let by = i64::from(bits(word, 10, 12) << (12 * bits(word, 22, 1)));
    let size = 4 << bits(word, 31, 1);
    Some(match word {
        // orr xd, xzr, xm and orr wd, wzr, wm
        _ if word & 0xffe0_ffe0 == 0xaa00_03e0 => copy(to, from, false),
        _ if word & 0xffe0_ffe0 == 0x2a00_03e0 => copy(to, from, true),
        // sxtw xd, wn
        _ if word & 0xffff_fc00 == 0x9340_7c00 => copy(to, base, true),
        // add and sub xd, xn, #constant
        _ if word & 0xff80_0000 == 0x9100_0000 => Effect::Offset { to, base, by },
        _ if word & 0xff80_0000 == 0xd100_0000 => Effect::Offset { to, base, by: -by },
        // movz
        _ if word & 0x7f80_0000 == 0x5280_0000 && to != SP => {
            Effect::Constant { to, value: u64::from(bits(word, 5, 16)) << (16 * bits(word, 21, 2)) }
        }
        // cmp with a constant, and with a register
        _ if word & 0x7f80_001f == 0x7100_001f => {
            Effect::Compare { one: Operand::Register(base), other: Operand::Constant(by as u64), size }
        }
        _ if word & 0x7fe0_fc1f == 0x6b00_001f && base != SP && from != SP => {
            Effect::Compare { one: Operand::Register(base), other: Operand::Register(from), size }
        }
        _ => return None,
    })
}

/// `csel xd, xn, xm, condition`.
fn select(word: u32) -> Option<Effects> {
    let (to, yes, no) = (reg(word, 0), reg(word, 5), reg(word, 16));
    if word & 0xffe0_0c00 != 0x9a80_0000 || to == SP {
        return None;
    }
    let copy = |from| if from == SP { Effect::Constant { to, value: 0 } } else { Effect::Copy { to, from } };
    let (first, from, word) = if to == yes { (yes, no, word ^ 1 << 12) } else { (no, yes, word) };
    (from != SP).then_some([
        copy(first),
        Effect::CopyIf { to, from, condition: condition(word, 12) },
        Effect::Other,
    ])
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

/// Single loads and stores at a base plus an offset, scaled or not.
fn moved(word: u32) -> Option<Effect> {
    let scaled = word & 0x3b00_0000 == 0x3900_0000;
    let unscaled = word & 0x3b20_0c00 == 0x3800_0000;
    let size = transfer(word)?;
    if word & 0x3b20_ec00 == 0x3820_6800 && bits(word, 22, 2) != 0 {
        // ldr of a base plus another register
        let index = Some((reg(word, 16), if bits(word, 12, 1) == 1 { size } else { 1 }));
        return Some(access(word, Address { base: Some(reg(word, 5)), at: 0, index }, size));
    }
    let at = match (scaled, unscaled) {
        (true, _) => i64::from(bits(word, 10, 12)) * i64::from(size),
        (_, true) => distance(word, 12, 9) as i64 / 4,
        _ => return None,
    };
    Some(access(word, Address { base: Some(reg(word, 5)), at, index: None }, size))
}

/// How many bytes a single load or store moves; `None` for prefetches.
fn transfer(word: u32) -> Option<u8> {
    let (size, vector, kind) = (bits(word, 30, 2), bits(word, 26, 1) == 1, bits(word, 22, 2));
    match (vector, size, kind) {
        (true, 0, 2 | 3) => Some(16),
        (false, 3, 2 | 3) | (true, _, 2 | 3) => None,
        _ => Some(1 << size),
    }
}

/// What a single load or store does at a place.
fn access(word: u32, place: Address, size: u8) -> Effect {
    let (register, vector) = (reg(word, 0), bits(word, 26, 1) == 1);
    let stores = matches!((vector, bits(word, 22, 2)), (_, 0) | (true, 2));
    match (stores, vector) {
        (true, true) => Effect::Store { to: place, size: size.into(), from: Operand::Unknown },
        (true, false) => Effect::Store { to: place, size: size.into(), from: value(register) },
        (false, false) if register != SP => Effect::Load { to: register, from: place, size },
        (false, _) => Effect::Read { from: place, size },
    }
}

/// What a register holds as data, where number 31 is zero.
fn value(register: Reg) -> Operand {
    if register == SP { Operand::Constant(0) } else { Operand::Register(register) }
}

/// Single loads and stores that move their base: `str x0, [sp, #-16]!`.
fn indexed(word: u32) -> Option<Effects> {
    if word & 0x3b20_0400 != 0x3800_0400 {
        return None;
    }
    let (base, by) = (reg(word, 5), distance(word, 12, 9) as i64 / 4);
    let before = bits(word, 11, 1) == 1;
    let at = if before { by } else { 0 };
    let access = access(word, Address { base: Some(base), at, index: None }, transfer(word)?);
    Some([access, Effect::Offset { to: base, base, by }, Effect::Other])
}

/// Pairs, which may also move their base: `stp x29, x30, [sp, #-80]!`.
fn pair(word: u32) -> Option<Effects> {
    if word & 0x3a00_0000 != 0x2800_0000 || bits(word, 23, 2) == 0 {
        return None;
    }
    let (vector, loads) = (bits(word, 26, 1) == 1, bits(word, 22, 1) == 1);
    let size: u8 = match (vector, bits(word, 30, 2)) {
        (true, 3) | (false, 1 | 3) => return None,
        (true, scale) => 4 << scale,
        (false, scale) => 4 << (scale >> 1),
    };
    let (base, by) = (reg(word, 5), distance(word, 15, 7) as i64 / 4 * i64::from(size));
    let (moves, at) = (bits(word, 23, 1) == 1, if bits(word, 24, 1) == 1 { by } else { 0 });
    let part = |register: Reg, at: i64| {
        let place = Address { base: Some(base), at, index: None };
        match (loads, vector) {
            (true, false) if register != SP => Effect::Load { to: register, from: place, size },
            (true, _) => Effect::Read { from: place, size },
            (false, true) => Effect::Store { to: place, size: size.into(), from: Operand::Unknown },
            (false, false) => Effect::Store { to: place, size: size.into(), from: value(register) },
        }
    };
    let mut parts = [(reg(word, 0), at), (reg(word, 10), at + i64::from(size))];
    if parts[0].0 == base {
        // The base is loaded last.
        parts.swap(0, 1);
    }
    let [one, other] = parts.map(|(register, at)| part(register, at));
    let offset = if moves { Effect::Offset { to: base, base, by } } else { Effect::Other };
    Some([one, other, offset])
}

/// Any other store: an overwritten stack slot must be forgotten. Stores have bit 22 clear (bits 22 and 23
/// for single registers, where vectors of 16 bytes use bit 23).
fn other_store(word: u32) -> Option<Effect> {
    let class = bits(word, 25, 4) & 0b0101 == 0b0100;
    let anywhere = Address { base: Some(reg(word, 5)), at: i64::MIN / 2, index: None };
    (class && bits(word, 22, 1) == 0).then_some(Effect::Store {
        to: anywhere,
        size: 0,
        from: Operand::Unknown,
    })
}

/// Additions and logical operations that set flags, conditional compares, comparisons of floating-point numbers.
fn changes_flags(word: u32) -> bool {
    let arithmetic = word & 0x3f00_0000 == 0x3100_0000 || word & 0x3f00_0000 == 0x2b00_0000;
    let logical = word & 0x7f00_0000 == 0x6a00_0000 || word & 0x7f80_0000 == 0x7200_0000;
    let conditional = word & 0x3fe0_0000 == 0x3a40_0000 || word & 0x3fe0_0000 == 0x3a00_0000;
    let floating = word & 0xff20_0c00 == 0x1e20_0400 || word & 0xff20_fc00 == 0x1e20_2000;
    arithmetic || logical || conditional || floating
}

/// A move between registers; number 31 is zero here, not the stack pointer.
fn copy(to: Reg, from: Reg, half: bool) -> Effect {
    match (to, from, half) {
        (SP, ..) => Effect::Other,
        (_, SP, _) => Effect::Constant { to, value: 0 },
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
