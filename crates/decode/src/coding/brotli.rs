//! `br`, by the `brotli-decompressor` crate.
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Codec, Step};

/// What it keeps besides the window.
const TABLES: usize = 64 << 10;

pub(super) struct Brotli {
    /// Allows windows up to 16 MiB, as RFC 7932 does; "large window" would allow 1 GiB.
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: bool,
}

impl Brotli {
    pub fn new() -> Self {
        let alloc = StandardAlloc::default;
        Self { state: BrotliState::new_strict(alloc(), alloc(), alloc()), ended: false }
    }
}

impl Codec for Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        if self.ended {
            return Step { damaged: !input.is_empty(), ..Step::default() };
        }
        let (mut left, mut used, mut room, mut made, mut total) = (input.len(), 0, output.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut used,
            input,
            &mut room,
            &mut made,
            output,
            &mut total,
            &mut self.state,
        );
        self.ended = matches!(result, BrotliResult::ResultSuccess);
        let damaged = matches!(result, BrotliResult::ResultFailure);
        Step { used: if damaged { 0 } else { used }, made, damaged }
    }

    fn is_whole(&self) -> bool {
        self.ended
    }

    fn memory(&self) -> usize {
        TABLES + usize::try_from(self.state.ringbuffer_size).unwrap_or_default()
    }
}
