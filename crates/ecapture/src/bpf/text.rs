//! The shape "command text": descriptions of hooks, and what they tell. The Rust side of `text.h`.

use std::ffi::CStr;

use serde::{Deserialize, Serialize};

use super::described::{Chain, Described, Start};
use super::event::{Fields, HEAD, Malformed};

/// Most values and texts of a hook.
pub const MOST_FIELDS: usize = 6;
const MOST_GUARDS: usize = 2;

/// What to read where a function is called or returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextHook {
    /// Comes back in [`TextEvent::point`]: what the hook is for.
    pub point: u32,
    /// Values and texts, at most [`MOST_FIELDS`].
    pub fields: Vec<Field>,
    /// All must be met, at most two; else nothing is told or kept.
    pub guards: Vec<Guard>,
    /// Only keeps values for other hooks of the thread.
    pub silent: bool,
}

/// One value or text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The way to it.
    pub at: Chain,
    /// What is taken from its end.
    pub kind: FieldKind,
    /// The slot, of four, in which the thread keeps the value.
    pub keep: Option<u8>,
}

/// What a field takes from the end of its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldKind {
    /// The value itself.
    Value = 0,
    /// Its lower four bytes: an `int`, above which a register may hold anything.
    Int = 1,
    /// Four bytes there.
    U32 = 4,
    /// Eight bytes there.
    U64 = 8,
    /// A C string there.
    Text = 16,
    /// As many bytes there as the value of the field before says.
    Sized = 17,
}

/// A condition on the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Index of the field.
    pub field: u32,
    /// Which values are wanted.
    pub values: Values,
}

/// Values that a [`Guard`] lets pass: so many of the 64 from a first one on, or all but 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    first: u64,
    /// Bit n: `first` + n passes. 0: all but 0 do.
    set: u64,
}

impl Values {
    /// All but 0.
    pub const NOT_ZERO: Self = Self { first: 0, set: 0 };

    /// ASCII characters from `@` to DEL.
    pub const fn characters(characters: &[u8]) -> Self {
        Self { first: b'@' as u64, set: set(characters) }
    }

    /// Numbers below 64.
    pub const fn numbers(numbers: &[u8]) -> Self {
        Self { first: 0, set: set(numbers) }
    }
}

const fn set(members: &[u8]) -> u64 {
    let (mut set, mut index) = (0, 0);
    while index < members.len() {
        set |= 1 << (members[index] & 63);
        index += 1;
    }
    set
}

impl TextHook {
    /// A hook that always tells its fields.
    pub fn new(point: u32, fields: Vec<Field>) -> Self {
        Self { point, fields, guards: Vec::new(), silent: false }
    }

    /// Only if this field has one of these values.
    pub fn only_if(mut self, field: u32, values: Values) -> Self {
        self.guards.push(Guard { field, values });
        self
    }

    /// Tells nothing, and only keeps values.
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// The arguments that are read.
    pub fn arguments(&self) -> impl Iterator<Item = u8> {
        self.fields.iter().filter_map(|field| match field.at.start {
            Start::Argument(number) => Some(number),
            _ => None,
        })
    }
}

impl Field {
    /// A value.
    pub fn value(start: Start) -> Self {
        Self::new(start, FieldKind::Value)
    }

    /// What is at the address that a register or argument has.
    pub fn new(start: Start, kind: FieldKind) -> Self {
        Self { at: Chain { start, loads: Vec::new(), add: 0 }, kind, keep: None }
    }

    /// Goes on from there over pointers.
    pub fn over(mut self, loads: &[i32], add: i32) -> Self {
        self.at.loads = loads.to_vec();
        self.at.add = add;
        self
    }

    /// Kept in a slot.
    pub fn kept_in(mut self, slot: u8) -> Self {
        self.keep = Some(slot);
        self
    }
}

const FIELD_LEN: usize = Chain::LEN + 8;
const GUARD_LEN: usize = 24;

impl TextHook {
    /// Bytes of `struct text_hook`.
    pub(super) const LEN: usize = MOST_FIELDS * FIELD_LEN + MOST_GUARDS * GUARD_LEN + 16;
}

impl Described for TextHook {
    const TABLE: &'static str = "text_hooks";

    fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.fields.len() > MOST_FIELDS || self.guards.len() > MOST_GUARDS {
            return None;
        }
        let mut bytes = Vec::with_capacity(Self::LEN);
        for field in &self.fields {
            bytes.extend(field.at.to_bytes()?);
            bytes.extend((field.kind as u32).to_ne_bytes());
            bytes.extend(field.keep.map_or(-1, i32::from).to_ne_bytes());
        }
        bytes.resize(MOST_FIELDS * FIELD_LEN, 0);
        for guard in &self.guards {
            bytes.extend(guard.values.first.to_ne_bytes());
            bytes.extend(guard.values.set.to_ne_bytes());
            bytes.extend(guard.field.to_ne_bytes());
            bytes.extend([0; 4]);
        }
        bytes.resize(MOST_FIELDS * FIELD_LEN + MOST_GUARDS * GUARD_LEN, 0);
        let counts = [self.fields.len() as u32, self.guards.len() as u32, self.point, u32::from(self.silent)];
        bytes.extend(counts.iter().flat_map(|count| count.to_ne_bytes()));
        Some(bytes)
    }
}

/// A record of a hook: its values, and a piece of one of its texts.
#[derive(Debug)]
pub struct TextEvent<'a> {
    /// `CLOCK_MONOTONIC` in ns.
    pub time: u64,
    /// Which of the thread's records this is, from 1.
    pub number: u64,
    /// The process, in the initial pid namespace.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Command name of the thread.
    pub comm: &'a [u8],
    /// Which hook.
    pub point: u32,
    /// No further record of this call.
    pub last: bool,
    /// What is left of the text could not be read.
    pub unreadable: bool,
    /// The field that the text belongs to.
    pub part: usize,
    /// Values; of texts, their addresses.
    pub values: [u64; MOST_FIELDS],
    /// The piece of text.
    pub text: &'a [u8],
}

pub(super) const KIND: u32 = 16;
/// Bytes of `struct text_event`.
pub(super) const EVENT_LEN: usize = HEAD + 88;
const LENGTH_AT: usize = HEAD + 36;

const LAST: u32 = 1;
const UNREADABLE: u32 = 2;

/// Bytes of a record that matter: its text may be shorter than the room that it has.
pub(super) fn used(record: &[u8]) -> usize {
    let length = record.get(LENGTH_AT..).and_then(<[u8]>::first_chunk);
    let length = length.map_or(0, |length| u32::from_ne_bytes(*length) as usize);
    EVENT_LEN.saturating_add(length).min(record.len())
}

impl<'a> TextEvent<'a> {
    /// Reads one record.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn parse(record: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(record);
        if fields.u32()? != KIND {
            return Err(Malformed);
        }
        let (tid, number, time) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let (pid, uid) = (fields.u32()?, fields.u32()?);
        let comm: &[u8; 16] = fields.bytes()?;
        let (point, flags) = (fields.u32()?, fields.u32()?);
        let (part, length) = (fields.u32()? as usize, fields.u32()? as usize);
        let mut values = [0; MOST_FIELDS];
        for value in &mut values {
            *value = fields.u64()?;
        }
        Ok(Self {
            time,
            number,
            pid,
            tid,
            uid,
            comm: CStr::from_bytes_until_nul(comm).map_or(&comm[..], CStr::to_bytes),
            point,
            last: flags & LAST != 0,
            unreadable: flags & UNREADABLE != 0,
            part,
            values,
            text: fields.0.get(..length).ok_or(Malformed)?,
        })
    }
}
