//! Forward data flow through one function: which calls it makes and where its own arguments are then.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
pub(crate) use super::state::Value;
use super::{Code, Decoder, Flow, Insn, MOST_ARGS, Target};

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
            Flow::Branch(to) => {
                self.jump(to, &state);
                self.go(next, &state);
            }
            Flow::Jump(Target::Address(to)) => self.jump(to, &state),
            Flow::Jump(_) | Flow::Stop => {}
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
            let target = match insn.map(|insn| insn.flow) {
                Some(Flow::Call(target)) => target,
                Some(Flow::Branch(to)) if !self.code.contains(to) => Target::Address(to),
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

/// Where the direct calls and jumps in `code` go, read from one end to the other: also sees what only a
/// computed jump reaches, but cannot say when it happens.
pub(crate) fn swept_targets(code: &Code, decoder: &mut Decoder) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut at = code.start;
    while code.contains(at) {
        let insn = code.decode(decoder, at);
        match insn.map(|insn| insn.flow) {
            Some(Flow::Call(target) | Flow::Jump(target)) => targets.push(target),
            Some(Flow::Branch(to)) => targets.push(Target::Address(to)),
            _ => {}
        }
        at = at.saturating_add(insn.map_or(code.shortest(), |insn| u64::from(insn.len)));
    }
    targets
}
