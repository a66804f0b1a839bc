//! Remarks on a message.
use std::fmt;

/// One remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The connection ended, or was lost, inside the message.
    Truncated,
    /// Bytes inside the message were lost.
    Gap,
    /// The body has an encoding that we cannot remove.
    UnknownCoding,
    /// The encoding of the body is damaged, incomplete, or not what the head says.
    BadCoding,
    /// The body decodes to more than the limit; the rest was not decoded.
    Capped,
    /// The length of the body is contradictory or its chunks are malformed; what follows is raw.
    BadFraming,
    /// We joined in the middle, and some header fields refer to what was said before.
    UnknownFields,
    /// We joined in the middle of the message: its head was not seen.
    Headless,
    /// A head, a command or a reply is longer than the limit; the rest of it is not shown.
    Cut,
    /// One side gave the message up.
    Reset,
    /// More is going on than is followed.
    Crowded,
}

/// Every note with its text, in order of its bit.
const ALL: [(Note, &str); 11] = [
    (Note::Truncated, "ends early"),
    (Note::Gap, "bytes lost inside"),
    (Note::UnknownCoding, "unknown content-encoding"),
    (Note::BadCoding, "damaged content-encoding"),
    (Note::Capped, "decoded up to the limit only"),
    (Note::BadFraming, "bad length or chunk"),
    (Note::UnknownFields, "some header fields unknown"),
    (Note::Headless, "head not seen"),
    (Note::Cut, "too long, cut"),
    (Note::Reset, "reset"),
    (Note::Crowded, "too much at once"),
];

/// A set of [`Note`]s. Prints as a comma-separated list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u16);

impl Notes {
    /// Whether there is nothing to remark.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `note` is in the set.
    pub fn contains(self, note: Note) -> bool {
        self.0 & (1 << note as u8) != 0
    }

    /// The notes in the set.
    pub fn iter(self) -> impl Iterator<Item = Note> {
        ALL.iter().map(|&(note, _)| note).filter(move |&note| self.contains(note))
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0 |= more.0;
    }

    pub(crate) fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u8;
    }
}

impl Note {
    /// A few words for a reader.
    pub fn text(self) -> &'static str {
        ALL[self as usize].1
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, note) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", note.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_the_bits() {
        for (n, &(note, _)) in ALL.iter().enumerate() {
            assert_eq!(note as usize, n);
        }
    }

    #[test]
    fn prints_a_list() {
        let mut notes = Notes::default();
        assert_eq!(notes.to_string(), "");
        notes.add(Note::Gap);
        notes.add(Note::Truncated);
        assert_eq!(notes.to_string(), "ends early, bytes lost inside");
    }
}
