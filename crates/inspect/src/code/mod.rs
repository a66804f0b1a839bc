//! Machine code reduced to what the analyses ask: where control goes, which register holds what.

pub(crate) mod arm64;
pub(crate) mod body;
pub(crate) mod flow;
mod state;
pub(crate) mod x86;

use crate::binary::{Binary, Machine};
use crate::relocation::own_function_behind;

/// A general-purpose register by its number in the instruction encoding.
pub(crate) type Reg = u8;

/// A set of registers, one bit each.
pub(crate) type RegSet = u32;

/// Most arguments that are passed in registers by any supported calling convention.
pub(crate) const MOST_ARGS: usize = 8;

/// How functions of the platform's C compiler pass values.
pub(crate) struct Abi {
    /// Registers of the arguments, first to last.
    pub(crate) args: &'static [Reg],
    /// The stack pointer.
    pub(crate) stack: Reg,
    /// The frame pointer, where a function has one.
    pub(crate) frame: Reg,
    /// What a called function may change.
    pub(crate) clobbered: RegSet,
}

impl Machine {
    pub(crate) fn abi(self) -> &'static Abi {
        match self {
            Self::X86_64 => &x86::ABI,
            Self::Aarch64 => &arm64::ABI,
        }
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    pub(crate) len: u8,
    pub(crate) flow: Flow,
    /// What it does, one after the other.
    pub(crate) effects: Effects,
    /// Every register that it may change.
    pub(crate) writes: RegSet,
    /// Whether it may change the condition flags.
    pub(crate) flags: bool,
}

/// Up to three things that one instruction does.
pub(crate) type Effects = [Effect; 3];

/// One thing, or none.
pub(crate) fn just(effect: impl Into<Option<Effect>>) -> Effects {
    [effect.into().unwrap_or(Effect::Other), Effect::Other, Effect::Other]
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Jump(Target),
    /// To the address or to the next instruction.
    Branch(u64, Condition),
    /// Away and back to the next instruction.
    Call(Target),
    /// Back to the caller.
    Return,
    /// Nowhere: a trap, or the way back from an interrupt.
    Stop,
}

/// When something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// What was compared last is equal, or is not.
    Equal(bool),
    /// The lower bytes of a register, so many, are zero, or are not.
    Zero(Reg, u8, bool),
    /// Any other.
    Other,
}

/// What a jump or call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Address(u64),
    /// The address stored at this address (a slot of the global offset table).
    Slot(u64),
    /// A register or computed location.
    Unknown,
}

impl Target {
    /// The address, if the instruction has it.
    pub(crate) fn address(self) -> Option<u64> {
        match self {
            Self::Address(address) => Some(address),
            Self::Slot(_) | Self::Unknown => None,
        }
    }
}

/// What an instruction does beyond overwriting registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Other,
    /// `to` = a number, or an address in the file.
    Constant {
        to: Reg,
        value: u64,
    },
    /// `to` = `from`.
    Copy {
        to: Reg,
        from: Reg,
    },
    /// `to` = lower half of `from`, extended.
    CopyHalf {
        to: Reg,
        from: Reg,
    },
    /// `to` = `from` if the condition holds; else it stays.
    CopyIf {
        to: Reg,
        from: Reg,
        condition: Condition,
    },
    /// `to` = `base` + `by`.
    Offset {
        to: Reg,
        base: Reg,
        by: i64,
    },
    /// `to` = `size` bytes at `from`, extended.
    Load {
        to: Reg,
        from: Address,
        size: u8,
    },
    /// `size` bytes at `from` go somewhere else than to a general-purpose register.
    Read {
        from: Address,
        size: u8,
    },
    /// `size` bytes (0: unknown) at `to` = `from`.
    Store {
        to: Address,
        size: u32,
        from: Operand,
    },
    /// The condition flags tell whether the lower `size` bytes are equal.
    Compare {
        one: Operand,
        other: Operand,
        size: u8,
    },
}

impl Effect {
    /// The register that it gives a value.
    pub(crate) fn result(self) -> Option<Reg> {
        match self {
            Self::Constant { to, .. }
            | Self::Copy { to, .. }
            | Self::CopyHalf { to, .. }
            | Self::CopyIf { to, .. }
            | Self::Offset { to, .. }
            | Self::Load { to, .. } => Some(to),
            Self::Other | Self::Read { .. } | Self::Store { .. } | Self::Compare { .. } => None,
        }
    }
}

/// A place in memory: a register (`None`: zero) plus a distance, plus another register times a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Option<Reg>,
    pub(crate) at: i64,
    /// Only where something is read.
    pub(crate) index: Option<(Reg, u8)>,
}

/// What an instruction works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Register(Reg),
    Constant(u64),
    Memory(Address),
    /// A vector register, a result of arithmetic.
    Unknown,
}

/// A stretch of code read from the file.
pub(crate) struct Code {
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    machine: Machine,
}

impl Code {
    /// Up to `most` bytes from `start` on.
    pub(crate) fn read(binary: &Binary<'_>, start: u64, most: u64) -> Self {
        Self { start, bytes: binary.code(start, most), machine: binary.machine() }
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(machine: Machine, start: u64, bytes: &[u8]) -> Self {
        Self { start, bytes: bytes.to_vec(), machine }
    }

    pub(crate) fn abi(&self) -> &'static Abi {
        self.machine.abi()
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        !self.from(address).is_empty()
    }

    /// Length of the shortest instruction, to get past bytes that are none.
    pub(crate) fn shortest(&self) -> u64 {
        match self.machine {
            Machine::X86_64 => 1,
            Machine::Aarch64 => 4,
        }
    }

    /// The bytes from an address on; empty outside.
    pub(crate) fn from(&self, address: u64) -> &[u8] {
        address
            .checked_sub(self.start)
            .and_then(|into| self.bytes.get(usize::try_from(into).ok()?..))
            .unwrap_or_default()
    }

    /// The instruction at an address inside.
    pub(crate) fn decode(&self, decoder: &mut Decoder, address: u64) -> Option<Insn> {
        match self.machine {
            Machine::X86_64 => decoder.x86.decode(self.from(address), address),
            Machine::Aarch64 => arm64::decode(self.from(address), address),
        }
    }
}

/// Reusable working memory of the decoders.
#[derive(Default)]
pub(crate) struct Decoder {
    x86: x86::Decoder,
}

/// The function in this file that a jump or call reaches, also through the file's own linkage table.
pub(crate) fn reached(binary: &Binary<'_>, target: Target) -> Option<u64> {
    match target {
        Target::Unknown => None,
        Target::Slot(slot) => own_function_behind(binary, slot),
        Target::Address(address) => {
            // Longest stub met: 20 bytes (aarch64 with BTI), 16 on x86_64.
            let code = binary.code(address, 24);
            let slot = match binary.machine() {
                Machine::X86_64 => x86::stub_slot(&code, address),
                Machine::Aarch64 => arm64::stub_slot(&code, address),
            };
            match slot {
                Some(slot) => own_function_behind(binary, slot),
                None => binary.is_code(address).then_some(address),
            }
        }
    }
}
