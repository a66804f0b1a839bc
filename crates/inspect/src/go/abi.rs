//! How Go functions are called: <https://go.dev/src/cmd/compile/abi-internal>.

use crate::binary::Machine;
use crate::code::{Code, Decoder, Flow, Reg, RegSet, Target};
use crate::hook::Cost;
use crate::place::{Base, Path, Place};
use crate::site::is_emulated;

use super::table::{FunctionTable, Layout};

/// Where arguments, results and the goroutine are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// In registers, on x86_64 since Go 1.17.
    RegistersX86,
    /// In registers, on aarch64 since Go 1.18.
    RegistersArm,
    /// On the stack, x86_64.
    StackX86,
    /// On the stack, aarch64.
    StackArm,
}

/// Registers of the first words of arguments and results: rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11.
const X86: [Reg; 9] = [0, 3, 1, 7, 6, 8, 9, 10, 11];
/// r14 is the goroutine.
const X86_G: Reg = 14;
const X86_STACK: Reg = 4;
/// x28 is the goroutine; arguments are in x0 and following.
const ARM_G: Reg = 28;
const ARM_STACK: Reg = 31;
/// Most instructions before the frame is made.
const MOST_PASSED: usize = 4;
/// Most instructions that save the arguments and grow the stack.
const LONGEST_GROWTH: usize = 32;

impl Convention {
    /// As a function shows it. Nearly all begin by comparing the stack pointer with the limit that the goroutine has:
    /// on x86_64 this tells where the goroutine is, and that changed together with the arguments.
    pub(super) fn of(table: &FunctionTable<'_, '_>, code: &Code) -> Option<Self> {
        match (table.machine(), table.layout()) {
            (Machine::Aarch64, Layout::Go116) => Some(Self::StackArm),
            (Machine::Aarch64, _) => Some(Self::RegistersArm),
            (Machine::X86_64, _) => of_x86(&code.bytes),
        }
    }

    /// A word of the arguments, at the entry; the receiver is word 0.
    pub(super) fn argument(self, word: u8) -> Place {
        match self {
            Self::RegistersX86 => Place::register(X86[usize::from(word)]),
            Self::RegistersArm => Place::register(word),
            // Behind the return address, and on aarch64 a word for it.
            Self::StackX86 => stack_word(X86_STACK, word),
            Self::StackArm => stack_word(ARM_STACK, word),
        }
    }

    /// The first word of the results, at a return, of a function with so many words of arguments.
    pub(super) fn result(self, arguments: u8) -> Place {
        match self {
            Self::RegistersX86 | Self::RegistersArm => self.argument(0),
            Self::StackX86 | Self::StackArm => self.argument(arguments),
        }
    }

    /// The goroutine, at any time.
    pub(super) fn goroutine(self) -> Place {
        match self {
            Self::RegistersX86 => Place::register(X86_G),
            Self::RegistersArm | Self::StackArm => Place::register(ARM_G),
            Self::StackX86 => Place { base: Base::ThreadPointer, path: loaded(-8) },
        }
    }

    /// Bytes to the instruction to probe: one that the kernel emulates, if arguments and stack pointer are as at
    /// the call until there. It may run twice in a call that has to grow the stack, which begins again.
    pub(super) fn site(self, code: &Code, decoder: &mut Decoder) -> (u32, Cost) {
        let mut found = (0, Cost::Stepped);
        let kept: RegSet = match self {
            Self::RegistersX86 => X86.iter().fold(1 << X86_G | 1 << X86_STACK, |set, reg| set | 1 << reg),
            Self::StackX86 => 1 << X86_STACK,
            Self::RegistersArm | Self::StackArm => return found,
        };
        let mut at = code.start;
        for _ in 0..MOST_PASSED {
            let Some(insn) = code.decode(decoder, at) else { return found };
            let skip = (at - code.start) as u32;
            let is_cheap = code.from(at).get(..usize::from(insn.len)).is_some_and(is_emulated);
            at += u64::from(insn.len);
            match insn.flow {
                Flow::Next if is_cheap => return (skip, Cost::Emulated),
                Flow::Next if insn.writes & kept == 0 => {}
                Flow::Branch(to, _) if grows_the_stack(code, decoder, to) => {
                    if is_cheap {
                        found = (skip, Cost::Emulated);
                    }
                }
                _ => return found,
            }
        }
        found
    }
}

/// `cmp 0x10(%r14),%rsp`, or after `lea -X(%rsp),%r12` the same with r12, against `mov %fs:-8,%rcx`.
fn of_x86(bytes: &[u8]) -> Option<Convention> {
    let limit = [
        bytes.strip_prefix(b"\x4c\x8d\x64\x24").and_then(|rest| rest.get(1..)),
        bytes.strip_prefix(b"\x4c\x8d\xa4\x24").and_then(|rest| rest.get(4..)),
    ];
    if bytes.starts_with(b"\x49\x3b\x66\x10")
        || limit.into_iter().flatten().any(|rest| rest.starts_with(b"\x4d\x3b\x66\x10"))
    {
        Some(Convention::RegistersX86)
    } else {
        bytes.starts_with(b"\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff").then_some(Convention::StackX86)
    }
}

/// Whether what is there ends in a jump back to the start of the function.
fn grows_the_stack(code: &Code, decoder: &mut Decoder, mut at: u64) -> bool {
    for _ in 0..LONGEST_GROWTH {
        let Some(insn) = code.decode(decoder, at) else { return false };
        match insn.flow {
            Flow::Next | Flow::Call(_) => at += u64::from(insn.len),
            Flow::Jump(Target::Address(to)) => return to == code.start,
            _ => return false,
        }
    }
    false
}

fn loaded(at: i32) -> Path {
    Path::new(&[at], 0).unwrap_or_default()
}

fn stack_word(stack: Reg, word: u8) -> Place {
    Place { base: Base::Register(stack), path: loaded(8 + 8 * i32::from(word)) }
}

/// All instructions by which a whole function returns, in order. Go compiles functions to instructions only, with padding
/// at the end; `None` if something else is among them, or one jumps away for good.
pub(super) fn returns(code: &Code, decoder: &mut Decoder) -> Option<Vec<u64>> {
    let (mut at, mut returns) = (code.start, Vec::new());
    while code.contains(at) {
        let Some(insn) = code.decode(decoder, at) else {
            let is_padding = code.from(at).iter().all(|byte| *byte == 0);
            return is_padding.then_some(returns);
        };
        match insn.flow {
            Flow::Return => returns.push(at),
            Flow::Jump(Target::Address(to)) | Flow::Branch(to, _) if !code.contains(to) => return None,
            _ => {}
        }
        at += u64::from(insn.len);
    }
    Some(returns)
}
