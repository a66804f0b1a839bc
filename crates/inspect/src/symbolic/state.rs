//! Registers and memory on one path.

use std::ops::Range;

use super::expression::{Id, Node, Pool};
use super::flat::FlatMap;
use crate::code::{Abi, Address, Condition, Effect, Insn, Operand, Reg};

/// Most places of memory that are remembered; what is stored beyond is forgotten, and with it the path.
const MOST_PLACES: usize = 256;
/// From an address in the frame that a called function gets, so many bytes may be others afterwards. Where more
/// follows, as in arrays, it is nothing that a compiler keeps values in.
const LENT: i64 = 16;
/// Most bytes that one store is taken to write.
const WIDEST: u32 = 64;

/// An instruction and how often it was met on the path.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) address: u64,
    pub(crate) time: u8,
}

/// What a conditional copy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Copies,
    Stays,
    /// It is not known which.
    Either,
}

/// What is known at one point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    registers: [Id; 32],
    /// What was stored, by address: how many bytes, and what (`None`: not followed).
    memory: FlatMap<Place, Stored>,
    /// Whether what was compared last is equal, if that is certain.
    equal: Option<bool>,
}

impl State {
    /// All registers as at the start.
    pub(crate) fn new(pool: &mut Pool) -> Option<Self> {
        let first = pool.add(Node::Start(0))?;
        let mut state = Self { registers: [first; 32], memory: FlatMap::default(), equal: None };
        for (number, register) in state.registers.iter_mut().enumerate() {
            *register = pool.add(Node::Start(number as Reg))?;
        }
        Some(state)
    }

    pub(crate) fn get(&self, register: Reg) -> Id {
        self.registers[usize::from(register) % 32]
    }

    pub(crate) fn set(&mut self, register: Reg, value: Id) {
        self.registers[usize::from(register) % 32] = value;
    }

    /// Whether a value is anywhere, but for some registers.
    pub(crate) fn keeps(&self, value: Id, without: u32) -> bool {
        let registers = self.registers.iter().enumerate();
        registers.filter(|(number, _)| without & 1 << number == 0).any(|(_, held)| *held == value)
            || self.memory.values().any(|(_, stored)| *stored == Some(value))
    }

    /// What was stored at the address, or was there at the start.
    pub(crate) fn load(&self, pool: &mut Pool, address: Id, size: u8) -> Option<Id> {
        let (base, at) = pool.split(address);
        let range = self.memory.range(reaching(base, at, size.into()));
        match range.iter().find(|stored| overlaps(stored, at)) {
            None => pool.add(Node::Load(address, size)),
            Some(&((_, start), (stored, Some(value)))) if start == at && stored == u32::from(size) => {
                Some(value)
            }
            // Both processors are little-endian.
            Some(&((_, start), (8, Some(value)))) if start == at && size == 4 => pool.half(value),
            Some(_) => None,
        }
    }

    /// `None` if there is no room.
    pub(crate) fn store(&mut self, pool: &Pool, address: Id, size: u32, value: Option<Id>) -> Option<()> {
        let (base, at) = pool.split(address);
        if size == 0 {
            // Of unknown length: all behind it.
            self.memory.retain(|place| place.0 != base || place.1 < at);
            return Some(());
        }
        let range = self.memory.range_mut(reaching(base, at, size));
        for stored in range.iter_mut().filter(|stored| overlaps(stored, at)) {
            stored.1.1 = None;
        }
        let size = size.min(WIDEST);
        *self.memory.entry((base, at), (size, None)) = (size, value);
        (self.memory.len() <= MOST_PLACES).then_some(())
    }

    /// Executes an instruction but for where it leads; `None` if something grew too large.
    pub(crate) fn apply(&mut self, pool: &mut Pool, insn: &Insn, step: Step, choice: Choice) -> Option<()> {
        if insn.flags {
            self.equal = None;
        }
        let mut unknown = insn.writes;
        for effect in insn.effects {
            if self.do_one(pool, effect, choice)? {
                unknown &= !effect.result().map_or(0, |to| 1 << to);
            } else {
                unknown |= effect.result().map_or(0, |to| 1 << to);
            }
        }
        self.forget(pool, unknown, step)
    }

    /// What a called function leaves: the frame, but for what it was lent, and what it may not clobber.
    pub(crate) fn call(&mut self, pool: &mut Pool, abi: &Abi, step: Step) -> Option<()> {
        let (stack, frame) = (pool.add(Node::Start(abi.stack))?, pool.add(Node::Start(abi.frame))?);
        let lent: Vec<_> = abi.args.iter().map(|&register| pool.split(self.get(register))).collect();
        self.memory.retain(|&(base, at)| {
            let was_lent =
                |&(to, from): &(Id, i64)| to == base && at >= from && at.saturating_sub(from) < LENT;
            let in_frame = base == stack || base == frame && at < 0;
            in_frame && !lent.iter().any(was_lent)
        });
        self.equal = None;
        self.forget(pool, abi.clobbered, step)
    }

    fn forget(&mut self, pool: &mut Pool, registers: u32, Step { address, time }: Step) -> Option<()> {
        for register in (0..32).filter(|register| registers & 1 << register != 0) {
            self.set(register, pool.add(Node::Left { address, time, register })?);
        }
        Some(())
    }

    /// Whether the result is known.
    fn do_one(&mut self, pool: &mut Pool, effect: Effect, choice: Choice) -> Option<bool> {
        match effect {
            Effect::Other | Effect::Read { .. } => {}
            Effect::Constant { to, value } => self.set(to, pool.constant(value)?),
            Effect::Copy { to, from } => self.set(to, self.get(from)),
            Effect::CopyHalf { to, from } => self.set(to, pool.half(self.get(from))?),
            Effect::CopyIf { to, from, .. } => match choice {
                Choice::Copies => self.set(to, self.get(from)),
                Choice::Stays => {}
                Choice::Either => return Some(false),
            },
            Effect::Offset { to, base, by } => self.set(to, pool.plus(self.get(base), by)?),
            Effect::Load { to, from, size } => {
                let address = self.place(pool, from)?;
                match self.load(pool, address, size) {
                    Some(value) => self.set(to, value),
                    None => return Some(false),
                }
            }
            Effect::Store { to, size, from } => {
                let address = self.place(pool, to)?;
                let value = self.operand(pool, from, 8);
                self.store(pool, address, size, value)?;
            }
            Effect::Compare { one, other, size } => {
                let values = [one, other].map(|operand| self.operand(pool, operand, size));
                self.equal = match values {
                    [Some(one), Some(other)] => pool.equal(one, other, size),
                    _ => None,
                };
            }
        }
        Some(true)
    }

    pub(super) fn place(&self, pool: &mut Pool, address: Address) -> Option<Id> {
        let plain = match address.base {
            Some(base) => pool.plus(self.get(base), address.at)?,
            None => pool.constant(address.at as u64)?,
        };
        let Some((register, factor)) = address.index else { return Some(plain) };
        match pool.as_constant(self.get(register)) {
            Some(index) => pool.plus(plain, (index as i64).wrapping_mul(factor.into())),
            None => pool.add(Node::Somewhere(plain, self.get(register))),
        }
    }

    pub(super) fn operand(&self, pool: &mut Pool, operand: Operand, size: u8) -> Option<Id> {
        match operand {
            Operand::Register(register) => Some(self.get(register)),
            Operand::Constant(value) => pool.constant(value),
            Operand::Memory(address) => {
                let address = self.place(pool, address)?;
                self.load(pool, address, size)
            }
            Operand::Unknown => None,
        }
    }

    /// Whether a condition holds, if that is certain.
    pub(crate) fn holds(&self, pool: &mut Pool, condition: Condition) -> Option<bool> {
        match condition {
            Condition::Equal(wanted) => Some(self.equal? == wanted),
            Condition::Zero(register, size, wanted) => {
                let zero = pool.constant(0)?;
                Some(pool.equal(self.get(register), zero, size)? == wanted)
            }
            Condition::Other => None,
        }
    }
}

/// A base and what is added.
type Place = (Id, i64);

/// How many bytes, and what.
type Stored = (u32, Option<Id>);

/// Places from which something may reach `size` bytes at `at`.
fn reaching(base: Id, at: i64, size: u32) -> Range<Place> {
    (base, at.saturating_sub(WIDEST.into()))..(base, at.saturating_add(size.into()))
}

/// Whether something that starts before the end also ends behind the start.
fn overlaps(((_, start), (size, _)): &(Place, Stored), at: i64) -> bool {
    start.saturating_add((*size).into()) > at
}
