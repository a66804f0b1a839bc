//! Positioned, bounded reads. Never a memory map: a file that is cut while mapped would kill us by SIGBUS.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use crate::ElfError;

/// Bytes that can be read at a position: an open file, or a buffer (tests, fuzzing).
pub trait ReadAt {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Most bytes that one read may ask for; larger things are walked in [`CHUNK`]s.
pub(crate) const LARGEST: u64 = 8 << 20;

/// Piece size of a walk: stays in the second-level cache; whole multiples of 24 (symbols, relocations).
const CHUNK: u64 = 24 * 16384;

/// A file and its length when it was opened.
#[derive(Clone, Copy)]
pub(crate) struct Source<'f> {
    bytes: &'f dyn ReadAt,
    pub(crate) len: u64,
}

impl<'f> Source<'f> {
    pub(crate) fn new(bytes: &'f dyn ReadAt) -> Result<Self, ElfError> {
        Ok(Self { bytes, len: bytes.size().map_err(ElfError::Read)? })
    }

    /// Exactly `len` bytes at `offset`; `what` names them if the file is too short.
    pub(crate) fn bytes(&self, offset: u64, len: u64, what: &'static str) -> Result<Vec<u8>, ElfError> {
        if len > LARGEST {
            return Err(ElfError::Damaged(what));
        }
        // Checked before the buffer exists, so that a wrong length costs nothing.
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ElfError::Truncated(what));
        }
        let mut buffer = vec![0; len as usize];
        self.fill(&mut buffer, offset, what)?;
        Ok(buffer)
    }

    /// Walks a range in pieces, each repeating the last `overlap` bytes of the one before. `visit` gets
    /// the position of the piece within the range.
    pub(crate) fn walk(
        &self,
        range: Range,
        overlap: u64,
        what: &'static str,
        mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ElfError> {
        let mut buffer = vec![0; (CHUNK + overlap).min(range.len) as usize];
        let mut at = 0;
        while at < range.len {
            let piece = (CHUNK + overlap).min(range.len - at) as usize;
            let offset = range.offset.checked_add(at).ok_or(ElfError::Damaged(what))?;
            self.fill(&mut buffer[..piece], offset, what)?;
            if visit(at, &buffer[..piece]).is_break() {
                break;
            }
            at += CHUNK;
        }
        Ok(())
    }

    fn fill(&self, buffer: &mut [u8], offset: u64, what: &'static str) -> Result<(), ElfError> {
        self.bytes.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ElfError::Truncated(what),
            _ => ElfError::Read(error),
        })
    }
}

/// A piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_repeats_the_overlap_and_covers_everything() {
        let data: Vec<u8> = (0..CHUNK as usize * 2 + 100).map(|n| n as u8).collect();
        let slice = data.as_slice();
        let source = Source::new(&slice).unwrap();
        let mut pieces = Vec::new();
        let range = Range { offset: 0, len: data.len() as u64 };
        source
            .walk(range, 10, "data", |at, piece| {
                assert_eq!(piece, &data[at as usize..][..piece.len()]);
                pieces.push((at, piece.len() as u64));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(pieces, [(0, CHUNK + 10), (CHUNK, CHUNK + 10), (CHUNK * 2, 100)]);
    }

    #[test]
    fn a_length_beyond_the_file_is_refused_before_it_is_allocated() {
        let slice = [0u8; 8].as_slice();
        let source = Source::new(&slice).unwrap();
        assert!(matches!(source.bytes(4, 5, "x"), Err(ElfError::Truncated("x"))));
        assert!(matches!(source.bytes(u64::MAX, 1, "x"), Err(ElfError::Truncated("x"))));
        assert!(matches!(source.bytes(0, u64::MAX, "x"), Err(ElfError::Damaged("x"))));
    }
}
