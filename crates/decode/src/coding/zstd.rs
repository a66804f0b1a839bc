//! `zstd`, by the `ruzstd` crate: it decodes whole blocks only, so this file finds where blocks end.
//!
//! The crate keeps one window of output to itself until the frame ends or the window is full. A body that
//! arrives slowly is therefore shown late; nothing is lost.
use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Codec, Step};

/// The largest window of the content coding (RFC 9659).
const WINDOW_MAX: u64 = 8 << 20;
/// No block is larger, encoded or decoded (RFC 8878, 3.1.1.2.4).
const BLOCK_MAX: usize = 128 << 10;
/// What the crate keeps besides the window: a block, and tables.
const TABLES: usize = 2 * BLOCK_MAX;
const BLOCK_HEADER: usize = 3;
const CHECK_SUM: usize = 4;
/// The shortest frame header, and where its descriptor is.
const DESCRIPTOR: usize = 4;
/// A last block without content ends any frame.
const EMPTY_LAST_BLOCK: [u8; BLOCK_HEADER] = [1, 0, 0];

#[derive(Default)]
pub(super) struct Zstd {
    place: Place,
    frame: Option<Box<FrameDecoder>>,
    /// Bytes of output that the frame may refer to, which the crate allocates.
    window: usize,
    /// Whether the frame ends with a check sum.
    summed: bool,
    /// The start of the next unit: a frame header or a block.
    unit: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    FrameHeader,
    /// Metadata frame: not content.
    Skipped {
        left: u32,
    },
    Block,
    Damaged,
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let step = self.collect(0, output);
        if step.made > 0 || step.damaged {
            return step;
        }
        if let Place::Skipped { left } = self.place {
            let used = input.len().min(left as usize);
            let left = left - used as u32;
            self.place = if left == 0 { Place::FrameHeader } else { Place::Skipped { left } };
            return Step { used, ..Step::default() };
        }
        let mut used = 0;
        loop {
            // The length of a unit is known only once its header is there, so this goes around twice.
            let Some(need) = self.unit_len() else { return self.damaged(used) };
            if need <= self.unit.len() {
                break;
            }
            let take = (need - self.unit.len()).min(input.len() - used);
            if take == 0 {
                return Step { used, ..Step::default() };
            }
            self.unit.extend_from_slice(&input[used..used + take]);
            used += take;
        }
        if self.unit_done().is_none() {
            return self.damaged(used);
        }
        self.unit.clear();
        self.collect(used, output)
    }

    fn is_whole(&self) -> bool {
        matches!(self.place, Place::FrameHeader) && self.unit.is_empty()
    }

    fn memory(&self) -> usize {
        self.unit.capacity() + self.frame.as_ref().map_or(0, |_| self.window + TABLES)
    }

    fn pending(&self) -> &[u8] {
        &self.unit
    }

    fn salvage(&mut self) {
        if let (Place::Block | Place::Damaged, Some(frame)) = (self.place, &mut self.frame) {
            let end = EMPTY_LAST_BLOCK.as_slice().chain([0; CHECK_SUM].as_slice());
            // An error leaves what was collected before, which is all that can be had.
            let _ = frame.decode_blocks(end, BlockDecodingStrategy::UptoBlocks(1));
            self.place = Place::Damaged;
        }
    }
}

impl Zstd {
    /// What is ready, and at the end of a frame whether its check sum is right.
    fn collect(&mut self, used: usize, output: &mut [u8]) -> Step {
        let made = self.frame.as_mut().and_then(|frame| frame.read(output).ok()).unwrap_or(0);
        Step { used, made, damaged: made < output.len() && self.sum_is_wrong() }
    }

    /// At the end of a frame, when all its output has been collected, and once.
    fn sum_is_wrong(&mut self) -> bool {
        let ended = matches!(self.place, Place::FrameHeader);
        let Some(frame) = self.frame.take_if(|_| ended) else { return false };
        self.summed && frame.get_checksum_from_data() != frame.get_calculated_checksum()
    }

    fn damaged(&mut self, used: usize) -> Step {
        self.place = match self.place {
            // The frame is complete, and what follows is not one: nothing to salvage.
            Place::FrameHeader => Place::FrameHeader,
            _ => Place::Damaged,
        };
        Step { used, made: 0, damaged: true }
    }

    /// How long the unit is, as far as its header is known. `None` if there is no such unit.
    fn unit_len(&self) -> Option<usize> {
        match self.place {
            Place::FrameHeader => frame_header_len(&self.unit),
            Place::Block => self.block_len(),
            Place::Skipped { .. } | Place::Damaged => None,
        }
    }

    fn block_len(&self) -> Option<usize> {
        let &[a, b, c, ..] = self.unit.as_slice() else { return Some(BLOCK_HEADER) };
        let header = u32::from_le_bytes([a, b, c, 0]);
        let size = (header >> 3) as usize;
        let content = match header >> 1 & 3 {
            0 | 2 if size <= BLOCK_MAX => size,
            1 if size <= BLOCK_MAX => 1,
            _ => return None,
        };
        let is_last = header & 1 == 1;
        Some(BLOCK_HEADER + content + if is_last && self.summed { CHECK_SUM } else { 0 })
    }

    fn unit_done(&mut self) -> Option<()> {
        match self.place {
            Place::FrameHeader => self.frame_header(),
            Place::Block => {
                let frame = self.frame.as_mut()?;
                let ended = frame.decode_blocks(self.unit.as_slice(), BlockDecodingStrategy::UptoBlocks(1));
                if ended.ok()? {
                    self.place = Place::FrameHeader;
                }
                Some(())
            }
            Place::Skipped { .. } | Place::Damaged => None,
        }
    }

    fn frame_header(&mut self) -> Option<()> {
        if let Some(left) = skippable(&self.unit) {
            self.place = if left == 0 { Place::FrameHeader } else { Place::Skipped { left } };
            return Some(());
        }
        let mut frame = Box::new(FrameDecoder::new());
        frame.set_max_window_size(WINDOW_MAX);
        frame.reset(self.unit.as_slice()).ok()?;
        let descriptor = *self.unit.get(DESCRIPTOR)?;
        self.summed = descriptor & 4 != 0;
        self.window = match self.unit.get(DESCRIPTOR + 1) {
            Some(&window) if descriptor & 0x20 == 0 => {
                let base = 1_usize << (10 + (window >> 3));
                base + base / 8 * usize::from(window & 7)
            }
            _ => frame.content_size() as usize, // the crate has refused what is too large
        };
        self.frame = Some(frame);
        self.place = Place::Block;
        Some(())
    }
}

/// Length of a frame header (RFC 8878, 3.1.1.1), growing as more of it is known.
fn frame_header_len(unit: &[u8]) -> Option<usize> {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    const SKIPPABLE: [u8; 3] = [0x2A, 0x4D, 0x18];
    let agrees = |magic: &[u8], from: usize| unit.iter().skip(from).zip(magic).all(|(a, b)| a == b);
    let is_skippable = unit.first().is_none_or(|b| b & 0xF0 == 0x50) && agrees(&SKIPPABLE, 1);
    match unit.get(DESCRIPTOR) {
        _ if unit.len() >= 4 && is_skippable => Some(8),
        None if agrees(&MAGIC, 0) || is_skippable => Some((unit.len() + 1).max(1)),
        Some(&descriptor) if agrees(&MAGIC, 0) => {
            let single_segment = descriptor & 0x20 != 0;
            let window = usize::from(!single_segment);
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let content = match descriptor >> 6 {
                0 => usize::from(single_segment),
                n => 1 << n,
            };
            Some(DESCRIPTOR + 1 + window + dictionary + content)
        }
        _ => None,
    }
}

/// Length of the content of a metadata frame (RFC 8878, 3.1.2) if `unit` is the header of one.
fn skippable(unit: &[u8]) -> Option<u32> {
    match *unit {
        [a, 0x2A, 0x4D, 0x18, ref length @ ..] if a & 0xF0 == 0x50 => {
            Some(u32::from_le_bytes(length.try_into().ok()?))
        }
        _ => None,
    }
}
