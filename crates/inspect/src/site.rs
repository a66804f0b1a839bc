//! The cheapest instruction of a function at which a probe sees what it would see at the first one.

use crate::binary::{Binary, Machine};
use crate::code::flow::summarize;
use crate::code::x86::ENDBR64;
use crate::code::{Code, Decoder, Flow, RegSet, arm64};
use crate::hook::{Arg, Cost, Site};
use crate::symbols::Symbol;

/// Most instructions that are passed over before the first one is taken.
const MOST_PASSED: usize = 16;
/// Bytes read of a function of unknown size, and most bytes read of any.
const UNKNOWN_SIZE: u64 = 16 << 10;
const LARGEST_FUNCTION: u64 = 256 << 10;

/// The code of a function; a window from its start if its size is not known.
pub(crate) fn function_code(binary: &Binary<'_>, address: u64, size: u64) -> Code {
    let most = if size == 0 { UNKNOWN_SIZE } else { size.min(LARGEST_FUNCTION) };
    Code::read(binary, address, most)
}

impl Binary<'_> {
    /// Where to probe a function so that these arguments and the return address are still in place. `None` if there
    /// is no code.
    pub fn site(&self, function: &Symbol, arguments: &[Arg]) -> Option<Site> {
        choose(self, &mut Decoder::default(), (function.address, function.size), arguments)
    }

    /// What a probe on the instruction at this address costs. `None` if there is no code.
    pub fn cost_at(&self, address: u64) -> Option<Cost> {
        let code = function_code(self, address, 16);
        match self.machine() {
            Machine::X86_64 => {
                let insn = code.decode(&mut Decoder::default(), address)?;
                let is_cheap = is_emulated(&code.bytes[..usize::from(insn.len)]);
                Some(if is_cheap { Cost::Emulated } else { first_cost(&code, 0) })
            }
            Machine::Aarch64 => {
                let is_cheap = arm64::simulated(arm64::word_at(&code.bytes, 0)?);
                Some(if is_cheap { Cost::Emulated } else { Cost::Stepped })
            }
        }
    }
}

/// Where to probe the function so that `arguments` and the return address are still in place.
/// `None` if there is no code.
pub(crate) fn choose(
    binary: &Binary<'_>,
    decoder: &mut Decoder,
    (address, size): (u64, u64),
    arguments: &[Arg],
) -> Option<Site> {
    let code = function_code(binary, address, size);
    let (skip, cost) = match binary.machine() {
        Machine::X86_64 => cheapest_x86(&code, decoder, arguments),
        // All probed instructions cost about the same here. Also, `paciasp` at the start signs the return
        // address, so a return probe must come before it.
        Machine::Aarch64 => {
            let first = arm64::word_at(&code.bytes, 0)?;
            (0, if arm64::simulated(first) { Cost::Emulated } else { Cost::Stepped })
        }
    };
    let file_offset = binary.file_offset(address.checked_add(u64::from(skip))?)?;
    code.contains(address + u64::from(skip)).then_some(Site { address, file_offset, skip, cost })
}

/// The first emulated instruction on the straight way into the function; else the first instruction.
fn cheapest_x86(code: &Code, decoder: &mut Decoder, arguments: &[Arg]) -> (u32, Cost) {
    let first = if code.bytes.starts_with(ENDBR64) { ENDBR64.len() as u32 } else { 0 };
    let fallback = (first, first_cost(code, first));
    match straight_way_to_emulated(code, decoder, first, kept_registers(code, arguments)) {
        Some(skip) if skip == first || nothing_jumps_to(code, decoder, first, skip) => (skip, Cost::Emulated),
        _ => fallback,
    }
}

/// Registers that must be as they were at the call: the arguments, and the stack pointer, so that the
/// return address is on top of the stack.
fn kept_registers(code: &Code, arguments: &[Arg]) -> RegSet {
    let abi = code.abi();
    let registers = arguments.iter().filter_map(|arg| abi.args.get(usize::from(arg.0).checked_sub(1)?));
    registers.fold(1 << abi.stack, |set, reg| set | 1 << reg)
}

fn straight_way_to_emulated(code: &Code, decoder: &mut Decoder, first: u32, kept: RegSet) -> Option<u32> {
    let mut skip = first;
    for _ in 0..=MOST_PASSED {
        let address = code.start + u64::from(skip);
        let insn = code.decode(decoder, address)?;
        if is_emulated(&code.from(address)[..usize::from(insn.len)]) {
            return Some(skip);
        }
        if insn.flow != Flow::Next || insn.writes & kept != 0 {
            return None;
        }
        skip += u32::from(insn.len);
    }
    None
}

/// No jump inside the function enters between its first instruction and the site: else the probe would
/// fire more than once per call.
fn nothing_jumps_to(code: &Code, decoder: &mut Decoder, first: u32, site: u32) -> bool {
    let summary = summarize(code, decoder);
    let (first, site) = (code.start + u64::from(first), code.start + u64::from(site));
    summary.complete && summary.jump_targets.range(first + 1..=site).next().is_none()
}

/// Only the first instruction may be a probed 5-byte nop: newer kernels turn it into a call, which
/// overwrites the red zone below the stack pointer that a function may use later on.
fn first_cost(code: &Code, first: u32) -> Cost {
    let nop5 = [0x0f, 0x1f, 0x44, 0x00, 0x00];
    if code.from(code.start + u64::from(first)).starts_with(&nop5) { Cost::Nop5 } else { Cost::Stepped }
}

/// Whether every supported kernel emulates the instruction: `push_setup_xol_ops` and
/// `branch_setup_xol_ops` in arch/x86/kernel/uprobes.c. Prefixed branches are refused there, longer nops
/// and `endbr64` are stepped (before 6.18).
pub(crate) fn is_emulated(insn: &[u8]) -> bool {
    matches!(
        insn,
        // push
        [0x50..=0x57] | [0x41, 0x50..=0x57]
        // nop, xchg %ax,%ax
        | [0x90] | [0x66, 0x90]
        // jmp, call
        | [0xeb, _] | [0xe8 | 0xe9, _, _, _, _]
        // jcc
        | [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(bytes: &[u8], arguments: &[Arg]) -> (u32, Cost) {
        let code = Code::from_bytes(Machine::X86_64, 0x1000, bytes);
        cheapest_x86(&code, &mut Decoder::default(), arguments)
    }

    const ALL: &[Arg] = &[Arg(1), Arg(2), Arg(3), Arg(4)];

    #[test]
    fn a_push_at_the_start_or_after_endbr64_is_taken() {
        assert_eq!(site(&[0x55, 0xc3], ALL), (0, Cost::Emulated));
        assert_eq!(site(&[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57, 0xc3], ALL), (4, Cost::Emulated));
    }

    #[test]
    fn moves_that_leave_the_arguments_are_passed() {
        // mov %rdi,%rax; push %rbx; ret
        assert_eq!(site(&[0x48, 0x89, 0xf8, 0x53, 0xc3], ALL), (3, Cost::Emulated));
        // test %edx,%edx; js +0
        assert_eq!(site(&[0x85, 0xd2, 0x78, 0x00, 0xc3], ALL), (2, Cost::Emulated));
    }

    #[test]
    fn a_changed_argument_or_stack_pointer_ends_the_way() {
        // xor %ecx,%ecx; push %rbx
        assert_eq!(site(&[0x31, 0xc9, 0x53, 0xc3], ALL), (0, Cost::Stepped));
        assert_eq!(site(&[0x31, 0xc9, 0x53, 0xc3], &ALL[..3]), (2, Cost::Emulated));
        // sub $8,%rsp; push %rbx
        assert_eq!(site(&[0x48, 0x83, 0xec, 0x08, 0x53, 0xc3], ALL), (0, Cost::Stepped));
    }

    #[test]
    fn a_site_that_is_jumped_to_is_not_taken() {
        // mov %rdi,%rax; push %rbx; pop %rbx; jmp back to the push
        assert_eq!(site(&[0x48, 0x89, 0xf8, 0x53, 0x5b, 0xeb, 0xfc], ALL), (0, Cost::Stepped));
    }

    #[test]
    fn a_five_byte_nop_counts_only_as_first_instruction() {
        let nop5 = [0x0f, 0x1f, 0x44, 0x00, 0x00];
        assert_eq!(site(&[&nop5[..], &[0xc3]].concat(), ALL), (0, Cost::Nop5));
        assert_eq!(site(&[&nop5[..], &[0x55, 0xc3]].concat(), ALL), (5, Cost::Emulated));
        assert_eq!(site(&[&[0x48, 0x89, 0xf8][..], &nop5, &[0xc3]].concat(), ALL), (0, Cost::Stepped));
    }

    #[test]
    fn prefixed_branches_are_not_emulated() {
        assert!(!is_emulated(&[0x66, 0xe8, 0, 0, 0, 0]));
        assert!(!is_emulated(&[0xf2, 0xe9, 0, 0, 0, 0]));
        assert!(!is_emulated(ENDBR64));
    }
}
