//! What the loader puts where: which function a call through the procedure linkage table reaches, and words of
//! position-independent files.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use object::LittleEndian;
use object::elf::{self, Rela64, Sym64};

use crate::binary::{Binary, Machine};
use crate::constants;
use crate::header::{LE, records, table};
use crate::read::Range;
use crate::references::Wanted;

/// Most slots that are remembered; the largest program met has 30,000.
const MOST: usize = 1 << 20;

/// Most pointers that are kept.
const MOST_POINTERS: usize = 1 << 16;

/// Most bytes of one relocation table.
const LONGEST_TABLE: u64 = 256 << 20;

/// From the address of a slot that the loader fills to the dynamic symbol that it is filled with.
pub(crate) struct SlotIndex(HashMap<u64, u32>);

impl SlotIndex {
    /// Relocations by symbol, from the tables that the loader itself would use. What cannot be read is
    /// absent: a call through an unknown slot counts as a call to somewhere else.
    pub(crate) fn read(binary: &Binary<'_>) -> Self {
        let mut index = Self(HashMap::new());
        for (start, size) in [(elf::DT_JMPREL, elf::DT_PLTRELSZ), (elf::DT_RELA, elf::DT_RELASZ)] {
            let found = binary.dynamic_value(start).zip(binary.dynamic_value(size));
            if let Some((address, len)) = found
                && let Some(offset) = binary.file_offset(address)
            {
                index.add(binary, Range { offset, len: len.min(LONGEST_TABLE) });
            }
        }
        index
    }

    fn add(&mut self, binary: &Binary<'_>, range: Range) {
        // A read error ends the walk early; what is missing is then unknown, never wrong.
        let _ = binary.source.walk(range, 0, "relocations", |_, piece| {
            for entry in records::<Rela64<LittleEndian>>(piece).unwrap_or_default() {
                let symbol = (entry.r_info.get(LE) >> 32) as u32;
                if symbol != 0 {
                    self.0.insert(entry.r_offset.get(LE), symbol);
                }
            }
            if self.0.len() < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
}

/// `count` words of 8 bytes at an address as they are once the file is loaded at 0.
pub(crate) fn words(binary: &Binary<'_>, address: u64, count: u64) -> Option<Vec<u64>> {
    let size = count.checked_mul(8)?;
    let bytes = binary.source.bytes(binary.file_offset(address)?, size, "data").ok()?;
    let mut words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    relatives(binary, |at, value| {
        if let Some(into) = at.checked_sub(address).filter(|into| into.is_multiple_of(8))
            && let Some(word) = words.get_mut(usize::try_from(into / 8).unwrap_or(usize::MAX))
        {
            *word = value;
        }
    });
    Some(words)
}

/// Places of pointers into the file itself, and the pointers.
pub(crate) fn relatives(binary: &Binary<'_>, mut each: impl FnMut(u64, u64)) {
    let kind = match binary.machine() {
        Machine::X86_64 => elf::R_X86_64_RELATIVE,
        Machine::Aarch64 => elf::R_AARCH64_RELATIVE,
    };
    let table = binary.dynamic_value(elf::DT_RELA).zip(binary.dynamic_value(elf::DT_RELASZ));
    let Some((address, len)) = table else { return };
    let Some(offset) = binary.file_offset(address) else { return };
    // A read error ends the walk early; a word without its relocation is refused by those who check it.
    let range = Range { offset, len: len.min(LONGEST_TABLE) };
    let _ = binary.source.walk(range, 0, "relocations", |_, piece| {
        for entry in records::<Rela64<LittleEndian>>(piece).unwrap_or_default() {
            if entry.r_info.get(LE) as u32 == kind.0 {
                each(entry.r_offset.get(LE), entry.r_addend.get(LE) as u64);
            }
        }
        ControlFlow::Continue(())
    });
}

/// Wanted addresses that data points to.
pub(crate) fn pointers(binary: &Binary<'_>, wanted: &Wanted) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut add = |value| {
        if found.len() < MOST_POINTERS && wanted.contains(value) {
            found.insert(value);
        }
    };
    relatives(binary, |_, value| add(value));
    let mut left = constants::MOST;
    for load in binary.headers.loads.iter().filter(|load| !load.executable) {
        let unaligned = load.address.wrapping_neg() % 8;
        let range = Range { len: load.file.len.min(left), ..load.file };
        left -= range.len;
        // A read error ends the walk early, as above.
        let _ = binary.source.walk(range, 8, "data", |_, piece| {
            let words = piece.get(unaligned as usize..).unwrap_or_default().as_chunks().0;
            words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
            ControlFlow::Continue(())
        });
    }
    found
}

/// The library's own definition behind a slot; `None` for an import. Another library could interpose
/// its own, but then the call leaves this file and no probe in this file is wrong.
pub(crate) fn own_function_behind(binary: &Binary<'_>, slot: u64) -> Option<u64> {
    let index = *binary.slots().0.get(&slot)?;
    let symbols = binary.dynamic_value(elf::DT_SYMTAB)?;
    let size = size_of::<Sym64<LittleEndian>>() as u64;
    let address = symbols.checked_add(u64::from(index) * size)?;
    let offset = binary.file_offset(address)?;
    let symbol: Sym64<LittleEndian> = table(&binary.source, offset, 1, "a symbol").ok()?.pop()?;
    let defined = symbol.st_shndx.get(LE) != elf::SHN_UNDEF && symbol.st_type() == elf::STT_FUNC;
    let value = symbol.st_value.get(LE);
    (defined && binary.is_code(value)).then_some(value)
}
