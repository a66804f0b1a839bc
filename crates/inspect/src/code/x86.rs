//! x86_64, decoded by iced.

use iced_x86::{
    Code as Opcode, ConditionCode, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register, UsedMemory,
};

use super::{Abi, Address, Condition, Effect, Effects, Flow, Insn, Operand, Reg, Target, just};

/// System V: rdi rsi rdx rcx r8 r9; a call may change these and rax, r10, r11.
pub(crate) const ABI: Abi =
    Abi { args: &[7, 6, 2, 1, 8, 9], stack: 4, frame: 5, clobbered: 0b1111_1100_0111 };

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
        let effects = effects(&insn).unwrap_or_else(|| just(other_access(&insn, info.used_memory())));
        let flags = insn.rflags_modified() != 0;
        Some(Insn { len: insn.len() as u8, flow: flow(&insn), effects, writes, flags })
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
            Flow::Branch(insn.near_branch_target(), condition(insn))
        }
        FlowControl::Call if insn.mnemonic() == Mnemonic::Call => Flow::Call(target(insn)),
        FlowControl::IndirectCall => Flow::Call(target(insn)),
        // System calls come back to the next instruction.
        FlowControl::Call => Flow::Call(Target::Unknown),
        FlowControl::Return if insn.mnemonic() == Mnemonic::Ret => Flow::Return,
        FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => Flow::Stop,
    }
}

fn condition(insn: &Instruction) -> Condition {
    match insn.condition_code() {
        ConditionCode::e => Condition::Equal(true),
        ConditionCode::ne => Condition::Equal(false),
        _ => Condition::Other,
    }
}

fn target(insn: &Instruction) -> Target {
    match insn.op0_kind() {
        OpKind::NearBranch64 => Target::Address(insn.near_branch_target()),
        OpKind::Memory if insn.is_ip_rel_memory_operand() => Target::Slot(insn.ip_rel_memory_address()),
        _ => Target::Unknown,
    }
}

/// What the instructions do that are followed; `None` for all others.
fn effects(insn: &Instruction) -> Option<Effects> {
    let (to, from) = (number(insn.op0_register()), number(insn.op1_register()));
    Some(match insn.code() {
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64 => just(moved(insn, 8)?),
        Opcode::Mov_r32_rm32 | Opcode::Mov_rm32_r32 | Opcode::Movsxd_r64_rm32 => just(moved(insn, 4)?),
        Opcode::Movzx_r32_rm8 | Opcode::Movzx_r64_rm8 if from.is_none() => just(moved(insn, 1)?),
        Opcode::Movzx_r32_rm16 | Opcode::Movzx_r64_rm16 if from.is_none() => just(moved(insn, 2)?),
        Opcode::Mov_rm8_r8 | Opcode::Mov_rm16_r16 if to.is_none() => {
            just(moved(insn, insn.memory_size().size() as u8)?)
        }
        Opcode::Mov_r64_imm64 | Opcode::Mov_r32_imm32 => {
            just(Effect::Constant { to: to?, value: insn.immediate(1) })
        }
        Opcode::Mov_rm64_imm32 => just(stored_constant(insn, 8)?),
        Opcode::Mov_rm32_imm32 => just(stored_constant(insn, 4)?),
        Opcode::Lea_r64_m => just(leave(to?, plain_place(insn)?)),
        Opcode::Xor_r64_rm64 | Opcode::Xor_rm64_r64 | Opcode::Xor_r32_rm32 | Opcode::Xor_rm32_r32
            if insn.op0_register() == insn.op1_register() =>
        {
            just(Effect::Constant { to: to?, value: 0 })
        }
        Opcode::Add_rm64_imm8 | Opcode::Add_rm64_imm32 | Opcode::Add_RAX_imm32 => {
            just(Effect::Offset { to: to?, base: to?, by: insn.immediate(1) as i64 })
        }
        Opcode::Sub_rm64_imm8 | Opcode::Sub_rm64_imm32 | Opcode::Sub_RAX_imm32 => {
            just(Effect::Offset { to: to?, base: to?, by: (insn.immediate(1) as i64).wrapping_neg() })
        }
        Opcode::Inc_rm64 => just(Effect::Offset { to: to?, base: to?, by: 1 }),
        Opcode::Dec_rm64 => just(Effect::Offset { to: to?, base: to?, by: -1 }),
        Opcode::Push_r64 => push(to.map_or(Operand::Unknown, Operand::Register)),
        Opcode::Pushq_imm8 | Opcode::Pushq_imm32 => push(Operand::Constant(insn.immediate(0))),
        Opcode::Push_rm64 => push(Operand::Unknown),
        Opcode::Pop_r64 => {
            let load = Effect::Load { to: to?, from: STACK_TOP, size: 8 };
            [load, Effect::Offset { to: ABI.stack, base: ABI.stack, by: 8 }, Effect::Other]
        }
        _ if matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) => just(compared(insn)?),
        _ if insn.op0_register().is_gpr64() && is_conditional_move(insn) => {
            just(Effect::CopyIf { to: to?, from: from?, condition: condition(insn) })
        }
        _ => return None,
    })
}

const STACK_TOP: Address = Address { base: Some(ABI.stack), at: 0, index: None };

/// Stores below the stack pointer, and moves it there.
fn push(from: Operand) -> Effects {
    let store = Effect::Store { to: Address { at: -8, ..STACK_TOP }, size: 8, from };
    [store, Effect::Offset { to: ABI.stack, base: ABI.stack, by: -8 }, Effect::Other]
}

/// The address itself as a value.
fn leave(to: Reg, place: Address) -> Effect {
    match place.base {
        Some(base) => Effect::Offset { to, base, by: place.at },
        None => Effect::Constant { to, value: place.at as u64 },
    }
}

/// A move of 8 bytes, or of fewer that are extended.
fn moved(insn: &Instruction, size: u8) -> Option<Effect> {
    let (to, from) = (number(insn.op0_register()), number(insn.op1_register()));
    match (to, from, size) {
        (Some(to), Some(from), 8) => Some(Effect::Copy { to, from }),
        (Some(to), Some(from), _) => Some(Effect::CopyHalf { to, from }),
        (Some(to), None, _) => Some(Effect::Load { to, from: place(insn)?, size }),
        (None, from, _) => {
            let from = from.map_or(Operand::Unknown, Operand::Register);
            Some(Effect::Store { to: plain_place(insn)?, size: size.into(), from })
        }
    }
}

/// A move of a constant to a register, or of so many bytes of it to memory.
fn stored_constant(insn: &Instruction, size: u32) -> Option<Effect> {
    let value = insn.immediate(1);
    match number(insn.op0_register()) {
        Some(to) => {
            Some(Effect::Constant { to, value: if size == 4 { u64::from(value as u32) } else { value } })
        }
        None => Some(Effect::Store { to: plain_place(insn)?, size, from: Operand::Constant(value) }),
    }
}

/// `cmp`, or `test` of a register with itself, which compares it with zero.
fn compared(insn: &Instruction) -> Option<Effect> {
    let operand = |index| match insn.op_kind(index) {
        OpKind::Register => number(insn.op_register(index)).map(Operand::Register),
        OpKind::Memory => place(insn).map(Operand::Memory),
        _ => Some(Operand::Constant(insn.immediate(index))),
    };
    let size = match insn.op_kind(0) {
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    } as u8;
    let (one, mut other) = (operand(0)?, operand(1)?);
    if insn.mnemonic() == Mnemonic::Test {
        if one != other || !matches!(one, Operand::Register(_)) {
            return None;
        }
        other = Operand::Constant(0);
    }
    (size >= 4).then_some(Effect::Compare { one, other, size })
}

fn is_conditional_move(insn: &Instruction) -> bool {
    insn.condition_code() != ConditionCode::None
        && insn.flow_control() == FlowControl::Next
        && insn.op_count() == 2
}

/// A memory operand that is only base and displacement.
fn plain_place(insn: &Instruction) -> Option<Address> {
    place(insn).filter(|place| place.index.is_none())
}

/// A memory operand, unless it is relative to a segment.
fn place(insn: &Instruction) -> Option<Address> {
    if has_own_segment(insn.memory_segment()) {
        return None;
    }
    let index = match insn.memory_index() {
        Register::None => None,
        index => Some((number(index)?, insn.memory_index_scale() as u8)),
    };
    let base = match insn.memory_base() {
        // iced gives the address, not the distance, for %rip.
        Register::None | Register::RIP => None,
        base => Some(number(base)?),
    };
    Some(Address { base, at: insn.memory_displacement64() as i64, index })
}

/// `%fs` and `%gs` are where a thread has its own variables.
fn has_own_segment(segment: Register) -> bool {
    matches!(segment, Register::FS | Register::GS)
}

/// What any other instruction does to memory: an overwritten stack slot must be forgotten.
fn other_access(insn: &Instruction, all: &[UsedMemory]) -> Option<Effect> {
    let plain = |used: &UsedMemory| {
        let repeated = insn.has_rep_prefix() || insn.has_repne_prefix();
        used.index() == Register::None && !has_own_segment(used.segment()) && !repeated
    };
    let place = |used: &UsedMemory| Address {
        base: number(used.base()),
        at: used.displacement() as i64,
        index: None,
    };
    // What a call pushes is behind it when it returns.
    let pushes = insn.flow_control() == FlowControl::IndirectCall;
    if let Some(used) = all.iter().find(|used| is_write(used.access()) && !pushes) {
        let size = if plain(used) { used.memory_size().size() as u32 } else { 0 };
        return Some(Effect::Store { to: place(used), size, from: Operand::Unknown });
    }
    let used = all.iter().find(|used| !is_write(used.access())).filter(|used| plain(used))?;
    Some(Effect::Read { from: place(used), size: u8::try_from(used.memory_size().size()).ok()? })
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
