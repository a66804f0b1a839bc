//! The table of functions that every Go program has, `pclntab`: <https://go.dev/src/runtime/symtab.go>.

use std::ops::ControlFlow;

use memchr::memmem;

use crate::binary::{Binary, Machine};
use crate::error::ElfError;
use crate::read::Range;
use crate::relocation::{relatives, words};

use super::Refusal;

/// Most functions of a program; the largest met has 300,000.
const MOST_FUNCTIONS: u64 = 1 << 22;
/// Most places that look like a table, and that look like the description of a module.
const MOST_CANDIDATES: usize = 64;
/// Longest name that is looked for.
const LONGEST_NAME: u64 = 64;
/// Longest table of names that is searched, bytes.
const LONGEST_NAMES: u64 = 256 << 20;
/// Bytes of records that are read at once, with and without pointers; and how often, for a table out of order.
const WINDOW: [u64; 2] = [256 << 10, 4 << 20];
const MOST_WINDOWS: [u32; 2] = [1024, 64];
/// Words from the start of a module's description to the start of its code, since Go 1.18.
const TEXT: usize = 22;

/// Which fields the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Go 1.16 and 1.17: addresses.
    Go116,
    /// Since Go 1.18: distances from the start of the code.
    Go118,
}

/// From the first byte of a function to that of the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The table, checked against the file.
pub(super) struct FunctionTable<'b, 'f> {
    binary: &'b Binary<'f>,
    layout: Layout,
    /// Its address.
    start: u64,
    functions: u64,
    /// Of the names, from the start.
    names: u64,
    names_end: u64,
    /// Of the sorted list of functions; records are counted from there, too.
    list: u64,
    /// What distances are counted from.
    text: u64,
}

impl Layout {
    /// Bytes of an address or distance.
    fn width(self) -> u64 {
        match self {
            Self::Go116 => 8,
            Self::Go118 => 4,
        }
    }
}

impl<'b, 'f> FunctionTable<'b, 'f> {
    /// The only one of the file.
    pub(super) fn find(binary: &'b Binary<'f>) -> Result<Self, Refusal> {
        let mut tables = candidates(binary)?.into_iter().filter_map(|start| Self::at(binary, start));
        let mut table = tables.next().ok_or(Refusal::NotGo)?;
        if tables.next().is_some() {
            return Err(Refusal::Unclear("it has two tables of functions"));
        }
        drop(tables);
        if table.layout == Layout::Go118 && table.text == 0 {
            table.text =
                table.text_of_module().ok_or(Refusal::Unclear("where its code starts is not clear"))?;
        }
        if !binary.is_code(table.text) && table.layout == Layout::Go118 {
            return Err(Refusal::Unclear("its table of functions points outside of its code"));
        }
        Ok(table)
    }

    /// The table at an address, if there is one.
    fn at(binary: &'b Binary<'f>, start: u64) -> Option<Self> {
        let header = words(binary, start, 9)?;
        let layout = match header[0] as u32 {
            0xffff_fffa => Layout::Go116,
            0xffff_fff0 | 0xffff_fff1 => Layout::Go118,
            _ => return None,
        };
        let (text, offsets) = match layout {
            Layout::Go116 => (0, &header[3..8]),
            Layout::Go118 => (header[3], &header[4..9]),
        };
        let functions = header[1];
        let in_order = offsets.is_sorted() && offsets[0] < offsets[1];
        if functions == 0 || functions > MOST_FUNCTIONS || !in_order {
            return None;
        }
        let last = offsets[4].checked_add((functions + 1) * 2 * layout.width())?;
        binary.file_offset(start.checked_add(last)?)?;
        Some(Self {
            binary,
            layout,
            start,
            functions,
            names: offsets[0],
            names_end: offsets[1],
            list: offsets[4],
            text,
        })
    }

    pub(super) fn machine(&self) -> Machine {
        self.binary.machine()
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Since Go 1.26 only the description of the module says where code starts: it begins with the addresses of
    /// this table and of its names.
    fn text_of_module(&self) -> Option<u64> {
        let names = self.start.checked_add(self.names)?;
        let mut texts: Vec<u64> = self
            .pointers_to_it()
            .into_iter()
            .filter_map(|at| {
                let module = words(self.binary, at, TEXT as u64 + 1)?;
                (module[..2] == [self.start, names]).then_some(module[TEXT])
            })
            .collect();
        texts.dedup();
        match texts[..] {
            [text] => Some(text),
            _ => None,
        }
    }

    fn pointers_to_it(&self) -> Vec<u64> {
        let mut found = Vec::new();
        let address = self.start.to_le_bytes();
        let finder = memmem::Finder::new(&address);
        for load in self.binary.headers.loads.iter().filter(|load| !load.executable) {
            // What can not be read has no pointers.
            let _ = self.binary.source.walk(load.file, 8, "data", |at, piece| {
                let hits = finder.find_iter(piece).map(|hit| load.address + at + hit as u64);
                found.extend(hits.filter(|hit| hit.is_multiple_of(8)).take(MOST_CANDIDATES));
                if found.len() < MOST_CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        relatives(self.binary, |at, value| {
            if value == self.start && found.len() < 2 * MOST_CANDIDATES {
                found.push(at);
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Functions by name: `None` for one that is not there, or there twice.
    pub(super) fn find_functions(&self, names: &[&str]) -> Result<Vec<Option<Extent>>, Refusal> {
        let places = self.find_names(names)?;
        let mut found = vec![None; names.len()];
        let mut rivals = vec![false; names.len()];
        if places.is_empty() {
            return Ok(found);
        }
        let damaged = || Refusal::Unclear("its table of functions is damaged");
        let (mut list, mut records) = (self.window(), self.window());
        let width = self.layout.width();
        for index in 0..self.functions {
            let entry = self.list + index * 2 * width;
            let start = list.number(entry, width).ok_or_else(damaged)?;
            let record = list.number(entry + width, width).ok_or_else(damaged)?;
            let record = self.list.checked_add(record).ok_or_else(damaged)?;
            let name = records.number(record.saturating_add(width), 4).ok_or_else(damaged)?;
            let Some((_, which)) = places.iter().find(|(place, _)| *place == name) else { continue };
            let end = list.number(entry + 2 * width, width).ok_or_else(damaged)?;
            if records.number(record, width) != Some(start) {
                return Err(damaged());
            }
            rivals[*which] |= found[*which].is_some();
            found[*which] = self.extent(start, end);
        }
        for (extent, _) in found.iter_mut().zip(rivals).filter(|(_, rival)| *rival) {
            *extent = None;
        }
        Ok(found)
    }

    fn extent(&self, start: u64, end: u64) -> Option<Extent> {
        let (start, end) = (self.text.checked_add(start)?, self.text.checked_add(end)?);
        (start < end && self.binary.is_code(start)).then_some(Extent { start, end })
    }

    /// Where names stand among all names, and which they are.
    fn find_names(&self, names: &[&str]) -> Result<Vec<(u64, usize)>, Refusal> {
        let address = self.start + self.names;
        let Some(offset) = self.binary.file_offset(address) else { return Ok(Vec::new()) };
        let range = Range { offset, len: (self.names_end - self.names).min(LONGEST_NAMES) };
        let finders: Vec<_> = names.iter().map(memmem::Finder::new).collect();
        let mut places = Vec::new();
        self.binary.source.walk(range, LONGEST_NAME + 2, "the names of functions", |at, piece| {
            for (which, finder) in finders.iter().enumerate() {
                for hit in finder.find_iter(piece) {
                    let begins = if hit == 0 { at == 0 } else { piece[hit - 1] == 0 };
                    if begins && piece.get(hit + names[which].len()) == Some(&0) {
                        places.push((at + hit as u64, which));
                    }
                }
            }
            if places.len() < MOST_CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    fn window(&self) -> Window<'b, 'f> {
        let wide = self.layout == Layout::Go116;
        let left = MOST_WINDOWS[usize::from(wide)];
        Window { binary: self.binary, table: self.start, wide, left, at: 0, bytes: Vec::new() }
    }
}

/// Reads numbers of the table in order, a piece at a time.
struct Window<'b, 'f> {
    binary: &'b Binary<'f>,
    table: u64,
    /// Has pointers, which the loader may have to fill in.
    wide: bool,
    /// How often it may still be read.
    left: u32,
    /// Where in the table the piece begins.
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_, '_> {
    /// `size` bytes at a distance from the start of the table.
    fn number(&mut self, at: u64, size: u64) -> Option<u64> {
        let inside = at.checked_sub(self.at).is_some_and(|into| into + size <= self.bytes.len() as u64);
        if !inside {
            self.read(at)?;
        }
        let into = usize::try_from(at - self.at).ok()?;
        let bytes = self.bytes.get(into..into + size as usize)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn read(&mut self, at: u64) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let at = at & !7;
        let address = self.table.checked_add(at)?;
        let left = self.binary.loaded_after(address)?.min(WINDOW[usize::from(self.wide)]);
        self.bytes = if self.wide {
            words(self.binary, address, left / 8)?.into_iter().flat_map(u64::to_le_bytes).collect()
        } else {
            self.binary.source.bytes(self.binary.file_offset(address)?, left, "the functions").ok()?
        };
        self.at = at;
        Some(())
    }
}

/// Addresses of what begins like a table.
fn candidates(binary: &Binary<'_>) -> Result<Vec<u64>, ElfError> {
    // After the first byte, the version: two zeros, the unit of code, the size of a pointer.
    let rest: &[u8] = match binary.machine() {
        Machine::X86_64 => b"\xff\xff\xff\0\0\x01\x08",
        Machine::Aarch64 => b"\xff\xff\xff\0\0\x04\x08",
    };
    let finder = memmem::Finder::new(rest);
    let mut found = Vec::new();
    for load in &binary.headers.loads {
        binary.source.walk(load.file, 8, "data", |at, piece| {
            for hit in finder.find_iter(piece).filter(|hit| *hit > 0) {
                let address = load.address + at + hit as u64 - 1;
                if matches!(piece[hit - 1], 0xf0 | 0xf1 | 0xfa) && address.is_multiple_of(8) {
                    found.push(address);
                }
            }
            if found.len() < MOST_CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
