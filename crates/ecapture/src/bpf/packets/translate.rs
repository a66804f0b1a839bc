//! Classic BPF, which libpcap compiles to, as a program of eBPF that passes on the packets it chooses.
//!
//! The accumulator A, the index X and the scratch memory M of classic BPF become registers 7 and 8 and the stack.

use std::os::fd::RawFd;

use anyhow::{Context, Result, bail, ensure};
use libbpf_sys as sys;

use super::expression::Classic;

/// What a program does with packets.
#[derive(Debug, Clone, Copy)]
pub struct Purpose {
    /// `PACKET_*` of `linux/if_packet.h` that each packet counts as, for `inbound` and `outbound`; `None`: its own.
    pub packet_type: Option<u32>,
    /// The program array, and the index in it, where chosen packets go.
    pub next: (RawFd, i32),
    /// What the program answers.
    pub verdict: i32,
}

const PACKET: u8 = 6;
const A: u8 = 7;
const X: u8 = 8;
const STACK: u8 = 10;

/// Words of scratch memory, `BPF_MEMWORDS`; they begin here on the stack.
const WORDS: u32 = 16;
const SCRATCH: i16 = -64;
/// Where what is loaded from a packet goes.
const LOADED: i16 = -72;

// Fields of instructions: linux/bpf_common.h and linux/bpf.h.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const RET: u8 = 0x06;
const MISC: u8 = 0x07;
const ALU64: u8 = 0x07;
const W: u8 = 0x00;
const H: u8 = 0x08;
const B: u8 = 0x10;
const DW: u8 = 0x18;
const IMM: u8 = 0x00;
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const MEM: u8 = 0x60;
const LEN: u8 = 0x80;
const MSH: u8 = 0xa0;
const K: u8 = 0x00;
const BY_X: u8 = 0x08;
const ADD: u8 = 0x00;
const DIV: u8 = 0x30;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const NEG: u8 = 0x80;
const MOD: u8 = 0x90;
const XOR: u8 = 0xa0;
const MOV: u8 = 0xb0;
const END: u8 = 0xd0;
const JA: u8 = 0x00;
const JEQ: u8 = 0x10;
const JSET: u8 = 0x40;
const JNE: u8 = 0x50;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const TXA: u8 = 0x80;

/// From here on, loads from the packet are questions to the kernel: `SKF_AD_*` of `linux/filter.h`.
const ANCILLARY: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = 4;

/// Questions that libpcap asks: where the answer is in `struct __sk_buff`, and whether that is in network order.
const ASKED: [(u32, i16, bool); 6] = [
    (0, 16, true),           // protocol
    (PACKET_TYPE, 4, false), // pkt_type
    (8, 40, false),          // ifindex
    (44, 24, false),         // vlan_tci
    (48, 20, false),         // vlan_present
    (60, 28, true),          // vlan_proto
];

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Target {
    Classic(usize),
    Chosen,
    Refused,
}

/// An instruction, in the fields of `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    value: i32,
}

#[derive(Default)]
struct Translation {
    out: Vec<Instruction>,
    /// Jumps with where they go.
    jumps: Vec<(usize, Target)>,
}

/// Translates.
///
/// # Errors
/// The program asks for what is not possible here.
pub fn translate(classic: &[Classic], purpose: &Purpose) -> Result<Vec<sys::bpf_insn>> {
    let mut program = Translation::default();
    program.begin();
    let mut starts = Vec::with_capacity(classic.len());
    for (at, instruction) in classic.iter().enumerate() {
        starts.push(program.out.len());
        program.one(at, *instruction, purpose)?;
    }
    let chosen = program.out.len();
    program.pass_on(purpose);
    let refused = program.out.len();
    program.op(ALU64 | MOV | K, 0, 0, purpose.verdict);
    program.op(JMP | EXIT, 0, 0, 0);
    for (at, target) in program.jumps {
        let to = match target {
            Target::Classic(index) => *starts.get(index).context("a jump out of the filter program")?,
            Target::Chosen => chosen,
            Target::Refused => refused,
        };
        let distance = to as i64 - at as i64 - 1;
        program.out[at].offset = i16::try_from(distance).context("the filter expression is too long")?;
    }
    Ok(program.out.into_iter().map(Instruction::encode).collect())
}

impl Instruction {
    fn encode(self) -> sys::bpf_insn {
        let mut instruction =
            sys::bpf_insn { code: self.code, off: self.offset, imm: self.value, ..Default::default() };
        instruction.set_dst_reg(self.to);
        instruction.set_src_reg(self.from);
        instruction
    }
}

impl Translation {
    fn op(&mut self, code: u8, to: u8, from: u8, value: i32) {
        self.out.push(Instruction { code, to, from, offset: 0, value });
    }

    fn memory(&mut self, code: u8, to: u8, from: u8, offset: i16) {
        self.out.push(Instruction { code, to, from, offset, value: 0 });
    }

    fn jump(&mut self, code: u8, to: u8, from: u8, value: i32, target: Target) {
        self.jumps.push((self.out.len(), target));
        self.op(code, to, from, value);
    }

    /// Everything that may be read is set: the verifier wants it so.
    fn begin(&mut self) {
        self.op(ALU64 | MOV | BY_X, PACKET, 1, 0);
        for register in [A, X] {
            self.op(ALU64 | MOV | K, register, 0, 0);
        }
        for word in (0..WORDS as i16).step_by(2) {
            self.memory(STX | MEM | DW, STACK, A, SCRATCH + word * 4);
        }
    }

    fn pass_on(&mut self, purpose: &Purpose) {
        let (array, index) = purpose.next;
        self.op(ALU64 | MOV | BY_X, 1, PACKET, 0);
        self.op(LD | IMM | DW, 2, sys::BPF_PSEUDO_MAP_FD as u8, array);
        self.op(0, 0, 0, 0); // the second half of the last
        self.op(ALU64 | MOV | K, 3, 0, index);
        self.op(JMP | CALL, 0, 0, sys::BPF_FUNC_tail_call as i32);
    }

    fn one(&mut self, at: usize, classic: Classic, purpose: &Purpose) -> Result<()> {
        let Classic { code, k, .. } = classic;
        let Ok(code) = u8::try_from(code) else { bail!("instruction {code:#x} in the filter program") };
        let (size, mode, operation, by_x) = (code & 0x18, code & 0xe0, code & 0xf0, code & BY_X != 0);
        match code & 7 {
            LD => match mode {
                ABS if k >= ANCILLARY => self.ask(k - ANCILLARY, purpose)?,
                ABS => {
                    self.op(ALU | MOV | K, 2, 0, k as i32);
                    self.load(size)?;
                }
                IND => {
                    self.op(ALU | MOV | BY_X, 2, X, 0);
                    self.op(ALU | ADD | K, 2, 0, k as i32);
                    self.load(size)?;
                }
                _ => self.set(A, mode, k)?,
            },
            LDX if mode == MSH => {
                // X = 4 * (packet[k] & 15), the length of an IPv4 header; A stays.
                self.op(ALU64 | MOV | BY_X, 9, A, 0);
                self.op(ALU | MOV | K, 2, 0, k as i32);
                self.load(B)?;
                self.op(ALU | AND | K, A, 0, 15);
                self.op(ALU | LSH | K, A, 0, 2);
                self.op(ALU64 | MOV | BY_X, X, A, 0);
                self.op(ALU64 | MOV | BY_X, A, 9, 0);
            }
            LDX => self.set(X, mode, k)?,
            ST => self.memory(STX | MEM | W, STACK, A, scratch(k)?),
            STX => self.memory(STX | MEM | W, STACK, X, scratch(k)?),
            ALU => self.arithmetic(operation, by_x, k)?,
            JMP => self.branch(at, operation, by_x, classic)?,
            RET if code & 0x18 == 0x10 => {
                self.jump(JMP | JNE | K, A, 0, 0, Target::Chosen);
                self.jump(JMP | JA, 0, 0, 0, Target::Refused);
            }
            RET => self.jump(JMP | JA, 0, 0, 0, if k == 0 { Target::Refused } else { Target::Chosen }),
            MISC if code & 0xf8 == TXA => self.op(ALU64 | MOV | BY_X, A, X, 0),
            _ => self.op(ALU64 | MOV | BY_X, X, A, 0),
        }
        Ok(())
    }

    /// Loads from the packet, at the offset in register 2, to A. What a packet does not have ends the program.
    fn load(&mut self, size: u8) -> Result<()> {
        let (bytes, bits) = match size {
            B => (1, None),
            H => (2, Some(16)),
            W => (4, Some(32)),
            _ => bail!("size {size:#x} in the filter program"),
        };
        self.op(ALU64 | MOV | BY_X, 1, PACKET, 0);
        self.op(ALU64 | MOV | BY_X, 3, STACK, 0);
        self.op(ALU64 | ADD | K, 3, 0, LOADED.into());
        self.op(ALU64 | MOV | K, 4, 0, bytes);
        self.op(JMP | CALL, 0, 0, sys::BPF_FUNC_skb_load_bytes as i32);
        self.jump(JMP | JNE | K, 0, 0, 0, Target::Refused);
        self.memory(LDX | MEM | size, A, STACK, LOADED);
        if let Some(bits) = bits {
            self.op(ALU | END | BY_X, A, 0, bits); // from network order
        }
        Ok(())
    }

    fn ask(&mut self, question: u32, purpose: &Purpose) -> Result<()> {
        if let (PACKET_TYPE, Some(packet_type)) = (question, purpose.packet_type) {
            self.op(ALU | MOV | K, A, 0, packet_type as i32);
            return Ok(());
        }
        let (_, field, is_swapped) = ASKED
            .into_iter()
            .find(|(asked, ..)| *asked == question)
            .with_context(|| format!("extension {question} in the filter program"))?;
        self.memory(LDX | MEM | W, A, PACKET, field);
        if is_swapped {
            self.op(ALU | END | BY_X, A, 0, 16);
        }
        Ok(())
    }

    /// A or X from elsewhere than the packet.
    fn set(&mut self, register: u8, mode: u8, k: u32) -> Result<()> {
        match mode {
            IMM => self.op(ALU | MOV | K, register, 0, k as i32),
            MEM => self.memory(LDX | MEM | W, register, STACK, scratch(k)?),
            LEN => self.memory(LDX | MEM | W, register, PACKET, 0),
            _ => bail!("mode {mode:#x} in the filter program"),
        }
        Ok(())
    }

    fn arithmetic(&mut self, operation: u8, by_x: bool, k: u32) -> Result<()> {
        let divides = matches!(operation, DIV | MOD);
        ensure!(operation <= XOR, "operation {operation:#x} in the filter program");
        match operation {
            NEG => self.op(ALU | NEG, A, 0, 0),
            _ if by_x => {
                if divides {
                    self.jump(JMP | JEQ | K, X, 0, 0, Target::Refused); // as the kernel does
                }
                self.op(ALU | operation | BY_X, A, X, 0);
            }
            LSH | RSH if k >= 32 => self.op(ALU | MOV | K, A, 0, 0),
            _ => {
                ensure!(!(divides && k == 0), "division by zero in the filter program");
                self.op(ALU | operation | K, A, 0, k as i32);
            }
        }
        Ok(())
    }

    fn branch(&mut self, at: usize, operation: u8, by_x: bool, classic: Classic) -> Result<()> {
        let Classic { jt, jf, k, .. } = classic;
        if operation == JA {
            self.jump(JMP | JA, 0, 0, 0, Target::Classic(at + 1 + k as usize));
            return Ok(());
        }
        ensure!(operation <= JSET, "jump {operation:#x} in the filter program");
        let with = if by_x { X } else { 2 };
        if !by_x {
            self.op(ALU | MOV | K, 2, 0, k as i32); // a constant in a jump would be sign-extended
        }
        self.jump(JMP | operation | BY_X, A, with, 0, Target::Classic(at + 1 + jt as usize));
        self.jump(JMP | JA, 0, 0, 0, Target::Classic(at + 1 + jf as usize));
        Ok(())
    }
}

fn scratch(word: u32) -> Result<i16> {
    ensure!(word < WORDS, "scratch word {word} in the filter program");
    Ok(SCRATCH + word as i16 * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose = Purpose { packet_type: Some(4), next: (9, 1), verdict: -1 };

    fn one(code: u16, jt: u8, jf: u8, k: u32) -> Classic {
        Classic { code, jt, jf, k }
    }

    /// What runs is compared with tcpdump in the live tests; here, what must never run.
    #[test]
    fn programs_that_libpcap_does_not_make_are_refused() {
        let cases = [
            (one(0x05, 0, 0, 7), "a jump out of the filter program"),
            (one(0x15, 200, 0, 0), "a jump out of the filter program"),
            (one(0x60, 0, 0, 16), "scratch word 16"),
            (one(0x34, 0, 0, 0), "division by zero"),
            (one(0x20, 0, 0, ANCILLARY + 20), "extension 20"),
            (one(0xa0, 0, 0, 0), "mode 0xa0"),
            (one(0xb4, 0, 0, 0), "operation 0xb0"),
            (one(0x55, 0, 0, 0), "jump 0x50"),
            (one(0x1000, 0, 0, 0), "instruction 0x1000"),
        ];
        for (instruction, expected) in cases {
            let error = translate(&[instruction], &PURPOSE).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn every_way_ends_in_the_call_or_the_verdict() {
        let program = translate(&[one(0x06, 0, 0, 0)], &PURPOSE).expect("a program");
        let [.., jump, _, _, _, _, call, verdict, exit] = program.as_slice() else { panic!("too short") };
        assert_eq!((jump.code, jump.off), (JMP | JA, 5));
        assert_eq!((call.code, call.imm), (JMP | CALL, sys::BPF_FUNC_tail_call as i32));
        assert_eq!((verdict.imm, exit.code), (-1, JMP | EXIT));
    }
}
