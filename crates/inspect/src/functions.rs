//! Where functions start and end, also in files without symbols.

use std::ops::{ControlFlow, Range};

use memchr::memchr_iter;

use crate::binary::{Binary, Machine};
use crate::code::{Flow, Target, arm64};
use crate::constants::MOST;
use crate::header::Segment;
use crate::unwind::Unwind;

/// Bytes of code for each function that is described, above which most are not: Chromium for aarch64 describes
/// 7,000 functions of 200 MB.
const SPARSE: u64 = 2000;

/// All functions of a file. Pieces of a function that were moved away are separate here.
pub(crate) struct Functions<'b, 'f>(Known<'b, 'f>);

enum Known<'b, 'f> {
    /// By what exceptions are unwound with: exact.
    Unwind(Unwind<'b, 'f>),
    /// By what is called: one that never is counts as part of the one before.
    Called(Vec<Starts>),
}

impl<'b, 'f> Functions<'b, 'f> {
    /// `None` if neither tells.
    pub(crate) fn read(binary: &'b Binary<'f>) -> Option<Self> {
        let executable = binary.headers.loads.iter().filter(|load| load.executable);
        let code: u64 = executable.map(|load| load.file.len).sum();
        let unwind = Unwind::read(binary).filter(|unwind| unwind.count().saturating_mul(SPARSE) >= code);
        Some(Self(match unwind {
            Some(unwind) => Known::Unwind(unwind),
            None if code <= MOST => Known::Called(called(binary)?),
            None => return None,
        }))
    }

    /// The function (or piece of one) around an address.
    pub(crate) fn around(&self, address: u64) -> Option<Range<u64>> {
        match &self.0 {
            Known::Unwind(unwind) => unwind.around(address),
            Known::Called(segments) => segments.iter().find_map(|starts| starts.around(address)),
        }
    }

    /// Whether every start is one for sure: what seems to call it may be the middle of another instruction.
    pub(crate) fn exact(&self) -> bool {
        matches!(self.0, Known::Unwind(_))
    }
}

/// The called addresses of a segment: a bit for each that can be one.
struct Starts {
    first: u64,
    len: u64,
    /// Bytes from one that can be to the next.
    step: u64,
    bits: Vec<u64>,
}

impl Starts {
    fn new(load: &Segment, step: u64) -> Self {
        let first = load.address & !(step - 1);
        let len = load.file.len + (load.address - first);
        let mut bits = vec![0; (len / step / 64 + 1) as usize];
        // What is before the first call's target is taken as one.
        bits[0] = 1;
        Self { first, len, step, bits }
    }

    fn insert(&mut self, address: u64) {
        let into = address.wrapping_sub(self.first);
        if into < self.len && address.is_multiple_of(self.step) {
            let at = into / self.step;
            self.bits[(at / 64) as usize] |= 1 << (at % 64);
        }
    }

    fn has(&self, at: u64) -> bool {
        self.bits.get((at / 64) as usize).is_some_and(|bits| bits & 1 << (at % 64) != 0)
    }

    /// From the last start to the next.
    fn around(&self, address: u64) -> Option<Range<u64>> {
        let into = address.checked_sub(self.first).filter(|into| *into < self.len)?;
        let here = into / self.step;
        let place = |at: u64| self.first + at * self.step;
        let start = (0..=here).rev().take(LONGEST).find(|at| self.has(*at))?;
        let end = (here + 1..self.bits.len() as u64 * 64).take(LONGEST).find(|at| self.has(*at));
        Some(place(start)..end.map_or(self.first + self.len, place))
    }
}

/// Most possible starts between which a function is looked for.
const LONGEST: usize = 1 << 16;
/// Most segments with code; linkers make one or two.
const MOST_SEGMENTS: usize = 16;

/// Targets of direct calls. On x86_64, where a call may be the middle of another instruction, those at a multiple of 16.
fn called(binary: &Binary<'_>) -> Option<Vec<Starts>> {
    let step = match binary.machine() {
        Machine::X86_64 => 16,
        Machine::Aarch64 => 4,
    };
    let loads = || binary.headers.loads.iter().filter(|load| load.executable);
    if loads().count() > MOST_SEGMENTS {
        return None;
    }
    let mut all: Vec<_> = loads().map(|load| Starts::new(load, step)).collect();
    for load in binary.instructions() {
        let walked = binary.source.walk(load.file, 5, "code", |position, piece| {
            calls(binary.machine(), piece, load.address + position, |to| {
                all.iter_mut().for_each(|starts| starts.insert(to));
            });
            ControlFlow::Continue(())
        });
        walked.ok()?;
    }
    Some(all)
}

fn calls(machine: Machine, piece: &[u8], start: u64, mut found: impl FnMut(u64)) {
    match machine {
        Machine::X86_64 => {
            for into in memchr_iter(0xe8, piece) {
                if let Some(distance) = piece.get(into + 1..).and_then(<[u8]>::first_chunk) {
                    let end = start.wrapping_add(into as u64 + 5);
                    found(end.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))));
                }
            }
        }
        Machine::Aarch64 => {
            for (index, word) in piece.as_chunks::<4>().0.iter().enumerate() {
                let (word, at) = (u32::from_le_bytes(*word), start.wrapping_add(index as u64 * 4));
                if arm64::may_branch(word)
                    && let Flow::Call(Target::Address(to)) = arm64::flow(word, at)
                {
                    found(to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    fn segment(len: u64) -> Segment {
        let file = read::Range { offset: 0, len };
        Segment { address: 0x1008, file, executable: true, writable: false }
    }

    #[test]
    fn a_function_goes_from_one_called_address_to_the_next() {
        let mut starts = Starts::new(&segment(0x1000), 16);
        for address in [0x1010, 0x1048, 0x1050, 0x2000, 0x2010, 0xff0] {
            starts.insert(address);
        }
        assert_eq!(starts.around(0xfff), None);
        assert_eq!(starts.around(0x100f), Some(0x1000..0x1010));
        assert_eq!(starts.around(0x104f), Some(0x1010..0x1050));
        assert_eq!(starts.around(0x1050), Some(0x1050..0x2000));
        assert_eq!(starts.around(0x2007), Some(0x2000..0x2008));
        assert_eq!(starts.around(0x2008), None);
    }

    #[test]
    fn calls_are_found_on_both_machines() {
        let found = |machine, code: &[u8]| {
            let mut found = Vec::new();
            calls(machine, code, 0x1000, |to| found.push(to));
            found
        };
        // call +0x20; jmp +0x20; a call that is cut off
        let code = b"\xe8\x20\x00\x00\x00\xe9\x20\x00\x00\x00\xe8\x00";
        assert_eq!(found(Machine::X86_64, code), [0x1025]);
        // bl +0x20; b +0x20; blr x0
        let words: Vec<u8> =
            [0x9400_0008_u32, 0x1400_0008, 0xd63f_0000].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(found(Machine::Aarch64, &words), [0x1020]);
    }
}
