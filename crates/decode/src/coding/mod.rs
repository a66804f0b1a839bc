//! Content codings: their names, and their removal.
mod brotli;
mod decoder;
mod deflate;
mod gzip;
mod zstd;

use std::fmt;

pub(crate) use self::decoder::Decoder;
pub(crate) use self::deflate::INFLATE;

/// An encoding of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, RFC 1952.
    Gzip,
    /// `deflate`: zlib (RFC 1950), or bare deflate (RFC 1951), which servers send and browsers take too.
    Deflate,
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878.
    Zstd,
    /// Anything else.
    #[default]
    Unknown,
}

/// Every name on the wire, in lower case.
const NAMES: [(&str, Coding); 5] = [
    ("gzip", Coding::Gzip),
    ("x-gzip", Coding::Gzip),
    ("deflate", Coding::Deflate),
    ("br", Coding::Brotli),
    ("zstd", Coding::Zstd),
];

/// Encodings kept per message. Nobody stacks more but to burn the time of a decoder.
const MOST: usize = 4;

/// Encodings in the order in which they were applied. More than four, and the last is [`Coding::Unknown`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Codings {
    list: [Coding; MOST],
    len: u8,
}

impl Codings {
    /// The encodings.
    pub fn as_slice(&self) -> &[Coding] {
        &self.list[..usize::from(self.len)]
    }

    /// Whether the body is not encoded.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One that is not removed, whatever it is.
    pub(crate) fn unknown() -> Self {
        Self { len: 1, ..Self::default() }
    }

    pub(crate) fn add(&mut self, token: &[u8]) {
        if !token.eq_ignore_ascii_case(b"identity") {
            let named = NAMES.iter().find(|(name, _)| token.eq_ignore_ascii_case(name.as_bytes()));
            self.push(named.map_or(Coding::Unknown, |&(_, coding)| coding));
        }
    }

    pub(crate) fn extend(&mut self, more: Self) {
        more.as_slice().iter().for_each(|&coding| self.push(coding));
    }

    fn push(&mut self, coding: Coding) {
        match self.list.get_mut(usize::from(self.len)) {
            Some(free) => {
                *free = coding;
                self.len += 1;
            }
            None => self.list[MOST - 1] = Coding::Unknown,
        }
    }
}

impl fmt::Debug for Codings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// One encoding being removed.
trait Codec: Send {
    /// Decodes some of `input` into `output`. Doing nothing means that more input is needed.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step;

    /// Whether the input so far is a complete stream.
    fn is_whole(&self) -> bool;

    /// Input that was taken and is not decoded.
    fn pending(&self) -> &[u8] {
        &[]
    }

    /// Bytes that it has allocated, about.
    fn memory(&self) -> usize;

    /// No more input will come: the next steps give out all that can be had.
    fn salvage(&mut self) {}
}

/// What a step did.
#[derive(Default)]
struct Step {
    /// Bytes of input taken. If damaged, only those whose output was given out.
    used: usize,
    /// Bytes of output made.
    made: usize,
    /// The input cannot be decoded any further.
    damaged: bool,
}

fn codec(coding: Coding) -> Option<Box<dyn Codec>> {
    match coding {
        Coding::Gzip => Some(Box::new(gzip::Gzip::default())),
        Coding::Deflate => Some(Box::new(deflate::Deflate::default())),
        Coding::Brotli => Some(Box::new(brotli::Brotli::new())),
        Coding::Zstd => Some(Box::new(zstd::Zstd::default())),
        Coding::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let mut codings = Codings::default();
        for token in ["identity", "X-GZip", "br", "lzma"] {
            codings.add(token.as_bytes());
        }
        assert_eq!(codings.as_slice(), [Coding::Gzip, Coding::Brotli, Coding::Unknown]);
    }

    #[test]
    fn too_many_cannot_be_decoded() {
        let mut codings = Codings::default();
        (0..5).for_each(|_| codings.add(b"gzip"));
        assert_eq!(codings.as_slice().len(), MOST);
        assert!(Decoder::new(codings, 1).is_none());
    }
}
