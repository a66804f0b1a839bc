//! What is written by one system call: small things one after the other, large ones where they are.

use std::io::{self, IoSlice};
use std::mem;

use bytes::Bytes;

use crate::sinks::direct::Direct;

/// Bytes up to which it is cheaper to copy than to name a further piece.
const SMALL: usize = 1024;

/// Bytes after which a batch is worth its system call.
const ENOUGH: usize = 1 << 20;

/// Blocks that wait to be written.
#[derive(Default)]
pub struct Batch {
    /// Everything that is small.
    pub text: Vec<u8>,
    /// What is large, each with its place in the text.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
}

impl Batch {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.text.len() + self.large_bytes
    }

    /// Whether it should be written before more comes.
    pub fn is_full(&self) -> bool {
        self.len() >= ENOUGH
    }

    /// Appends bytes, without copying those of large packets.
    pub fn append(&mut self, bytes: Bytes) {
        if bytes.len() <= SMALL {
            return self.text.extend_from_slice(&bytes);
        }
        self.large_bytes += bytes.len();
        self.large.push((self.text.len(), bytes));
    }

    /// All of it, in order.
    pub fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.large.len() + 1);
        let mut from = 0;
        for (at, bytes) in &self.large {
            pieces.push(IoSlice::new(&self.text[mem::replace(&mut from, *at)..*at]));
            pieces.push(IoSlice::new(bytes));
        }
        pieces.push(IoSlice::new(&self.text[from..]));
        pieces
    }

    /// Writes all of it, which leaves it empty.
    pub fn write_to(&mut self, output: &mut Direct) -> io::Result<()> {
        output.write_pieces(&mut self.pieces())?;
        self.text.clear();
        self.large.clear();
        self.large_bytes = 0;
        Ok(())
    }
}
