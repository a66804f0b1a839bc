//! Forward data flow through one function: which calls it makes and where its own arguments are then.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
pub(crate) use super::state::Value;
use super::{Code, Decoder, Effect, Flow, Insn, MOST_ARGS, Target, reached};
use crate::binary::Binary;

/// Most instructions looked at (again after a merge) before a function counts as too large.
const MOST_STEPS: usize = 1 << 15;

/// A call, or a jump out of the function, and what its argument registers hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSite {
    pub(crate) target: Target,
    pub(crate) args: [Value; MOST_ARGS],
}

/// What is known of a function.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) calls: Vec<CallSite>,
    /// Places outside of its frame that it stores to: the first byte of each store.
    pub(crate) stores: Vec<Value>,
    /// Where its jumps and branches go to.
    pub(crate) jump_targets: BTreeSet<u64>,
    /// Whether everything reachable was seen.
    pub(crate) complete: bool,
}

/// Follows all paths from the start of `code`, which is taken as the whole function: what leaves it is a
/// tail call.
pub(crate) fn summarize(code: &Code, decoder: &mut Decoder) -> Summary {
    let mut walk = Walk { code, before: BTreeMap::new(), pending: Vec::new(), summary: Summary::default() };
    walk.arrive(code.start, &State::at_entry(code.abi()));
    walk.summary.complete = (0..MOST_STEPS).any(|_| walk.step(decoder).is_none());
    walk.into_summary()
}

struct Walk<'c> {
    code: &'c Code,
    /// What is known before each instruction reached so far, and the instruction.
    before: BTreeMap<u64, (State, Option<Insn>)>,
    pending: Vec<u64>,
    summary: Summary,
}

impl Walk<'_> {
    /// Notes a path to `address`; looks at it (again) if it brings news.
    fn arrive(&mut self, address: u64, state: &State) {
        let news = match self.before.get_mut(&address) {
            Some((known, _)) => known.merge(state),
            None => self.before.insert(address, (state.clone(), None)).is_none(),
        };
        if news {
            self.pending.push(address);
        }
    }

    /// Executes one pending instruction; `None` when nothing is left.
    fn step(&mut self, decoder: &mut Decoder) -> Option<()> {
        let address = self.pending.pop()?;
        let (state, decoded) = self.before.get_mut(&address)?;
        if decoded.is_none() {
            *decoded = self.code.decode(decoder, address);
        }
        let Some(insn) = *decoded else { return Some(()) };
        let mut state = state.clone();
        state.apply(&insn, self.code.abi());
        let next = address.wrapping_add(u64::from(insn.len));
        match insn.flow {
            Flow::Next | Flow::Call(_) => self.go(next, &state),
            Flow::Branch(to, _) => {
                self.jump(to, &state);
                self.go(next, &state);
            }
            Flow::Jump(Target::Address(to)) => self.jump(to, &state),
            Flow::Jump(_) | Flow::Return | Flow::Stop => {}
        }
        Some(())
    }

    fn jump(&mut self, to: u64, state: &State) {
        self.summary.jump_targets.insert(to);
        self.go(to, state);
    }

    fn go(&mut self, to: u64, state: &State) {
        if self.code.contains(to) {
            self.arrive(to, state);
        }
    }

    fn into_summary(mut self) -> Summary {
        let abi = self.code.abi();
        for (state, insn) in self.before.values() {
            let stored = insn.iter().flat_map(|insn| insn.effects).find_map(|effect| match effect {
                Effect::Store { to, .. } => Some(state.place(to)),
                _ => None,
            });
            let outside = stored.filter(|to| matches!(to, Value::Arg(_) | Value::Reached(..)));
            self.summary.stores.extend(outside);
            let target = match insn.map(|insn| insn.flow) {
                Some(Flow::Call(target)) => target,
                Some(Flow::Branch(to, _)) if !self.code.contains(to) => Target::Address(to),
                Some(Flow::Jump(Target::Address(to))) if self.code.contains(to) => continue,
                Some(Flow::Jump(target)) => target,
                _ => continue,
            };
            let mut args = [Value::Unknown; MOST_ARGS];
            for (arg, &reg) in args.iter_mut().zip(abi.args) {
                *arg = state.get(reg);
            }
            self.summary.calls.push(CallSite { target, args });
        }
        self.summary
    }
}

/// The calls and jumps in `code` and where they go, read from one end to the other: also sees what only a
/// computed jump reaches, but cannot say when it happens.
pub(crate) fn swept_targets(code: &Code, decoder: &mut Decoder) -> Vec<(u64, Target)> {
    let mut targets = Vec::new();
    let mut at = code.start;
    while code.contains(at) {
        let insn = code.decode(decoder, at);
        match insn.map(|insn| insn.flow) {
            Some(Flow::Call(target) | Flow::Jump(target)) => targets.push((at, target)),
            Some(Flow::Branch(to, _)) => targets.push((at, Target::Address(to))),
            _ => {}
        }
        at = at.saturating_add(insn.map_or(code.shortest(), |insn| u64::from(insn.len)));
    }
    targets
}

/// The function of this file that the code leads to if all that it does is to jump there.
pub(crate) fn leads_to(binary: &Binary<'_>, code: &Code, decoder: &mut Decoder) -> Option<u64> {
    let mut at = code.start;
    loop {
        let insn = code.decode(decoder, at)?;
        match insn.flow {
            Flow::Next => at += u64::from(insn.len),
            Flow::Jump(target) => return reached(binary, target),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Machine;
    use crate::place::Path;

    /// What the first call in the code is given.
    fn first_call(machine: Machine, bytes: &[u8]) -> [Value; MOST_ARGS] {
        let code = Code::from_bytes(machine, 0x1000, bytes);
        let summary = summarize(&code, &mut Decoder::default());
        assert!(summary.complete);
        summary.calls[0].args
    }

    fn arm64(words: &[u32]) -> [Value; MOST_ARGS] {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        first_call(Machine::Aarch64, &bytes)
    }

    #[test]
    fn arguments_survive_moves_and_the_stack() {
        // push %rbp; mov %rsp,%rbp; sub $0x20,%rsp; mov %rdi,-0x8(%rbp); mov %edx,-0x14(%rbp); xor %edi,%edi
        // mov -0x8(%rbp),%rdi; movslq -0x14(%rbp),%rdx; lea -0x18(%rbp),%rcx; call
        let code = b"\x55\x48\x89\xe5\x48\x83\xec\x20\x48\x89\x7d\xf8\x89\x55\xec\x31\xff\
                     \x48\x8b\x7d\xf8\x48\x63\x55\xec\x48\x8d\x4d\xe8\xe8\x00\x10\x00\x00\xc3";
        let args = first_call(Machine::X86_64, code);
        assert_eq!(args[..4], [Value::Arg(0), Value::Arg(1), Value::Half(2), Value::Frame(-0x20)]);
    }

    #[test]
    fn an_overwritten_stack_slot_is_forgotten() {
        // mov %rdi,-0x10(%rsp); movups %xmm0,-0x18(%rsp); mov -0x10(%rsp),%rdi; call
        let code = b"\x48\x89\x7c\x24\xf0\x0f\x11\x44\x24\xe8\x48\x8b\x7c\x24\xf0\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(first_call(Machine::X86_64, code)[0], Value::Unknown);
    }

    #[test]
    fn paths_that_disagree_leave_nothing() {
        // test %edi,%edi; je +2; xor %esi,%esi; call
        let code = b"\x85\xff\x74\x02\x31\xf6\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(first_call(Machine::X86_64, code)[..2], [Value::Arg(0), Value::Unknown]);
    }

    #[test]
    fn arm64_frames_and_copies_are_followed() {
        // stp x29,x30,[sp,#-80]!; mov w20,w2; str x1,[sp,#56]; mov x1,#0; ldr x1,[sp,#56]; sxtw x2,w20;
        // add x3,sp,#72; bl
        let words = [
            0xa9bb_7bfd,
            0x2a02_03f4,
            0xf900_1fe1,
            0xd280_0001,
            0xf940_1fe1,
            0x9340_7e82,
            0x9101_23e3,
            0x9400_0400,
        ];
        let args = arm64(&words);
        assert_eq!(args[..4], [Value::Arg(0), Value::Arg(1), Value::Half(2), Value::Frame(-8)]);
    }

    #[test]
    fn an_arm64_pair_overwrites_stack_slots() {
        // sub sp,sp,#32; str x0,[sp,#8]; stp x19,x20,[sp]; ldr x0,[sp,#8]; bl
        let words = [0xd100_83ff, 0xf900_07e0, 0xa900_53f3, 0xf940_07e0, 0x9400_0400];
        assert_eq!(arm64(&words)[0], Value::Unknown);
    }

    #[test]
    fn pointers_are_followed_from_arguments_on() {
        let loads = |loads: &[i32], add| Value::Reached(0, Path::new(loads, add).unwrap());
        // mov 0x30(%rdi),%rax; mov 0x80(%rax),%rsi; call; add %rbx,0x80(%rax) (lost); ret
        let code = b"\x48\x8b\x47\x30\x48\x8b\xb0\x80\x00\x00\x00\x48\x01\x98\x80\x00\x00\x00\xe8\x00\x10\x00\x00\xc3";
        let code = Code::from_bytes(Machine::X86_64, 0x1000, code);
        let summary = summarize(&code, &mut Decoder::default());
        assert_eq!(summary.calls[0].args[..2], [Value::Arg(0), loads(&[0x30, 0x80], 0)]);
        assert_eq!(summary.stores, [loads(&[0x30], 0x80)]);
    }

    #[test]
    fn arm64_pairs_are_loaded_and_stored() {
        // ldr x9,[x0,#48]; ldp x1,x2,[x9,#128]; stp x2,x1,[x9,#128]; sub sp,sp,#32; stp x0,x3,[sp]; ldp x4,x5,[sp]; bl
        let words =
            [0xf940_1809, 0xa948_0921, 0xa908_0522, 0xd100_83ff, 0xa900_0fe0, 0xa940_17e4, 0x9400_0400];
        let code: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let code = Code::from_bytes(Machine::Aarch64, 0x1000, &code);
        let summary = summarize(&code, &mut Decoder::default());
        let loads = |loads: &[i32], add| Value::Reached(0, Path::new(loads, add).unwrap());
        let args = summary.calls[0].args;
        assert_eq!(args[1..3], [loads(&[48, 128], 0), loads(&[48, 136], 0)]);
        assert_eq!(args[4..6], [Value::Arg(0), Value::Arg(3)]);
        assert_eq!(summary.stores, [loads(&[48], 128)]);
    }

    #[test]
    fn an_arm64_conditional_comparison_writes_no_register() {
        // ccmp w1,#1,#4,ne; bl
        assert_eq!(arm64(&[0x7a41_1824, 0x9400_0400])[4], Value::Arg(4));
    }
}
