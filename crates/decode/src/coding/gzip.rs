//! `gzip`: members one after the other (RFC 1952), each with its check sum.
use flate2::{Crc, Decompress};

use super::deflate::{INFLATE, inflate_step};
use super::{Codec, Step};

const MAGIC: [u8; 3] = [0x1F, 0x8B, 8];
const FIXED: usize = 10;

#[derive(Default)]
pub(super) struct Gzip {
    place: Place,
    /// Flags of the header, those of fields behind us removed.
    flags: u8,
    inflate: Option<Decompress>,
    crc: Crc,
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum Place {
    /// The fixed part of the header: how many bytes of it are behind us.
    Fixed(usize),
    ExtraLength {
        low: Option<u8>,
    },
    Extra {
        left: u16,
    },
    Name,
    Comment,
    HeaderCheck {
        left: u8,
    },
    Deflated,
    /// Check sum and length: bytes behind us, and their values.
    Trailer(u8, u64),
}

impl Default for Place {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

/// Optional parts of the header in their order, each with its flag.
const OPTIONAL: [(u8, Place); 4] = [
    (0x04, Place::ExtraLength { low: None }),
    (0x08, Place::Name),
    (0x10, Place::Comment),
    (0x02, Place::HeaderCheck { left: 2 }),
];

impl Codec for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        if let Place::Deflated = self.place {
            return self.deflated(input, output);
        }
        for (used, &b) in input.iter().enumerate() {
            match self.framing(b) {
                None => return Step { used, damaged: true, ..Step::default() },
                Some(Place::Deflated) => {
                    self.place = Place::Deflated;
                    self.inflate = Some(Decompress::new(false));
                    self.crc.reset();
                    return Step { used: used + 1, ..Step::default() };
                }
                Some(place) => self.place = place,
            }
        }
        Step { used: input.len(), ..Step::default() }
    }

    fn is_whole(&self) -> bool {
        // Before the first member `used` is 0, so this is after one.
        matches!(self.place, Place::Fixed(0))
    }

    fn memory(&self) -> usize {
        INFLATE
    }

    fn pending(&self) -> &[u8] {
        match self.place {
            Place::Fixed(n) => &MAGIC[..n.min(MAGIC.len())],
            _ => &[],
        }
    }
}

impl Gzip {
    fn deflated(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let Some(inflate) = &mut self.inflate else { return Step::default() };
        let mut ended = false;
        let step = inflate_step(inflate, &mut ended, input, output);
        self.crc.update(&output[..step.made]);
        if ended {
            self.place = Place::Trailer(0, 0);
        }
        step
    }

    /// One byte outside the deflated data; `None` if it cannot be there.
    fn framing(&mut self, b: u8) -> Option<Place> {
        Some(match self.place {
            Place::Fixed(n) => {
                if MAGIC.get(n).is_some_and(|&m| m != b) || (n == 3 && b & 0xE0 != 0) {
                    return None;
                }
                if n == 3 {
                    self.flags = b;
                }
                if n + 1 < FIXED { Place::Fixed(n + 1) } else { self.next_optional() }
            }
            Place::ExtraLength { low: None } => Place::ExtraLength { low: Some(b) },
            Place::ExtraLength { low: Some(low) } => match u16::from_le_bytes([low, b]) {
                0 => self.next_optional(),
                left => Place::Extra { left },
            },
            Place::Extra { left: 1 } | Place::HeaderCheck { left: 1 } => self.next_optional(),
            Place::Extra { left } => Place::Extra { left: left - 1 },
            Place::HeaderCheck { left } => Place::HeaderCheck { left: left - 1 },
            Place::Name | Place::Comment if b == 0 => self.next_optional(),
            Place::Name | Place::Comment | Place::Deflated => self.place,
            Place::Trailer(n, sum) => {
                let sum = sum | u64::from(b) << (8 * n);
                match n {
                    7 if sum == u64::from(self.crc.amount()) << 32 | u64::from(self.crc.sum()) => {
                        Place::default()
                    }
                    7 => return None,
                    _ => Place::Trailer(n + 1, sum),
                }
            }
        })
    }

    fn next_optional(&mut self) -> Place {
        let found = OPTIONAL.iter().find(|(flag, _)| self.flags & flag != 0);
        found.map_or(Place::Deflated, |&(flag, place)| {
            self.flags &= !flag;
            place
        })
    }
}
