//! Where functions start and end, by what exceptions are unwound with: most stripped files have it.

use std::ops::Range;

use object::LittleEndian;
use object::elf::{FileHeader64, SectionHeader64};

use crate::binary::Binary;
use crate::header::{LE, table};
use crate::read::{self, LARGEST};

/// Bytes before the first entry of the index, and of an entry: a function's start and the place of its
/// description, both counted from the index.
const HEADER: usize = 12;
const ENTRY: usize = 8;
/// Version 1; the descriptions are found relative to this (4 bytes signed), the number of entries is 4 bytes,
/// the entries are relative to the index (4 bytes signed). Linkers write no other form.
const FORM: [u8; 4] = [1, RELATIVE, 0x03, 0x3b];
/// An address written as 4 bytes signed, relative to itself.
const RELATIVE: u8 = 0x1b;
/// Largest index, and largest section of descriptions, that are read whole; Chromium's index has 12 MB.
const LARGEST_TABLE: u64 = 32 << 20;
/// What descriptions begin with: their length, what they share with others, start and length of the function.
const DESCRIPTION: usize = 16;

/// All functions of a file. Pieces of a function that were moved away are separate here.
pub(crate) struct Unwind<'b, 'f> {
    binary: &'b Binary<'f>,
    table: Table,
}

enum Table {
    /// By the index, which is at this address.
    Index(u64, Vec<u8>),
    /// By all descriptions, sorted: static programs have no index.
    All(Vec<Range<u64>>),
}

impl<'b, 'f> Unwind<'b, 'f> {
    /// `None` if the file has neither in the usual form.
    pub(crate) fn read(binary: &'b Binary<'f>) -> Option<Self> {
        let table = match binary.headers.unwind {
            Some((address, range)) => Table::Index(address, index(binary, range)?),
            None => Table::All(descriptions(binary)?),
        };
        Some(Self { binary, table })
    }

    /// How many functions and pieces there are.
    pub(crate) fn count(&self) -> u64 {
        match &self.table {
            Table::Index(_, entries) => (entries.len() / ENTRY) as u64,
            Table::All(all) => all.len() as u64,
        }
    }

    /// The function (or piece of one) around an address.
    pub(crate) fn around(&self, address: u64) -> Option<Range<u64>> {
        let extent = match &self.table {
            Table::Index(base, entries) => self.by_index(*base, entries, address)?,
            Table::All(all) => {
                let after = all.partition_point(|extent| extent.start <= address);
                all.get(after.checked_sub(1)?)?.clone()
            }
        };
        extent.contains(&address).then_some(extent)
    }

    fn by_index(&self, base: u64, entries: &[u8], address: u64) -> Option<Range<u64>> {
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let value = |entry: &[u8], at| Some(relative(base, word(entry, at)?));
        let after = entries.partition_point(|entry| value(entry, 0).is_some_and(|start| start <= address));
        let entry = entries.get(after.checked_sub(1)?)?;
        let (start, place) = (value(entry, 0)?, value(entry, 4)?);
        let offset = self.binary.file_offset(place)?;
        let bytes = self.binary.source.bytes(offset, DESCRIPTION as u64, "a function's description").ok()?;
        described(&bytes, place).filter(|extent| extent.start == start)
    }
}

/// A range that may be longer than one read.
fn whole(binary: &Binary<'_>, range: read::Range) -> Option<Vec<u8>> {
    let end = range.offset.checked_add(range.len).filter(|end| *end <= binary.source.len)?;
    let mut bytes = Vec::with_capacity(usize::try_from(range.len.min(LARGEST_TABLE)).ok()?);
    while range.len <= LARGEST_TABLE && (bytes.len() as u64) < range.len {
        let at = range.offset + bytes.len() as u64;
        bytes.extend(binary.source.bytes(at, (end - at).min(LARGEST), "unwind information").ok()?);
    }
    (bytes.len() as u64 == range.len).then_some(bytes)
}

fn index(binary: &Binary<'_>, range: read::Range) -> Option<Vec<u8>> {
    let bytes = whole(binary, range)?;
    let count = word(&bytes, 8)? as usize;
    let entries = bytes.get(HEADER..count.checked_mul(ENTRY)?.checked_add(HEADER)?)?;
    bytes.starts_with(&FORM).then(|| entries.to_vec())
}

/// Reads the section `.eh_frame` from one end to the other.
fn descriptions(binary: &Binary<'_>) -> Option<Vec<Range<u64>>> {
    let section = section(binary, b".eh_frame\0")?;
    let bytes =
        whole(binary, read::Range { offset: section.sh_offset.get(LE), len: section.sh_size.get(LE) })?;
    let (mut found, mut at) = (Vec::new(), 0);
    let usual = |at: usize| bytes.get(at..).is_some_and(is_usual);
    while let Some(len) = word(&bytes, at).filter(|&len| len != 0) {
        let place = section.sh_addr.get(LE).checked_add(at as u64)?;
        let shared = word(&bytes, at + 4)? as usize;
        // The shared part is found backwards from its own field; 0 marks such a part itself.
        if shared != 0 && (at + 4).checked_sub(shared).is_some_and(usual) {
            let extent = described(&bytes[at..], place)?;
            // Code that the linker left out is described at 0.
            found.extend(Some(extent).filter(|extent| binary.is_code(extent.start)));
        }
        at = at.checked_add(4)?.checked_add(len as usize)?;
    }
    found.sort_unstable_by_key(|extent| extent.start);
    found.windows(2).all(|pair| pair[0].end <= pair[1].start).then_some(found)
}

/// Whether a shared part says that functions start at an address of the usual form: version 1, `zR` or, for
/// C++, `zPLR`, where the form comes last.
fn is_usual(shared: &[u8]) -> bool {
    match shared.get(8..) {
        // Alignments and the return address (one byte each), length 1, the form.
        Some([1, b'z', b'R', 0, _, _, _, 1, form, ..]) => *form == RELATIVE,
        // The same with length 7: the handler (form and 4 bytes), the form of its data, the form.
        Some([1, b'z', b'P', b'L', b'R', 0, _, _, _, 7, _, _, _, _, _, _, form, ..]) => *form == RELATIVE,
        _ => false,
    }
}

fn section(binary: &Binary<'_>, name: &[u8]) -> Option<SectionHeader64<LittleEndian>> {
    let sections = &binary.headers.sections;
    let header = table::<FileHeader64<LittleEndian>>(&binary.source, 0, 1, "the ELF header").ok()?.pop()?;
    let names = sections.get(usize::from(header.e_shstrndx.get(LE).0))?;
    let len = names.sh_size.get(LE);
    let names = binary.source.bytes(names.sh_offset.get(LE), len, "the section names").ok()?;
    let named = |section: &&SectionHeader64<LittleEndian>| {
        names.get(section.sh_name.get(LE) as usize..).is_some_and(|rest| rest.starts_with(name))
    };
    sections.iter().find(named).copied()
}

/// The extent of the function described by `bytes`, which are at an address.
fn described(bytes: &[u8], address: u64) -> Option<Range<u64>> {
    let (own, shared) = (word(bytes, 0)?, word(bytes, 4)?);
    let start = relative(address.checked_add(8)?, word(bytes, 8)?);
    let end = start.checked_add(u64::from(word(bytes, 12)?))?;
    (own as usize >= DESCRIPTION - 4 && own != u32::MAX && shared != 0).then_some(start..end)
}

fn relative(base: u64, distance: u32) -> u64 {
    base.wrapping_add_signed(i64::from(distance.cast_signed()))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
