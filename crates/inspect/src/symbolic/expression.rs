//! Expressions over the registers and the memory at a start: equal ones have equal numbers.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::code::Reg;
use crate::place::Path;

/// Most expressions of one exploration.
const MOST: usize = 1 << 15;

/// An expression, by its number in a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u32);

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Constant(u64),
    /// What the register held at the start.
    Start(Reg),
    /// Never 0 more, and never of a constant or of another sum.
    Plus(Id, i64),
    /// So many bytes, extended, that were at the address at the start.
    Load(Id, u8),
    /// The lower half, extended.
    Half(Id),
    /// The first moved by the second, times something.
    Somewhere(Id, Id),
    /// What the instruction at the address, at its n-th time on the path, left in the register.
    Left {
        address: u64,
        time: u8,
        register: Reg,
    },
}

/// All expressions of one exploration.
#[derive(Default)]
pub(crate) struct Pool {
    nodes: Vec<Node>,
    numbers: HashMap<Node, Id, RandomState>,
}

impl Pool {
    /// `None` if there are too many.
    pub(crate) fn add(&mut self, node: Node) -> Option<Id> {
        if let Some(&id) = self.numbers.get(&node) {
            return Some(id);
        }
        let id = Id(self.nodes.len() as u32);
        if self.nodes.len() >= MOST {
            return None;
        }
        self.nodes.push(node);
        self.numbers.insert(node, id);
        Some(id)
    }

    pub(crate) fn constant(&mut self, value: u64) -> Option<Id> {
        self.add(Node::Constant(value))
    }

    pub(crate) fn plus(&mut self, id: Id, by: i64) -> Option<Id> {
        match self.node(id) {
            Node::Constant(value) => self.constant(value.wrapping_add_signed(by)),
            Node::Plus(base, before) => match before.wrapping_add(by) {
                0 => Some(base),
                by => self.add(Node::Plus(base, by)),
            },
            _ if by == 0 => Some(id),
            _ => self.add(Node::Plus(id, by)),
        }
    }

    pub(crate) fn half(&mut self, id: Id) -> Option<Id> {
        match self.node(id) {
            Node::Constant(value) => self.constant(value & 0xffff_ffff),
            Node::Half(_) | Node::Load(_, 1..=4) => Some(id),
            _ => self.add(Node::Half(id)),
        }
    }

    /// The expression itself; every [`Id`] comes from this pool.
    pub(crate) fn node(&self, id: Id) -> Node {
        self.nodes.get(id.0 as usize).copied().unwrap_or(Node::Constant(0))
    }

    pub(crate) fn as_constant(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the lower `size` bytes of two values are equal, if that is certain.
    pub(crate) fn equal(&self, one: Id, other: Id, size: u8) -> Option<bool> {
        match (self.node(one), self.node(other)) {
            (Node::Constant(one), Node::Constant(other)) if size == 4 => Some(one as u32 == other as u32),
            (Node::Constant(one), Node::Constant(other)) => Some(one == other),
            _ if one == other => Some(true),
            _ => {
                let (one, other) = (self.split(one), self.split(other));
                (size == 8 && one.0 == other.0).then_some(one.1 == other.1)
            }
        }
    }

    /// An address as a base and what is added.
    pub(crate) fn split(&self, id: Id) -> (Id, i64) {
        match self.node(id) {
            Node::Plus(base, by) => (base, by),
            _ => (id, 0),
        }
    }

    /// The way to `id` from `start`: pointers that are loaded, then what is added.
    pub(crate) fn path(&self, start: Id, id: Id) -> Option<Path> {
        let (mut loads, mut rest) = (Vec::new(), id);
        let (start_base, start_by) = self.split(start);
        let mut add = None;
        for _ in 0..=crate::place::MOST_LOADS {
            let (base, by) = self.split(rest);
            let reached = base == start_base;
            let by = i32::try_from(if reached { by.checked_sub(start_by)? } else { by }).ok()?;
            match add {
                None => add = Some(by),
                Some(_) => loads.push(by),
            }
            if reached {
                loads.reverse();
                return Path::new(&loads, add?);
            }
            let Node::Load(address, 8) = self.node(base) else { return None };
            rest = address;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_are_one() {
        let mut pool = Pool::default();
        let start = pool.add(Node::Start(7)).unwrap();
        let up = pool.plus(start, 24).unwrap();
        assert_eq!(pool.plus(up, -24), Some(start));
        assert_eq!(pool.plus(start, 24), Some(up));
    }

    #[test]
    fn a_path_has_its_loads_in_order() {
        let mut pool = Pool::default();
        let start = pool.add(Node::Start(7)).unwrap();
        let mut at = start;
        for offset in [8, 0, 16] {
            let address = pool.plus(at, offset).unwrap();
            at = pool.add(Node::Load(address, 8)).unwrap();
        }
        let end = pool.plus(at, 20).unwrap();
        assert_eq!(pool.path(start, end), Path::new(&[8, 0, 16], 20));
        assert_eq!(pool.path(start, start), Some(Path::HERE));
        assert_eq!(pool.path(end, start), None);
        let deeper = pool.add(Node::Load(end, 8)).unwrap();
        assert_eq!(pool.path(start, deeper), None);
    }
}
