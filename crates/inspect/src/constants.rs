//! Read-only data, and strings in it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use memchr::memmem;
use object::elf;

use crate::binary::Binary;
use crate::error::ElfError;
use crate::header::LE;
use crate::read::Range;

/// Most bytes of constants that are searched in one file.
pub(crate) const MOST: u64 = 256 << 20;
/// Longest string, and longest path before one, of which all is seen.
const LONGEST: usize = 256;
/// Most places of strings; more are too strange to trust.
const MOST_PLACES: usize = 128;

/// Read-only data: by section where there are sections, else all that is loaded and cannot be written.
pub(crate) fn constants(binary: &Binary<'_>) -> Vec<Range> {
    let headers = &binary.headers;
    let by_section: Vec<_> = headers
        .sections
        .iter()
        .filter(|section| {
            let flags = section.sh_flags.get(LE).0;
            section.sh_type.get(LE) == elf::SHT_PROGBITS
                && flags & elf::SHF_ALLOC.0 != 0
                && flags & (elf::SHF_WRITE.0 | elf::SHF_EXECINSTR.0) == 0
        })
        .map(|section| Range { offset: section.sh_offset.get(LE), len: section.sh_size.get(LE) })
        .collect();
    if !by_section.is_empty() {
        return by_section;
    }
    headers.loads.iter().filter(|load| !load.writable).map(|load| load.file).collect()
}

/// Finds strings in the constants that end with a NUL, in one walk; `found` gets the address, what is before it,
/// and which string it is. Whether these are all places.
pub(crate) fn search(
    binary: &Binary<'_>,
    strings: &[&[u8]],
    mut found: impl FnMut(u64, &[u8], usize),
) -> Result<bool, ElfError> {
    let finders: Vec<_> = strings.iter().map(memmem::Finder::new).collect();
    let (mut left, mut seen) = (MOST, BTreeSet::new());
    for range in constants(binary) {
        let range = Range { len: range.len.min(left), ..range };
        left -= range.len;
        binary.source.walk(range, 2 * LONGEST as u64, "constants", |at, piece| {
            for (which, finder) in finders.iter().enumerate() {
                for hit in finder.find_iter(piece) {
                    // At the start of a piece what is before is unknown, but the piece before has it too.
                    let whole = hit >= LONGEST || at == 0;
                    let ended = piece.get(hit + strings[which].len()) == Some(&0);
                    let address = binary.constant_address(range.offset + at + hit as u64);
                    if let Some(address) = address
                        && whole
                        && ended
                        && seen.insert(address)
                    {
                        found(address, &piece[hit.saturating_sub(LONGEST)..hit], which);
                    }
                }
            }
            if seen.len() < MOST_PLACES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(seen.len() < MOST_PLACES)
}
