//! What the registers and the stack frame of a function are known to hold.

use std::collections::BTreeMap;

use super::{Abi, Address, Effect, Flow, Insn, Operand, Reg};
use crate::place::Path;

/// Most stack slots that are remembered.
const MOST_SLOTS: usize = 64;

/// What a register or stack slot holds on every path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The function's own argument (counted from 0), unchanged.
    Arg(u8),
    /// The lower half of that argument, extended: an `int` made a `size_t`.
    Half(u8),
    /// An address in the function's own stack frame: the stack pointer at its start plus this.
    Frame(i64),
    /// What was reached from an argument at some time: a field, or a pointer that was loaded from one.
    Reached(u8, Path),
    Unknown,
}

impl Value {
    fn half(self) -> Self {
        match self {
            Self::Arg(index) | Self::Half(index) => Self::Half(index),
            Self::Frame(_) | Self::Reached(..) | Self::Unknown => Self::Unknown,
        }
    }

    /// What holds for both: the whole argument on one path and its half on another is its half.
    fn join(self, other: Self) -> Self {
        if self == other {
            self
        } else if self.half() == other.half() {
            self.half()
        } else {
            Self::Unknown
        }
    }

    pub(super) fn plus(self, by: i64) -> Self {
        let reached = |arg, path: Path| {
            let add = i64::from(path.add()).checked_add(by)?;
            Some(Self::Reached(arg, Path::new(path.loads(), i32::try_from(add).ok()?)?))
        };
        match self {
            same if by == 0 => same,
            Self::Frame(at) => at.checked_add(by).map_or(Self::Unknown, Self::Frame),
            Self::Arg(arg) => reached(arg, Path::HERE).unwrap_or(Self::Unknown),
            Self::Reached(arg, path) => reached(arg, path).unwrap_or(Self::Unknown),
            Self::Half(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// The pointer that is stored there.
    fn pointer(self) -> Self {
        let (arg, path) = match self {
            Self::Arg(arg) => (arg, Path::HERE),
            Self::Reached(arg, path) => (arg, path),
            _ => return Self::Unknown,
        };
        let loads = [path.loads(), &[path.add()]].concat();
        Path::new(&loads, 0).map_or(Self::Unknown, |path| Self::Reached(arg, path))
    }
}

/// Registers and stack slots at one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    regs: [Value; 32],
    /// Stored values by position in the frame, with their size.
    slots: BTreeMap<i64, (u32, Value)>,
    /// From here upwards others may have got an address into the frame and change it at will.
    escaped: i64,
}

impl State {
    pub(crate) fn at_entry(abi: &Abi) -> Self {
        let mut state = Self { regs: [Value::Unknown; 32], slots: BTreeMap::new(), escaped: i64::MAX };
        for (index, &reg) in abi.args.iter().enumerate() {
            state.set(reg, Value::Arg(index as u8));
        }
        state.set(abi.stack, Value::Frame(0));
        state
    }

    pub(crate) fn get(&self, reg: Reg) -> Value {
        self.regs[usize::from(reg) % 32]
    }

    fn set(&mut self, reg: Reg, value: Value) {
        self.regs[usize::from(reg) % 32] = value;
    }

    /// Keeps only what also holds in `other`; whether anything was lost.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let before = (self.regs, self.slots.len(), self.escaped);
        for (own, others) in self.regs.iter_mut().zip(&other.regs) {
            *own = own.join(*others);
        }
        self.slots.retain(|at, slot| other.slots.get(at) == Some(slot));
        self.escape(other.escaped);
        before != (self.regs, self.slots.len(), self.escaped)
    }

    pub(crate) fn apply(&mut self, insn: &Insn, abi: &Abi) {
        let called = matches!(insn.flow, Flow::Call(_));
        if called {
            let passed: Vec<_> = abi.args.iter().map(|&reg| self.get(reg)).collect();
            passed.into_iter().for_each(|value| self.expose(value));
        }
        // A called function gives the stack pointer back as it was.
        let mut unknown = if called { abi.clobbered } else { insn.writes };
        for effect in insn.effects {
            self.do_one(effect);
            unknown &= !effect.result().map_or(0, |to| 1 << to);
        }
        for (reg, value) in self.regs.iter_mut().enumerate() {
            if unknown & (1 << reg) != 0 {
                *value = Value::Unknown;
            }
        }
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::Other | Effect::Read { .. } | Effect::Compare { .. } => {}
            Effect::Constant { to, .. } => self.set(to, Value::Unknown),
            Effect::Copy { to, from } => self.set(to, self.get(from)),
            Effect::CopyHalf { to, from } => self.set(to, self.get(from).half()),
            Effect::CopyIf { to, from, .. } => self.set(to, self.get(to).join(self.get(from))),
            Effect::Offset { to, base, by } => self.set(to, self.get(base).plus(by)),
            Effect::Load { to, from, size } => self.set(to, self.load(self.place(from), size.into())),
            Effect::Store { to, size, from } => {
                let value = match from {
                    Operand::Register(from) => self.get(from),
                    _ => Value::Unknown,
                };
                self.store(self.place(to), size, value);
            }
        }
    }

    pub(super) fn place(&self, address: Address) -> Value {
        match address {
            Address { base: Some(base), at, index: None } => self.get(base).plus(at),
            _ => Value::Unknown,
        }
    }

    fn load(&self, place: Value, size: u32) -> Value {
        let Value::Frame(at) = place else {
            return if size == 8 { place.pointer() } else { Value::Unknown };
        };
        match (self.slots.get(&at), size) {
            (Some(&(8, value)), 8) => value,
            // Half of what was stored is half of the argument: both processors are little-endian.
            (Some(&(4 | 8, value)), 4) => value.half(),
            _ => Value::Unknown,
        }
    }

    fn store(&mut self, place: Value, size: u32, value: Value) {
        let Value::Frame(at) = place else {
            // Somewhere else: the frame is not touched unless its address is given away.
            self.expose(value);
            return;
        };
        if size == 0 {
            // Of unknown length.
            self.slots.split_off(&at.saturating_sub(8));
            return;
        }
        let end = at.saturating_add(i64::from(size));
        self.slots.retain(|&start, slot| start >= end || start.saturating_add(i64::from(slot.0)) <= at);
        let kept = if size == 4 { value.half() } else { value };
        if (size == 4 || size == 8)
            && end <= self.escaped
            && self.slots.len() < MOST_SLOTS
            && kept != Value::Unknown
        {
            self.slots.insert(at, (size, kept));
        }
    }

    /// An address into the frame leaves the function's own hands.
    fn expose(&mut self, value: Value) {
        if let Value::Frame(at) = value {
            self.escape(at);
        }
    }

    fn escape(&mut self, from: i64) {
        self.escaped = self.escaped.min(from);
        let escaped = self.escaped;
        self.slots.retain(|at, slot| at.saturating_add(i64::from(slot.0)) <= escaped);
    }
}
