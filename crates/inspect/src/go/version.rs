//! What tells that a file was made by Go, and by which version.

use std::ops::ControlFlow;

use memchr::memmem;
use object::elf::FileHeader64;
use object::read::elf::NoteIterator;

use crate::binary::Binary;
use crate::error::ElfError;
use crate::header::LE;
use crate::relocation::words;

/// What the linker puts before the build information, and its alignment.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: u64 = 16;
/// Bytes before the version, if it is not behind pointers.
const HEADER: u64 = 32;
/// Flag at byte 15: no pointers, as since Go 1.18.
const INLINE: u8 = 2;
/// Longest version, bytes; toolchains of distributions and experiments append to it.
const LONGEST: u64 = 127;

/// Whether it is worth calling [`resolve`](super::resolve): cheap, and only a `false` is certain.
pub fn may_be(binary: &Binary<'_>) -> Result<bool, ElfError> {
    Ok(has_note(binary) || build_information(binary)?.is_some())
}

/// A note of the Go linker.
fn has_note(binary: &Binary<'_>) -> bool {
    binary.headers.notes.iter().any(|&(range, align)| {
        let Ok(bytes) = binary.source.bytes(range.offset, range.len, "the notes") else { return false };
        let notes = NoteIterator::<FileHeader64<object::LittleEndian>>::new(LE, align, &bytes);
        notes.is_ok_and(|notes| notes.map_while(Result::ok).any(|note| note.name() == b"Go"))
    })
}

/// Where in the file it begins.
fn build_information(binary: &Binary<'_>) -> Result<Option<u64>, ElfError> {
    let finder = memmem::Finder::new(MAGIC);
    let mut found = None;
    for load in binary.headers.loads.iter().filter(|load| load.writable) {
        binary.source.walk(load.file, MAGIC.len() as u64, "data", |at, piece| {
            let hit = finder.find_iter(piece).map(|hit| load.file.offset + at + hit as u64);
            found = found.or(hit.into_iter().find(|hit| hit.is_multiple_of(ALIGNMENT)));
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(found)
}

/// The version, such as `go1.26.0`.
pub(super) fn version(binary: &Binary<'_>) -> Option<String> {
    let at = build_information(binary).ok()??;
    let header = binary.source.bytes(at, HEADER + 1, "the build information").ok()?;
    let bytes = if header[15] & INLINE != 0 {
        let length = u64::from(header[32]).min(LONGEST);
        binary.source.bytes(at + HEADER + 1, length, "the version").ok()?
    } else {
        let load = binary
            .headers
            .loads
            .iter()
            .find(|load| at.checked_sub(load.file.offset).is_some_and(|into| into < load.file.len))?;
        let address = load.address + (at - load.file.offset);
        let string = words(binary, *words(binary, address + 16, 1)?.first()?, 2)?;
        let offset = binary.file_offset(string[0])?;
        binary.source.bytes(offset, string[1].min(LONGEST), "the version").ok()?
    };
    let text = String::from_utf8(bytes).ok()?;
    let is_version = text.starts_with("go") || text.starts_with("devel");
    (is_version && text.chars().all(|char| (' '..='~').contains(&char))).then_some(text)
}
