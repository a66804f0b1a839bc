//! x86_64, decoded by iced.

use iced_x86::{
    Code as Opcode, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register, UsedMemory,
};

use super::{Abi, Effect, Flow, Insn, Reg, Target};

/// System V: rdi rsi rdx rcx r8 r9; a call may change these and rax, r10, r11.
pub(crate) const ABI: Abi = Abi { args: &[7, 6, 2, 1, 8, 9], stack: 4, clobbered: 0b1111_1100_0111 };

/// `endbr64`, the landing mark of indirect calls.
pub(crate) const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];

/// Working memory for finding the registers that an instruction writes.
pub(crate) struct Decoder(InstructionInfoFactory);

impl Default for Decoder {
    fn default() -> Self {
        Self(InstructionInfoFactory::new())
    }
}

impl Decoder {
    pub(crate) fn decode(&mut self, bytes: &[u8], address: u64) -> Option<Insn> {
        let insn = decode(bytes, address)?;
        let info = self.0.info(&insn);
        let written = info.used_registers().iter().filter(|used| is_write(used.access()));
        let writes = written.filter_map(|used| number(used.register())).fold(0, |set, reg| set | 1 << reg);
        let stored = info.used_memory().iter().find(|used| is_write(used.access()));
        let effect = effect(&insn).or_else(|| stored.and_then(|used| store(&insn, used)));
        let effect = effect.unwrap_or(Effect::Other);
        Some(Insn { len: insn.len() as u8, flow: flow(&insn), effect, writes })
    }
}

fn is_write(access: OpAccess) -> bool {
    use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

fn decode(bytes: &[u8], address: u64) -> Option<Instruction> {
    let bytes = &bytes[..bytes.len().min(15)];
    let mut decoder = iced_x86::Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let insn = decoder.decode();
    (!insn.is_invalid()).then_some(insn)
}

/// The number of the general-purpose register that `register` is, or is a part of.
fn number(register: Register) -> Option<Reg> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number() as Reg)
}

fn flow(insn: &Instruction) -> Flow {
    match insn.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Flow::Jump(target(insn)),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            Flow::Branch(insn.near_branch_target())
        }
        FlowControl::Call if insn.mnemonic() == Mnemonic::Call => Flow::Call(target(insn)),
        FlowControl::IndirectCall => Flow::Call(target(insn)),
        // System calls come back to the next instruction.
        FlowControl::Call => Flow::Call(Target::Unknown),
        FlowControl::Return if insn.mnemonic() == Mnemonic::Ret => Flow::Return,
        FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => Flow::Stop,
    }
}

fn target(insn: &Instruction) -> Target {
    match insn.op0_kind() {
        OpKind::NearBranch64 => Target::Address(insn.near_branch_target()),
        OpKind::Memory if insn.is_ip_rel_memory_operand() => Target::Slot(insn.ip_rel_memory_address()),
        _ => Target::Unknown,
    }
}

fn effect(insn: &Instruction) -> Option<Effect> {
    let to = number(insn.op0_register());
    match insn.code() {
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64 => moved(insn, 8),
        Opcode::Mov_r32_rm32 | Opcode::Mov_rm32_r32 | Opcode::Movsxd_r64_rm32 => moved(insn, 4),
        Opcode::Mov_r32_imm32 | Opcode::Mov_r64_imm64 | Opcode::Mov_rm64_imm32 if to.is_some() => {
            Some(Effect::Constant { to: to?, value: insn.immediate(1) })
        }
        Opcode::Xor_r32_rm32 | Opcode::Xor_rm32_r32 if insn.op0_register() == insn.op1_register() => {
            Some(Effect::Constant { to: to?, value: 0 })
        }
        Opcode::Lea_r64_m if insn.is_ip_rel_memory_operand() => {
            Some(Effect::Constant { to: to?, value: insn.ip_rel_memory_address() })
        }
        Opcode::Lea_r64_m => {
            Some(Effect::Offset { to: to?, base: plain_base(insn)?, by: displacement(insn) })
        }
        Opcode::Add_rm64_imm8 | Opcode::Add_rm64_imm32 | Opcode::Add_RAX_imm32 => {
            Some(Effect::Offset { to: to?, base: to?, by: insn.immediate(1) as i64 })
        }
        Opcode::Sub_rm64_imm8 | Opcode::Sub_rm64_imm32 | Opcode::Sub_RAX_imm32 => {
            Some(Effect::Offset { to: to?, base: to?, by: (insn.immediate(1) as i64).wrapping_neg() })
        }
        Opcode::Push_r64 => Some(Effect::Push { from: to }),
        Opcode::Pushq_imm8 | Opcode::Pushq_imm32 | Opcode::Push_rm64 => Some(Effect::Push { from: None }),
        Opcode::Pop_r64 => Some(Effect::Pop { to: to? }),
        _ => None,
    }
}

/// A move of 8 bytes, or of 4 that are extended.
fn moved(insn: &Instruction, size: u32) -> Option<Effect> {
    let (to, from) = (number(insn.op0_register()), number(insn.op1_register()));
    match (to, from, size) {
        (Some(to), Some(from), 8) => Some(Effect::Copy { to, from }),
        (Some(to), Some(from), _) => Some(Effect::CopyHalf { to, from }),
        (Some(to), None, _) => {
            Some(Effect::Load { to, base: plain_base(insn)?, at: displacement(insn), size })
        }
        (None, from, _) => {
            Some(Effect::Store { base: plain_base(insn)?, at: displacement(insn), size, from })
        }
    }
}

/// The base of a memory operand that is only base and displacement.
fn plain_base(insn: &Instruction) -> Option<Reg> {
    let plain = insn.memory_index() == Register::None && insn.memory_segment() != Register::FS;
    number(insn.memory_base()).filter(|_| plain)
}

fn displacement(insn: &Instruction) -> i64 {
    insn.memory_displacement64() as i64
}

/// Any other instruction that writes to memory: an overwritten stack slot must be forgotten.
fn store(insn: &Instruction, used: &UsedMemory) -> Option<Effect> {
    let whole = used.index() == Register::None && !insn.has_rep_prefix() && !insn.has_repne_prefix();
    let size = if whole { used.memory_size().size() as u32 } else { 0 };
    Some(Effect::Store { base: number(used.base())?, at: used.displacement() as i64, size, from: None })
}

/// The slot that a linkage stub jumps through: `[endbr64] [bnd] jmp *slot(%rip)`.
pub(crate) fn stub_slot(bytes: &[u8], address: u64) -> Option<u64> {
    let skip = if bytes.starts_with(ENDBR64) { ENDBR64.len() } else { 0 };
    let insn = decode(&bytes[skip..], address.checked_add(skip as u64)?)?;
    match flow(&insn) {
        Flow::Jump(Target::Slot(slot)) => Some(slot),
        _ => None,
    }
}
