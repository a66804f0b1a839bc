//! `deflate`: zlib, or bare deflate.
use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, Step};

/// What `flate2` keeps of one stream: the window of 32 KiB and tables.
pub(crate) const INFLATE: usize = 44 << 10;

/// Decides by the first byte which of the two it is.
#[derive(Default)]
pub(super) struct Deflate {
    inflate: Option<Decompress>,
    ended: bool,
}

impl Codec for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let Some(&first) = input.first() else { return self.inflate(input, output) };
        if self.ended {
            return Step { damaged: true, ..Step::default() };
        }
        self.inflate.get_or_insert_with(|| Decompress::new(is_zlib(first)));
        self.inflate(input, output)
    }

    fn is_whole(&self) -> bool {
        self.ended
    }

    fn memory(&self) -> usize {
        INFLATE
    }
}

impl Deflate {
    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match &mut self.inflate {
            Some(inflate) => inflate_step(inflate, &mut self.ended, input, output),
            None => Step::default(),
        }
    }
}

/// The method nibble of zlib is 8 (RFC 1950, 2.2). In bare deflate it would be a stored block with padding
/// that is not zero, which no encoder writes.
fn is_zlib(first: u8) -> bool {
    first & 0x0F == 8
}

/// Runs `inflate` once and sets `ended` at the end of its stream.
pub(super) fn inflate_step(
    inflate: &mut Decompress,
    ended: &mut bool,
    input: &[u8],
    output: &mut [u8],
) -> Step {
    if *ended {
        return Step::default();
    }
    let (total_in, total_out) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, output, FlushDecompress::None);
    *ended = matches!(status, Ok(Status::StreamEnd));
    if status.is_err() {
        return Step { damaged: true, ..Step::default() };
    }
    // Both differences are lengths of parts of slices.
    let used = (inflate.total_in() - total_in) as usize;
    let made = (inflate.total_out() - total_out) as usize;
    Step { used, made, damaged: false }
}
