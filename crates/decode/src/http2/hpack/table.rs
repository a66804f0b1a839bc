//! The dynamic table of one direction (RFC 7541, 2.3.2), as far as it was seen.
use std::collections::VecDeque;

use super::fixed::STATIC;
use super::{Field, Name};

/// What an entry counts beside its bytes (RFC 7541, 4.1).
const OVERHEAD: usize = 32;
/// The size with which every connection begins.
const INITIAL: usize = 4096;
/// The largest table that is kept; of a larger one the oldest entries are unknown.
const MOST: usize = 64 << 10;

/// Both tables under one index. Entries are counted from the newest, so those from before we joined, or
/// lost in a gap, do not shift the others: they are unknown, and nothing else is.
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

struct Entry {
    /// Name and value.
    text: Box<[u8]>,
    /// Bytes of the name; `None` if it came from an unknown entry.
    name: Option<usize>,
}

impl Table {
    /// At the start of a connection.
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: INITIAL }
    }

    /// In the middle of one: nobody knows the size, and none is needed to count from the newest entry.
    pub fn unknown() -> Self {
        Self { max: MOST, ..Self::new() }
    }

    /// The field at `index`, which is not 0.
    pub fn get(&self, index: usize) -> Field<'_> {
        if let Some(&(name, value)) = STATIC.get(index - 1) {
            return Field { name: Some(name.as_bytes()), value: Some(value.as_bytes()) };
        }
        match self.entries.get(index - 1 - STATIC.len()) {
            Some(Entry { text, name: Some(name) }) => {
                let (name, value) = text.split_at(*name);
                Field { name: Some(name), value: Some(value) }
            }
            Some(Entry { text, name: None }) => Field { name: None, value: Some(text) },
            None => Field { name: None, value: None },
        }
    }

    pub fn insert(&mut self, name: Name<'_>, value: &[u8]) {
        let known = name.unwrap_or_default();
        let size = known.len() + value.len() + OVERHEAD;
        self.shrink(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries
                .push_front(Entry { text: [known, value].concat().into(), name: name.map(<[u8]>::len) });
        }
    }

    /// The sender chose another size.
    pub fn resize(&mut self, max: usize) {
        self.max = max.min(MOST);
        self.shrink(self.max);
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        let text = self.size - self.entries.len() * OVERHEAD;
        text + self.entries.capacity() * size_of::<Entry>()
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Drops the oldest entries until at most `size` is left.
    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.text.len() + OVERHEAD;
        }
    }
}
