//! The ELF headers: what kind of file, which parts of it, checked against its length.

use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{Pod, slice_from_all_bytes};

use crate::binary::Machine;
use crate::error::ElfError;
use crate::read::{Range, Source};

pub(crate) const LE: LittleEndian = LittleEndian;

/// A loadable part of the file and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) file: Range,
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

/// What the headers say.
pub(crate) struct Headers {
    pub(crate) machine: Machine,
    pub(crate) fixed_address: bool,
    pub(crate) loads: Vec<Segment>,
    pub(crate) dynamic: Option<Range>,
    pub(crate) notes: Vec<(Range, u64)>,
    /// The index of the unwind information, and its address.
    pub(crate) unwind: Option<(u64, Range)>,
    /// Empty if the file has no (usable) section table: programs run without one.
    pub(crate) sections: Vec<SectionHeader64<LittleEndian>>,
}

impl Headers {
    pub(crate) fn read(source: &Source<'_>) -> Result<Self, ElfError> {
        check_ident(source)?;
        let header = &table::<FileHeader64<LittleEndian>>(source, 0, 1, "the ELF header")?[0];
        let machine = match header.e_machine.get(LE) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            other => return Err(ElfError::UnknownMachine(other.0)),
        };
        let fixed_address = match header.e_type.get(LE) {
            elf::ET_EXEC => true,
            elf::ET_DYN => false,
            elf::ET_REL => return Err(ElfError::NotLoadable("an object file")),
            elf::ET_CORE => return Err(ElfError::NotLoadable("a core dump")),
            _ => return Err(ElfError::NotLoadable("an ELF file of an unknown type")),
        };
        let mut headers = Self {
            machine,
            fixed_address,
            loads: Vec::new(),
            dynamic: None,
            notes: Vec::new(),
            unwind: None,
            sections: sections(source, header)?,
        };
        headers.read_segments(source, header)?;
        Ok(headers)
    }

    fn read_segments(
        &mut self,
        source: &Source<'_>,
        header: &FileHeader64<LittleEndian>,
    ) -> Result<(), ElfError> {
        if usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LittleEndian>>() {
            return Err(ElfError::Damaged("no program headers"));
        }
        // PN_XNUM (more than 65534 segments) is for core dumps only.
        let count = u64::from(header.e_phnum.get(LE));
        let segments = table(source, header.e_phoff.get(LE), count, "the program headers")?;
        for segment in &segments {
            self.add_segment(segment, source.len)?;
        }
        if self.loads.iter().any(|load| load.executable) {
            Ok(())
        } else {
            Err(ElfError::NotLoadable("a file without code"))
        }
    }

    fn add_segment(
        &mut self,
        segment: &ProgramHeader64<LittleEndian>,
        file_len: u64,
    ) -> Result<(), ElfError> {
        let file = Range { offset: segment.p_offset.get(LE), len: segment.p_filesz.get(LE) };
        let address = segment.p_vaddr.get(LE);
        match segment.p_type.get(LE) {
            elf::PT_LOAD => {
                if file.offset.checked_add(file.len).is_none_or(|end| end > file_len) {
                    return Err(ElfError::Truncated("a part that is to be loaded"));
                }
                if address.checked_add(file.len).is_none() {
                    return Err(ElfError::Damaged("a segment beyond the address space"));
                }
                let flags = segment.p_flags.get(LE).0;
                let executable = flags & elf::PF_X.0 != 0;
                let writable = flags & elf::PF_W.0 != 0;
                self.loads.push(Segment { address, file, executable, writable });
            }
            elf::PT_DYNAMIC => self.dynamic = Some(file),
            elf::PT_GNU_EH_FRAME => self.unwind = Some((address, file)),
            elf::PT_NOTE => self.notes.push((file, segment.p_align.get(LE))),
            _ => {}
        }
        Ok(())
    }
}

/// The first six bytes decide what a file is, whatever its length.
fn check_ident(source: &Source<'_>) -> Result<(), ElfError> {
    let start = source.bytes(0, source.len.min(6), "the ELF header")?;
    if start.is_empty() {
        return Err(ElfError::Empty);
    }
    if !start.starts_with(&elf::ELFMAG[..start.len().min(4)]) {
        return Err(ElfError::NotElf);
    }
    let [_, _, _, _, class, data] = *start else {
        return Err(ElfError::Truncated("the ELF header"));
    };
    match (elf::FileClass(class), elf::DataEncoding(data)) {
        (elf::ELFCLASS32, _) => Err(ElfError::ThirtyTwoBit),
        (elf::ELFCLASS64, elf::ELFDATA2MSB) => Err(ElfError::BigEndian),
        (elf::ELFCLASS64, elf::ELFDATA2LSB) => Ok(()),
        _ => Err(ElfError::Damaged("neither 32-bit nor 64-bit")),
    }
}

/// The section table; a program runs without it, so a strange one counts as none.
fn sections(
    source: &Source<'_>,
    header: &FileHeader64<LittleEndian>,
) -> Result<Vec<SectionHeader64<LittleEndian>>, ElfError> {
    // A count of 0 with a table means 65280 sections or more: only object files have that many.
    let count = u64::from(header.e_shnum.get(LE));
    let size = usize::from(header.e_shentsize.get(LE));
    if count == 0 || size != size_of::<SectionHeader64<LittleEndian>>() {
        return Ok(Vec::new());
    }
    table(source, header.e_shoff.get(LE), count, "the section table")
}

/// `count` plain records at `offset`.
pub(crate) fn table<T: Pod + Clone>(
    source: &Source<'_>,
    offset: u64,
    count: u64,
    what: &'static str,
) -> Result<Vec<T>, ElfError> {
    let len = count.checked_mul(size_of::<T>() as u64).ok_or(ElfError::Damaged(what))?;
    let bytes = source.bytes(offset, len, what)?;
    records(&bytes).map(<[T]>::to_vec).ok_or(ElfError::Damaged(what))
}

/// The whole records at the start of `bytes`.
pub(crate) fn records<T: Pod>(bytes: &[u8]) -> Option<&[T]> {
    let whole = bytes.len() - bytes.len() % size_of::<T>();
    slice_from_all_bytes(&bytes[..whole]).ok()
}
