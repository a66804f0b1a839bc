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
            Some(Flow::Branch(to)) => (next, Some(to)),
            Some(Flow::Jump(Target::Address(to))) => (None, Some(to)),
            Some(Flow::Jump(_) | Flow::Stop) | None => (None, None),
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
            Flow::Jump(Target::Address(to)) | Flow::Branch(to) => !self.insns.contains_key(&to),
            _ => false,
        }
    }

    /// Calls that may get as an argument (counted from 0) what an instruction puts into a register.
    pub(crate) fn calls_with(&self, at: u64) -> BTreeSet<(u64, usize)> {
        let mut found = BTreeSet::new();
        let result = match self.insns.get(&at).map(|insn| insn.effect) {
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
            let copy = match insn.effect {
                Effect::Copy { to, from } if from == reg => Some(to),
                _ => None,
            };
            let kept = (self.changed(insn) & 1 << reg == 0).then_some(reg);
            for next in self.after(at) {
                pending.extend(copy.into_iter().chain(kept).map(|reg| (next, reg)));
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
                match insn.effect {
                    Effect::Constant { to, value } if to == reg => {
                        found.values.insert(value.wrapping_add_signed(add));
                    }
                    Effect::Copy { to, from } | Effect::CopyHalf { to, from } if to == reg => {
                        pending.push((at, from, add));
                    }
                    Effect::Offset { to, base, by } if to == reg => {
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
