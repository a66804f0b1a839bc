//! Runs code forward on all paths, within bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use foldhash::fast::RandomState;

use super::expression::{Id, Pool};
use super::flat::FlatMap;
use super::state::{Choice, State, Step};
use crate::code::{Code, Condition, Decoder, Effect, Flow, Insn, Target};

/// Most paths, instructions on all of them, and times that one path comes to the same instruction.
const MOST_PATHS: usize = 256;
const MOST_STEPS: usize = 1 << 13;
/// Most instructions until one way to a goal is found.
const MOST_STEPS_TO_GOAL: usize = 1 << 11;
const MOST_TIMES: u8 = 64;
/// How often a path is taken in two at the same instruction.
const MOST_FORKS: u8 = 2;

/// What is met on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call at the address.
    Call {
        at: u64,
        target: Target,
    },
    /// A jump out of the function, as the last call of it; or, if it is conditional, to a piece of the
    /// function that was moved away.
    Leave {
        at: u64,
        target: Target,
        conditional: bool,
    },
    /// So many bytes are read at the address.
    Read {
        from: Id,
        size: u8,
    },
    /// Something is stored at the address; `None` if it is not followed.
    Store {
        to: Id,
        value: Option<Id>,
    },
    Return,
}

/// Whether to go on on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    End,
}

/// Explores one function.
pub(crate) struct Explorer<'c, 'd> {
    code: &'c Code,
    /// The function: what is outside is left by jumps.
    extent: Range<u64>,
    decoder: &'d mut Decoder,
    pub(crate) pool: Pool,
    decoded: HashMap<u64, Option<Insn>, RandomState>,
    steps: usize,
    goal: Option<Goal>,
}

/// Where all paths end.
struct Goal {
    at: u64,
    /// Instructions from which control can get there.
    leading: BTreeSet<u64>,
    arrived: Option<State>,
}

impl Goal {
    /// Whether to go on; takes the state of a path that is there.
    fn passes(&mut self, way: &Way) -> bool {
        if way.at == self.at {
            self.arrived = Some(way.state.clone());
        }
        way.at != self.at && self.leading.contains(&way.at)
    }
}

#[derive(Clone)]
struct Way {
    at: u64,
    state: State,
    times: FlatMap<u64, u8>,
}

/// Where paths meet, and what was known there.
type Seen = HashSet<(u64, State), RandomState>;

impl<'c, 'd> Explorer<'c, 'd> {
    pub(crate) fn new(code: &'c Code, extent: Range<u64>, decoder: &'d mut Decoder) -> Self {
        Self {
            code,
            extent,
            decoder,
            pool: Pool::default(),
            decoded: HashMap::default(),
            steps: 0,
            goal: None,
        }
    }

    /// Calls `meet` for what is met on all paths from an address on; whether all of them were seen.
    pub(crate) fn explore(
        &mut self,
        start: u64,
        state: State,
        mut meet: impl FnMut(&mut Pool, &State, Event) -> Next,
    ) -> bool {
        let mut pending = vec![Way { at: start, state, times: FlatMap::default() }];
        let (mut seen, mut paths, mut complete) = (Seen::default(), 0, true);
        while let Some(way) = pending.pop() {
            paths += 1;
            let arrived = self.goal.as_ref().is_some_and(|goal| goal.arrived.is_some());
            if paths > MOST_PATHS || arrived {
                return false;
            }
            complete &= self.follow(way, &mut pending, &mut seen, &mut meet).is_some();
        }
        complete
    }

    /// Follows one path to its end; leaves those that branch off pending. `None` if it is cut short.
    fn follow(
        &mut self,
        mut way: Way,
        pending: &mut Vec<Way>,
        seen: &mut Seen,
        meet: &mut impl FnMut(&mut Pool, &State, Event) -> Next,
    ) -> Option<()> {
        loop {
            self.steps += 1;
            let most = if self.goal.is_some() { MOST_STEPS_TO_GOAL } else { MOST_STEPS };
            if self.steps > most {
                return None;
            }
            if self.goal.as_mut().is_some_and(|goal| !goal.passes(&way)) {
                return Some(());
            }
            let Some(insn) = self.decode(way.at) else { return Some(()) };
            let time = way.times.entry(way.at, 0);
            if *time >= MOST_TIMES {
                return Some(());
            }
            *time += 1;
            let step = Step { address: way.at, time: *time };
            if let Some(access) = self.access(&way.state, &insn) {
                meet(&mut self.pool, &way.state, access);
            }
            let next = way.at.wrapping_add(u64::from(insn.len));
            if let Some(condition) = copy_condition(&insn) {
                let holds = way.state.holds(&mut self.pool, condition);
                if holds.is_none() && step.time <= MOST_FORKS {
                    let mut other = way.clone();
                    other.state.apply(&mut self.pool, &insn, step, Choice::Stays)?;
                    other.at = next;
                    pending.push(other);
                }
                let choice = match holds {
                    Some(false) => Choice::Stays,
                    None if step.time > MOST_FORKS => Choice::Either,
                    _ => Choice::Copies,
                };
                way.state.apply(&mut self.pool, &insn, step, choice)?;
                way.at = next;
                continue;
            }
            if insn.flow == Flow::Next {
                way.state.apply(&mut self.pool, &insn, step, Choice::Either)?;
                way.at = next;
                continue;
            }
            let before = way.state.clone();
            way.state.apply(&mut self.pool, &insn, step, Choice::Either)?;
            let at = way.at;
            match insn.flow {
                Flow::Next => {}
                Flow::Call(target) => {
                    if meet(&mut self.pool, &before, Event::Call { at, target }) == Next::End {
                        return Some(());
                    }
                    way.state = before;
                    way.state.call(&mut self.pool, self.code.abi(), step)?;
                    way.at = next;
                }
                Flow::Branch(to, condition) => {
                    let holds = before.holds(&mut self.pool, condition);
                    // As many ways out of loops are known by now.
                    if holds.is_none() && step.time > MOST_FORKS {
                        way.at = next;
                        continue;
                    }
                    if holds != Some(false) && !self.extent.contains(&to) {
                        let leave = Event::Leave { at, target: Target::Address(to), conditional: true };
                        meet(&mut self.pool, &before, leave);
                    } else if holds != Some(false) && seen.insert((to, way.state.clone())) {
                        pending.push(Way { at: to, ..way.clone() });
                    }
                    if holds == Some(true) {
                        return Some(());
                    }
                    way.at = next;
                }
                Flow::Jump(Target::Address(to)) if self.extent.contains(&to) => {
                    if !seen.insert((to, way.state.clone())) {
                        return Some(());
                    }
                    way.at = to;
                }
                Flow::Jump(target) => {
                    meet(&mut self.pool, &before, Event::Leave { at, target, conditional: false });
                    return Some(());
                }
                Flow::Return => {
                    meet(&mut self.pool, &before, Event::Return);
                    return Some(());
                }
                Flow::Stop => return Some(()),
            }
        }
    }

    /// What is known where control gets to an instruction from the start of the function, on one of the ways there;
    /// calls `meet` for what is met on the ways.
    pub(crate) fn arrive(
        &mut self,
        at: u64,
        meet: impl FnMut(&mut Pool, &State, Event) -> Next,
    ) -> Option<State> {
        let state = State::new(&mut self.pool)?;
        self.goal = Some(Goal { at, leading: self.leading_to(at), arrived: None });
        self.explore(self.extent.start, state, meet);
        self.steps = 0;
        self.goal.take()?.arrived
    }

    fn leading_to(&mut self, goal: u64) -> BTreeSet<u64> {
        let mut before: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut at = self.extent.start;
        while self.code.contains(at) && self.extent.contains(&at) {
            let insn = self.decode(at);
            let next = at.saturating_add(insn.map_or(self.code.shortest(), |insn| u64::from(insn.len)));
            let (on, jump) = match insn.map(|insn| insn.flow) {
                Some(Flow::Next | Flow::Call(_)) => (Some(next), None),
                Some(Flow::Branch(to, _)) => (Some(next), Some(to)),
                Some(Flow::Jump(Target::Address(to))) => (None, Some(to)),
                Some(Flow::Jump(_) | Flow::Return | Flow::Stop) | None => (None, None),
            };
            for to in on.into_iter().chain(jump) {
                before.entry(to).or_default().push(at);
            }
            at = next;
        }
        let (mut leading, mut pending) = (BTreeSet::new(), vec![goal]);
        while let Some(at) = pending.pop() {
            pending.extend(before.get(&at).into_iter().flatten().filter(|from| leading.insert(**from)));
        }
        leading
    }

    /// Executes instructions one after the other, whatever their jumps.
    pub(crate) fn sweep(&mut self, insns: &[(u64, Insn)], state: &mut State) -> Option<()> {
        for (address, insn) in insns {
            let step = Step { address: *address, time: 0 };
            match insn.flow {
                Flow::Call(_) => state.call(&mut self.pool, self.code.abi(), step)?,
                _ => state.apply(&mut self.pool, insn, step, Choice::Either)?,
            }
        }
        Some(())
    }

    fn decode(&mut self, at: u64) -> Option<Insn> {
        if !self.extent.contains(&at) {
            return None;
        }
        *self.decoded.entry(at).or_insert_with(|| self.code.decode(self.decoder, at))
    }

    fn access(&mut self, state: &State, insn: &Insn) -> Option<Event> {
        match insn.effects[0] {
            Effect::Read { from, size } | Effect::Load { from, size, .. } => {
                Some(Event::Read { from: state.place(&mut self.pool, from)?, size })
            }
            Effect::Store { to, size, from } if size != 0 => {
                let to = state.place(&mut self.pool, to)?;
                Some(Event::Store { to, value: state.operand(&mut self.pool, from, 8) })
            }
            _ => None,
        }
    }
}

fn copy_condition(insn: &Insn) -> Option<Condition> {
    insn.effects.iter().find_map(|effect| match effect {
        Effect::CopyIf { condition, .. } => Some(*condition),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Machine;
    use crate::place::Path;
    use crate::symbolic::Node;

    const START: u64 = 0x1000;

    /// What `meet` says of all that is met.
    fn met<T>(
        machine: Machine,
        code: &[u8],
        mut meet: impl FnMut(&mut Pool, &State, Event) -> Option<T>,
    ) -> Vec<T> {
        let code = Code::from_bytes(machine, START, code);
        let mut decoder = Decoder::default();
        let mut explorer = Explorer::new(&code, START..START + code.bytes.len() as u64, &mut decoder);
        let state = State::new(&mut explorer.pool).unwrap();
        let mut found = Vec::new();
        assert!(explorer.explore(START, state, |pool, state, event| {
            found.extend(meet(pool, state, event));
            Next::Go
        }));
        found
    }

    /// For all calls, the way from the first argument of the code to an argument of the call.
    fn ways(machine: Machine, code: &[u8], to: usize) -> Vec<Option<Path>> {
        let args = machine.abi().args;
        met(machine, code, |pool, state, event| {
            let own = pool.add(Node::Start(args[0]))?;
            let is_call = matches!(event, Event::Call { .. } | Event::Leave { .. });
            is_call.then(|| pool.path(own, state.get(args[to])))
        })
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_spilled_argument_is_known_after_a_call() {
        // sub $0x18,%rsp; mov %rdi,8(%rsp); call; mov 8(%rsp),%rax; mov 0xa8(%rax),%rsi; add $0xb8,%rsi; call
        let code = b"\x48\x83\xec\x18\x48\x89\x7c\x24\x08\xe8\x00\x10\x00\x00\x48\x8b\x44\x24\x08\
                     \x48\x8b\xb0\xa8\x00\x00\x00\x48\x81\xc6\xb8\x00\x00\x00\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(ways(Machine::X86_64, code, 1), [None, Path::new(&[0xa8], 0xb8)]);
        // stp x29,x30,[sp,#-32]!; str x0,[sp,#16]; bl; ldr x8,[sp,#16]; ldr x1,[x8,#0xa8]; add x1,x1,#0xb8; bl; ret
        let code = words(&[
            0xa9be_7bfd,
            0xf900_0be0,
            0x9400_0400,
            0xf940_0be8,
            0xf940_5501,
            0x9102_e021,
            0x9400_0400,
            0xd65f_03c0,
        ]);
        assert_eq!(ways(Machine::Aarch64, &code, 1), [None, Path::new(&[0xa8], 0xb8)]);
    }

    #[test]
    fn a_slot_whose_address_is_given_away_is_forgotten() {
        // sub $0x18,%rsp; mov %rdi,8(%rsp); lea 8(%rsp),%rsi; call; mov 8(%rsp),%rsi; call
        let code = b"\x48\x83\xec\x18\x48\x89\x7c\x24\x08\x48\x8d\x74\x24\x08\xe8\x00\x10\x00\x00\
                     \x48\x8b\x74\x24\x08\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(ways(Machine::X86_64, code, 1), [None, None]);
    }

    #[test]
    fn both_ways_of_a_branch_and_of_a_conditional_copy_are_followed() {
        // test %esi,%esi; lea 8(%rdi),%rsi; je +4; lea 16(%rdi),%rsi; call
        let code = b"\x85\xf6\x48\x8d\x77\x08\x74\x04\x48\x8d\x77\x10\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(ways(Machine::X86_64, code, 1), [Some(Path::plus(16)), Some(Path::plus(8))]);
        // lea 8(%rdi),%rax; lea 16(%rdi),%rsi; test %edx,%edx; cmovne %rax,%rsi; call
        let code = b"\x48\x8d\x47\x08\x48\x8d\x77\x10\x85\xd2\x48\x0f\x45\xf0\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(ways(Machine::X86_64, code, 1), [Some(Path::plus(8)), Some(Path::plus(16))]);
        // add x8,x0,#8; add x9,x0,#16; cmp w2,#0; csel x1,x8,x9,ne; b
        let code = words(&[0x9100_2008, 0x9100_4009, 0x7100_005f, 0x9a89_1101, 0x1400_0400]);
        assert_eq!(ways(Machine::Aarch64, &code, 1), [Some(Path::plus(8)), Some(Path::plus(16))]);
    }

    #[test]
    fn what_is_stored_decides_branches() {
        // movl $0,(%rdi); cmpl $0,(%rdi); jne +4; lea 8(%rdi),%rsi; call
        let code = b"\xc7\x07\x00\x00\x00\x00\x83\x3f\x00\x75\x04\x48\x8d\x77\x08\xe8\x00\x10\x00\x00\xc3";
        assert_eq!(ways(Machine::X86_64, code, 1), [Some(Path::plus(8))]);
        // str wzr,[x0]; ldr w8,[x0]; cbnz w8,+8; add x1,x0,#8; b
        let code = words(&[0xb900_001f, 0xb940_0008, 0x3500_0048, 0x9100_2001, 0x1400_0400]);
        assert_eq!(ways(Machine::Aarch64, &code, 1), [Some(Path::plus(8))]);
    }

    /// How many different bytes are read behind the first argument.
    fn bytes_read(machine: Machine, code: &[u8]) -> usize {
        let mut read = met(machine, code, |pool, _, event| {
            let own = pool.add(Node::Start(machine.abi().args[0]))?;
            match event {
                Event::Read { from, size: 1 } => pool.path(own, from),
                _ => None,
            }
        });
        read.sort_unstable();
        read.dedup();
        read.len()
    }

    #[test]
    fn a_loop_that_counts_to_a_constant_is_run() {
        // xor %eax,%eax; movzbl 0x30(%rdi,%rax),%ecx; inc %rax; cmp $0x20,%rax; jne; ret
        let code = b"\x31\xc0\x0f\xb6\x4c\x07\x30\x48\xff\xc0\x48\x83\xf8\x20\x75\xf2\xc3";
        assert_eq!(bytes_read(Machine::X86_64, code), 32);
        // mov x8,xzr; ldrb w9,[x0,x8]; add x8,x8,#1; cmp x8,#32; b.ne; ret
        let code = words(&[0xaa1f_03e8, 0x3868_6809, 0x9100_0508, 0xf100_811f, 0x54ff_ffa1, 0xd65f_03c0]);
        assert_eq!(bytes_read(Machine::Aarch64, &code), 32);
    }

    #[test]
    fn endless_loops_and_bytes_that_are_no_code_end() {
        // jmp to itself; a loop with an unknown end: dec %rdi; jne; ret
        for code in [b"\xeb\xfe".as_slice(), b"\x48\xff\xcf\x75\xfb\xc3", &[0xff; 64], &[0x06; 64]] {
            met(Machine::X86_64, code, |_, _, _| Some(()));
        }
        // b to itself; undefined words
        for code in [words(&[0x1400_0000]), words(&[0; 16]), words(&[0xffff_ffff; 16])] {
            met(Machine::Aarch64, &code, |_, _, _| Some(()));
        }
    }

    #[test]
    fn one_way_to_an_instruction_is_found() {
        // test %esi,%esi; je +5; add $8,%rdi; ret; lea 16(%rdi),%rsi; call
        let bytes = b"\x85\xf6\x74\x05\x48\x83\xc7\x08\xc3\x48\x8d\x77\x10\xe8\x00\x10\x00\x00";
        let code = Code::from_bytes(Machine::X86_64, START, bytes);
        let mut decoder = Decoder::default();
        let mut explorer = Explorer::new(&code, START..START + bytes.len() as u64, &mut decoder);
        let state = explorer.arrive(START + 13, |_, _, _| Next::Go).unwrap();
        let own = explorer.pool.add(Node::Start(7)).unwrap();
        assert_eq!(explorer.pool.path(own, state.get(6)), Some(Path::plus(16)));
        assert!(explorer.arrive(START + 1, |_, _, _| Next::Go).is_none());
    }
}
