//! The instructions of one function, and which constants reach its calls.

use std::collections::{BTreeMap, BTreeSet};

use super::{Abi, Code, Decoder, Effect, Flow, Insn, Reg, Target};

/// Most instructions that are looked at to find what a register holds; more count as unknown.
const MOST_STEPS: usize = 1 << 12;

/// The instructions of a function and its pieces, in order of their addresses.
pub(crate) struct Body {
    abi: &'static Abi,
    insns: BTreeMap<u64, Insn>,
    /// From where each instruction is reached.
    before: BTreeMap<u64, Vec<u64>>,
}

/// What a register may hold: the constants, and whether there is anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Constants {
    pub(crate) values: BTreeSet<u64>,
    pub(crate) others: bool,
}

impl Constants {
    /// Nothing but this one.
    pub(crate) fn is(&self, value: u64) -> bool {
        !self.others && self.values.len() == 1 && self.values.contains(&value)
    }
}

impl Body {
    /// Reads each piece from one end to the other; the first begins with the function.
    pub(crate) fn read(pieces: &[Code], decoder: &mut Decoder) -> Option<Self> {
        let mut insns = BTreeMap::new();
        for code in pieces {
            let mut at = code.start;
            while code.contains(at) {
                let insn = code.decode(decoder, at);
                insns.extend(insn.map(|insn| (at, insn)));
                at = at.checked_add(insn.map_or(code.shortest(), |insn| u64::from(insn.len)))?;
            }
        }
        let mut body = Self { abi: pieces.first()?.abi(), insns, before: BTreeMap::new() };
        body.before = body.edges(pieces.first()?.start);
        Some(body)
    }

    /// Follows control from the start, so that code of others at the end of a piece is left out.
    fn edges(&self, start: u64) -> BTreeMap<u64, Vec<u64>> {
        let mut before = BTreeMap::from([(start, Vec::new())]);
        let mut pending = vec![start];
        while let Some(at) = pending.pop() {
            for to in self.after(at) {
                let from = before.entry(to).or_insert_with(|| {
                    pending.push(to);
                    Vec::new()
                });
                from.push(at);
            }
        }
        before
    }

    /// The instructions of the function to which control goes from one of them.
    fn after(&self, at: u64) -> impl Iterator<Item = u64> {
        let insn = self.insns.get(&at);
        let next = insn.map(|insn| at.saturating_add(u64::from(insn.len)));
        let (on, jump) = match insn.map(|insn| insn.flow) {
            Some(Flow::Next | Flow::Call(_)) => (next, None),
            Some(Flow::Branch(to, _)) => (next, Some(to)),
            Some(Flow::Jump(Target::Address(to))) => (None, Some(to)),
            Some(Flow::Jump(_) | Flow::Return | Flow::Stop) | None => (None, None),
        };
        on.into_iter().chain(jump).filter(|to| self.insns.contains_key(to))
    }

    /// Whether control gets there from the start.
    pub(crate) fn reaches(&self, at: u64) -> bool {
        self.before.contains_key(&at)
    }

    /// Whether the instruction is a call, or a jump that leaves the function.
    fn is_call(&self, insn: &Insn) -> bool {
        match insn.flow {
            Flow::Call(_) => true,
            Flow::Jump(Target::Address(to)) | Flow::Branch(to, _) => !self.insns.contains_key(&to),
            _ => false,
        }
    }

    /// Calls that may get as an argument (counted from 0) what an instruction puts into a register.
    pub(crate) fn calls_with(&self, at: u64) -> BTreeSet<(u64, usize)> {
        let mut found = BTreeSet::new();
        let result = match self.insns.get(&at).map(|insn| insn.effects[0]) {
            Some(Effect::Constant { to, .. } | Effect::Offset { to, .. }) => to,
            _ => return found,
        };
        let mut pending: Vec<_> = self.after(at).map(|next| (next, result)).collect();
        let mut seen = BTreeSet::new();
        while let Some((at, reg)) = pending.pop() {
            let Some(insn) = self.insns.get(&at) else { continue };
            if seen.len() > MOST_STEPS || !seen.insert((at, reg)) {
                continue;
            }
            if self.is_call(insn) {
                let argument = self.abi.args.iter().position(|arg| *arg == reg);
                found.extend(argument.map(|argument| (at, argument)));
            }
            let copies = insn.effects.map(|effect| match effect {
                Effect::Copy { to, from } | Effect::CopyIf { to, from, .. } if from == reg => Some(to),
                _ => None,
            });
            let kept = (self.changed(insn) & 1 << reg == 0).then_some(reg);
            for next in self.after(at) {
                pending.extend(copies.into_iter().flatten().chain(kept).map(|reg| (next, reg)));
            }
        }
        found
    }

    /// What an argument (counted from 0) of the call at an address may be: on every way there, the last that was
    /// put into its register.
    pub(crate) fn argument(&self, at: u64, index: usize) -> Constants {
        let mut found = Constants::default();
        let Some(&reg) = self.abi.args.get(index) else { return found };
        let mut pending: Vec<(u64, Reg, i64)> = vec![(at, reg, 0)];
        let mut seen = BTreeSet::new();
        while let Some((at, reg, add)) = pending.pop() {
            if !seen.insert((at, reg, add)) {
                continue;
            }
            let from = self.before.get(&at).map(Vec::as_slice).unwrap_or_default();
            // Nothing comes before the start.
            if from.is_empty() || seen.len() > MOST_STEPS {
                found.others = true;
                continue;
            }
            for &at in from {
                let Some(insn) = self.insns.get(&at) else { continue };
                // The last one counts.
                let effect = insn.effects.into_iter().rev().find(|effect| effect.result() == Some(reg));
                match effect.unwrap_or(Effect::Other) {
                    Effect::Constant { value, .. } => {
                        found.values.insert(value.wrapping_add_signed(add));
                    }
                    Effect::Copy { from, .. } | Effect::CopyHalf { from, .. } => {
                        pending.push((at, from, add));
                    }
                    Effect::Offset { base, by, .. } => {
                        pending.push((at, base, add.wrapping_add(by)));
                    }
                    _ if self.changed(insn) & 1 << reg != 0 => found.others = true,
                    _ => pending.push((at, reg, add)),
                }
            }
        }
        found
    }

    fn changed(&self, insn: &Insn) -> u32 {
        if matches!(insn.flow, Flow::Call(_)) { self.abi.clobbered } else { insn.writes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Machine;

    fn body(machine: Machine, bytes: &[u8]) -> Body {
        let code = Code::from_bytes(machine, 0x1000, bytes);
        Body::read(&[code], &mut Decoder::default()).unwrap()
    }

    /// Constants only.
    fn constants(values: &[u64]) -> Constants {
        Constants { values: values.iter().copied().collect(), others: false }
    }

    #[test]
    fn constants_reach_a_shared_call_from_all_paths() {
        // test %esi,%esi; je +0xd; mov $0xe2,%edx; lea 0x100(%rip),%rcx; jmp +0xc; mov $0xd7,%edx;
        // lea 0xf1(%rip),%rcx; mov $0x10,%edi; call; ret
        let code = b"\x85\xf6\x74\x0e\xba\xe2\x00\x00\x00\x48\x8d\x0d\x00\x01\x00\x00\xeb\x0c\
                     \xba\xd7\x00\x00\x00\x48\x8d\x0d\xf2\x00\x00\x00\xbf\x10\x00\x00\x00\
                     \xe8\x00\x01\x00\x00\xc3";
        let body = body(Machine::X86_64, code);
        for load in [0x1009, 0x1017] {
            assert_eq!(body.calls_with(load), BTreeSet::from([(0x1023, 3)]));
        }
        assert_eq!(body.argument(0x1023, 2), constants(&[0xd7, 0xe2]));
        assert_eq!(body.argument(0x1023, 3), constants(&[0x1110]));
        assert!(body.argument(0x1023, 0).is(0x10));
        // Never written: whatever the caller gave.
        assert_eq!(body.argument(0x1023, 1), Constants { others: true, ..Constants::default() });
    }

    #[test]
    fn arm64_constants_go_through_copies_and_sums() {
        // adrp x19,+0x2000; add x19,x19,#0x540; mov w1,#226; mov w20,w1; bl; add x3,x19,#0x1f0; mov w2,w20; bl; ret
        let words: Vec<u8> = [
            0xd000_0013_u32,
            0x9115_0273,
            0x5280_1c41,
            0x2a01_03f4,
            0x9400_0040,
            0x9107_c263,
            0x2a14_03e2,
            0x9400_0040,
            0xd65f_03c0,
        ]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
        let body = body(Machine::Aarch64, &words);
        assert_eq!(body.calls_with(0x1014), BTreeSet::from([(0x101c, 3)]));
        assert!(body.argument(0x101c, 2).is(226));
        assert!(body.argument(0x101c, 3).is(0x3730));
        // The first call may have changed it.
        assert_eq!(body.argument(0x101c, 1), Constants { others: true, ..Constants::default() });
    }

    #[test]
    fn what_is_behind_the_end_is_not_reached() {
        // ret; call
        let body = body(Machine::X86_64, b"\xc3\xe8\x00\x01\x00\x00");
        assert!(body.reaches(0x1000) && !body.reaches(0x1001));
    }

    #[test]
    fn a_sum_that_grows_in_a_loop_ends() {
        // mov $1,%edi; add $1,%rdi; jmp to the add, or call on the way
        let code = b"\xbf\x01\x00\x00\x00\x48\x83\xc7\x01\x74\xfa\xe8\x00\x01\x00\x00\xc3";
        assert!(body(Machine::X86_64, code).argument(0x100b, 0).others);
    }
}
