//! A program or shared library: its parts, and the way from addresses to bytes.

use std::cell::OnceCell;
use std::fmt;

use object::elf::{self, Dyn64, FileHeader64};
use object::read::elf::NoteIterator;
use object::{LittleEndian, elf::DynamicTag};

use crate::error::ElfError;
use crate::header::{Headers, LE, Segment, table};
use crate::read::{LARGEST, Range, ReadAt, Source};
use crate::relocation::SlotIndex;

/// Most note segments that are searched for the build-id; linkers make up to three.
const MOST_NOTES: usize = 16;

/// The processor that a file is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86_64, also called amd64.
    X86_64,
    /// aarch64, also called arm64.
    Aarch64,
}

impl Machine {
    /// The one that this program was built for.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// What one does with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is started; at a fixed address, or anywhere and marked `DF_1_PIE`.
    Executable,
    /// It is loaded; also a position-independent program of an old linker, which sets no mark.
    SharedObject,
}

/// An open, checked ELF file.
pub struct Binary<'f> {
    pub(crate) source: Source<'f>,
    pub(crate) headers: Headers,
    dynamic: Vec<Dyn64<LittleEndian>>,
    build_id: Option<Vec<u8>>,
    slots: OnceCell<SlotIndex>,
}

impl<'f> Binary<'f> {
    /// Reads and checks the headers; `file` is a [`std::fs::File`] or bytes.
    pub fn open(file: &'f dyn ReadAt) -> Result<Self, ElfError> {
        let source = Source::new(file)?;
        let headers = Headers::read(&source)?;
        let dynamic = read_dynamic(&source, headers.dynamic)?;
        let mut notes = headers.notes.iter().take(MOST_NOTES);
        let build_id = notes.find_map(|&(range, align)| find_build_id(&source, range, align));
        Ok(Self { source, headers, dynamic, build_id, slots: OnceCell::new() })
    }

    /// The processor it is built for.
    pub fn machine(&self) -> Machine {
        self.headers.machine
    }

    /// An error in words unless it runs on `host` (see [`Machine::host`]).
    pub fn check_machine(&self, host: Machine) -> Result<(), ElfError> {
        let file = self.machine();
        if file == host { Ok(()) } else { Err(ElfError::ForeignMachine { file, host }) }
    }

    /// Program or library.
    pub fn kind(&self) -> Kind {
        let pie = self.dynamic_value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0);
        if self.headers.fixed_address || pie { Kind::Executable } else { Kind::SharedObject }
    }

    /// The linker's identity of this build; `None` if it left none.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// Where in the file the byte at a virtual address is; `None` if it is not from the file.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let load = self.segment_at(address)?;
        Some(load.file.offset + (address - load.address))
    }

    /// Where the byte at a position of the file is loaded, if it cannot be written there.
    pub(crate) fn constant_address(&self, offset: u64) -> Option<u64> {
        let mut loads = self.headers.loads.iter().filter(|load| !load.writable);
        loads.find_map(|load| {
            let into = offset.checked_sub(load.file.offset)?;
            (into < load.file.len).then_some(load.address + into)
        })
    }

    /// Whether an address is inside code.
    pub(crate) fn is_code(&self, address: u64) -> bool {
        self.segment_at(address).is_some_and(|load| load.executable)
    }

    /// Where instructions are: by section where there are sections, as a segment may hold constants, too. No byte is
    /// in two of them but by segments that overlap.
    pub(crate) fn instructions(&self) -> Vec<Segment> {
        let sections = self.headers.sections.iter().filter(|section| {
            let flags = section.sh_flags.get(LE).0;
            section.sh_type.get(LE) == elf::SHT_PROGBITS
                && flags & elf::SHF_ALLOC.0 != 0
                && flags & elf::SHF_EXECINSTR.0 != 0
                && section.sh_size.get(LE) != 0
        });
        let by_section: Option<Vec<_>> = sections
            .map(|section| {
                let (address, len) = (section.sh_addr.get(LE), section.sh_size.get(LE));
                let load = self.segment_at(address).filter(|load| load.executable)?;
                let into = address - load.address;
                let file = Range { offset: load.file.offset + into, len };
                let fits = file.offset == section.sh_offset.get(LE) && len <= load.file.len - into;
                fits.then_some(Segment { address, file, ..*load })
            })
            .collect();
        let apart = |pair: &[Segment]| pair[1].address.checked_sub(pair[0].address) >= Some(pair[0].file.len);
        by_section
            .filter(|sections| !sections.is_empty() && sections.windows(2).all(apart))
            .unwrap_or_else(|| self.headers.loads.iter().filter(|load| load.executable).copied().collect())
    }

    /// Up to `most` bytes of code from an address on; empty if there is no code.
    pub(crate) fn code(&self, address: u64, most: u64) -> Vec<u8> {
        let Some(load) = self.segment_at(address).filter(|load| load.executable) else {
            return Vec::new();
        };
        let into = address - load.address;
        let len = (load.file.len - into).min(most).min(LARGEST);
        self.source.bytes(load.file.offset + into, len, "code").unwrap_or_default()
    }

    /// The value of a tag in the dynamic section.
    pub(crate) fn dynamic_value(&self, tag: DynamicTag) -> Option<u64> {
        self.dynamic.iter().find(|entry| entry.d_tag.get(LE) == tag).map(|entry| entry.d_val.get(LE))
    }

    /// Which symbol the loader puts into each slot of the global offset table; read once, when first asked.
    pub(crate) fn slots(&self) -> &SlotIndex {
        self.slots.get_or_init(|| SlotIndex::read(self))
    }

    /// How many bytes of the file are loaded from an address on; `None` for none.
    pub(crate) fn loaded_after(&self, address: u64) -> Option<u64> {
        let load = self.segment_at(address)?;
        Some(load.file.len - (address - load.address))
    }

    fn segment_at(&self, address: u64) -> Option<&Segment> {
        self.headers
            .loads
            .iter()
            .find(|load| address.checked_sub(load.address).is_some_and(|into| into < load.file.len))
    }
}

fn read_dynamic(source: &Source<'_>, range: Option<Range>) -> Result<Vec<Dyn64<LittleEndian>>, ElfError> {
    let Some(range) = range else { return Ok(Vec::new()) };
    let count = range.len / size_of::<Dyn64<LittleEndian>>() as u64;
    let mut entries: Vec<Dyn64<LittleEndian>> = table(source, range.offset, count, "the dynamic section")?;
    let end = entries.iter().position(|entry| entry.d_tag.get(LE) == elf::DT_NULL);
    entries.truncate(end.unwrap_or(entries.len()));
    Ok(entries)
}

/// A damaged note only costs the build-id, not the file.
fn find_build_id(source: &Source<'_>, range: Range, align: u64) -> Option<Vec<u8>> {
    let bytes = source.bytes(range.offset, range.len, "the notes").ok()?;
    let notes = NoteIterator::<FileHeader64<LittleEndian>>::new(LE, align, &bytes).ok()?;
    notes
        .map_while(Result::ok)
        .find(|note| note.name() == elf::ELF_NOTE_GNU && note.n_type(LE) == elf::NT_GNU_BUILD_ID)
        .map(|note| note.desc().to_vec())
        .filter(|id| !id.is_empty())
}
