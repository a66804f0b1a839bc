//! Addresses of a few wanted functions, without looking at the names of all others.
//!
//! First the string tables are searched for the wanted names: most files have none, and are done. Then
//! the symbols are walked comparing string offsets, which are numbers.

use std::ops::ControlFlow;

use memchr::{memchr, memchr2, memmem, memrchr};
use object::LittleEndian;
use object::elf::{self, SectionHeader64, Sym64};

use crate::binary::Binary;
use crate::error::ElfError;
use crate::header::{LE, records};
use crate::read::Range;

/// Longest name that may be asked for.
const LONGEST_NAME: usize = 128;
/// Longest mangled name that is looked at.
const LONGEST_MANGLED: u64 = 1024;
/// Longest symbol or string table that is searched; Chromium with all symbols has about 400 MB.
const LONGEST_TABLE: u64 = 512 << 20;
/// Most symbol tables of one file; linkers make one of each kind.
const MOST_TABLES: usize = 4;
/// Most places at which wanted names may stand in one string table.
const MOST_PLACES: usize = 4096;

/// The table in which a symbol was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SymbolTable {
    /// `.symtab`, for debuggers; a stripped file has none.
    Static,
    /// `.dynsym`, for the loader.
    Dynamic,
}

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name that was asked for, without a version.
    pub name: &'static str,
    /// Virtual address of its first byte.
    pub address: u64,
    /// Bytes of code; 0 if the file does not say.
    pub size: u64,
    /// Where it was found.
    pub table: SymbolTable,
}

/// The wanted functions that a file defines.
#[derive(Debug, Default)]
pub struct Symbols {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    symbol: Symbol,
    rank: Rank,
    rival: Option<u64>,
}

/// How well a symbol stands for its name: by table, then exported before hidden before local.
type Rank = (SymbolTable, u8);

impl Symbols {
    /// The function of that name; `None` if there is none, or two that are equally good.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.iter().find(|symbol| symbol.name == name)
    }

    /// All functions found.
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.found.iter().filter(|found| found.rival.is_none()).map(|found| &found.symbol)
    }

    /// Names that stand for two functions, with both addresses: neither can be trusted.
    pub fn ambiguous(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        self.found.iter().filter_map(|found| Some((found.symbol.name, [found.symbol.address, found.rival?])))
    }

    fn offer(&mut self, symbol: Symbol, rank: Rank) {
        let Some(known) = self.found.iter_mut().find(|known| known.symbol.name == symbol.name) else {
            self.found.push(Found { symbol, rank, rival: None });
            return;
        };
        if rank > known.rank {
            *known = Found { symbol, rank, rival: None };
        } else if rank == known.rank && symbol.address != known.symbol.address {
            known.rival = Some(symbol.address);
        }
    }
}

impl Binary<'_> {
    /// Whether any of the names occurs in a symbol table: cheap, and only a `false` is certain.
    pub fn may_have(&self, names: &[&'static str]) -> Result<bool, ElfError> {
        for table in self.symbol_tables() {
            if !table.find_names(self, names)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The functions of these names that the file itself defines.
    pub fn symbols(&self, names: &[&'static str]) -> Result<Symbols, ElfError> {
        self.symbols_of(Sort::Function, names)
    }

    /// The variables of these names that the file itself defines.
    pub fn variables(&self, names: &[&'static str]) -> Result<Symbols, ElfError> {
        self.symbols_of(Sort::Variable, names)
    }

    /// The functions that the file itself defines whose name has a piece in it and is accepted, each once.
    pub(crate) fn functions_with(
        &self,
        piece: &'static str,
        accepts: fn(name: &str, piece: &str) -> bool,
    ) -> Result<Vec<Symbol>, ElfError> {
        let mut found: Vec<Symbol> = Vec::new();
        for table in self.symbol_tables() {
            let places = table.find_names_with(self, piece, accepts)?;
            if places.is_empty() {
                continue;
            }
            table.find_symbols(self, Sort::Function, &places, |symbol, _| {
                if !found.iter().any(|known| known.address == symbol.address) {
                    found.push(symbol);
                }
            })?;
        }
        Ok(found)
    }

    fn symbols_of(&self, sort: Sort, names: &[&'static str]) -> Result<Symbols, ElfError> {
        let mut symbols = Symbols::default();
        for table in self.symbol_tables() {
            let places = table.find_names(self, names)?;
            if !places.is_empty() {
                table.find_symbols(self, sort, &places, |symbol, rank| symbols.offer(symbol, rank))?;
            }
        }
        Ok(symbols)
    }

    fn symbol_tables(&self) -> impl Iterator<Item = Table> {
        let sections = &self.headers.sections;
        let tables = sections.iter().filter_map(|section| {
            let kind = match section.sh_type.get(LE) {
                elf::SHT_DYNSYM => SymbolTable::Dynamic,
                elf::SHT_SYMTAB => SymbolTable::Static,
                _ => return None,
            };
            let strings = sections.get(section.sh_link.get(LE) as usize)?;
            Some(Table { kind, symbols: range(section), strings: range(strings) })
        });
        tables.take(MOST_TABLES)
    }
}

fn range(section: &SectionHeader64<LittleEndian>) -> Range {
    Range { offset: section.sh_offset.get(LE), len: section.sh_size.get(LE).min(LONGEST_TABLE) }
}

/// What a symbol stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Function,
    Variable,
}

/// A symbol table and its strings.
struct Table {
    kind: SymbolTable,
    symbols: Range,
    strings: Range,
}

/// A wanted name and where in the string table it stands.
struct Place {
    offset: u64,
    name: &'static str,
}

impl Table {
    /// Every place of every name, sorted. A name may be the tail of a longer one (linkers merge tails);
    /// whether it stands for a symbol is seen only when a symbol refers to it.
    fn find_names(&self, binary: &Binary<'_>, names: &[&'static str]) -> Result<Vec<Place>, ElfError> {
        let finders: Vec<_> = common_starts(names).into_iter().map(memmem::Finder::new).collect();
        let mut places = Vec::new();
        binary.source.walk(self.strings, LONGEST_NAME as u64 + 1, "the symbol names", |at, piece| {
            for finder in &finders {
                for hit in finder.find_iter(piece) {
                    let Some(name) = wanted_name(&piece[hit..], names) else { continue };
                    places.push(Place { offset: at + hit as u64, name });
                    if places.len() >= MOST_PLACES {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        places.sort_unstable_by_key(|place| place.offset);
        places.dedup_by_key(|place| place.offset);
        Ok(places)
    }

    /// The places of all accepted names that have a piece in them.
    fn find_names_with(
        &self,
        binary: &Binary<'_>,
        piece: &'static str,
        accepts: fn(name: &str, piece: &str) -> bool,
    ) -> Result<Vec<Place>, ElfError> {
        let finder = memmem::Finder::new(piece);
        let mut places = Vec::new();
        binary.source.walk(self.strings, LONGEST_MANGLED, "the symbol names", |at, bytes| {
            for hit in finder.find_iter(bytes) {
                let start = memrchr(0, &bytes[..hit]).map_or(0, |zero| zero + 1);
                let end = hit + memchr(0, &bytes[hit..]).unwrap_or(bytes.len() - hit);
                // A name that is cut is whole in the piece before or after this one.
                let name = bytes.get(start..end).and_then(|name| std::str::from_utf8(name).ok());
                if name.is_some_and(|name| accepts(name, piece)) {
                    places.push(Place { offset: at + start as u64, name: piece });
                }
            }
            if places.len() < MOST_PLACES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        places.sort_unstable_by_key(|place| place.offset);
        places.dedup_by_key(|place| place.offset);
        Ok(places)
    }

    fn find_symbols(
        &self,
        binary: &Binary<'_>,
        sort: Sort,
        places: &[Place],
        mut found: impl FnMut(Symbol, Rank),
    ) -> Result<(), ElfError> {
        let bounds = places[0].offset..=places[places.len() - 1].offset;
        binary.source.walk(self.symbols, 0, "the symbol table", |_, piece| {
            for entry in records::<Sym64<LittleEndian>>(piece).unwrap_or_default() {
                let name_at = u64::from(entry.st_name.get(LE));
                if bounds.contains(&name_at)
                    && let Ok(place) = places.binary_search_by_key(&name_at, |place| place.offset)
                    && let Some((symbol, rank)) = self.candidate(binary, sort, entry, places[place].name)
                {
                    found(symbol, rank);
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// A function or variable that this file defines. An indirect function (`STT_GNU_IFUNC`) is only a chooser.
    fn candidate(
        &self,
        binary: &Binary<'_>,
        sort: Sort,
        entry: &Sym64<LittleEndian>,
        name: &'static str,
    ) -> Option<(Symbol, Rank)> {
        let address = entry.st_value.get(LE);
        let defined = ![elf::SHN_UNDEF, elf::SHN_ABS].contains(&entry.st_shndx.get(LE));
        let fits = match sort {
            Sort::Function => entry.st_type() == elf::STT_FUNC && binary.is_code(address),
            Sort::Variable => entry.st_type() == elf::STT_OBJECT,
        };
        if !fits || !defined {
            return None;
        }
        let exported = [elf::STV_DEFAULT, elf::STV_PROTECTED].contains(&entry.st_visibility());
        let reach = match (entry.st_bind(), exported) {
            (elf::STB_LOCAL, _) => 0,
            (_, false) => 1,
            (_, true) => 2,
        };
        let symbol = Symbol { name, address, size: entry.st_size.get(LE), table: self.kind };
        Some((symbol, (self.kind, reach)))
    }
}

/// One search string for all names with the same first four bytes.
fn common_starts<'n>(names: &[&'n str]) -> Vec<&'n [u8]> {
    let mut starts: Vec<_> = names.iter().map(|name| &name.as_bytes()[..name.len().min(4)]).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// The wanted name at the start of `text`, up to its end or its version (`name@VERSION`, `name@@VERSION`).
fn wanted_name(text: &[u8], names: &[&'static str]) -> Option<&'static str> {
    let window = &text[..text.len().min(LONGEST_NAME + 1)];
    let found = &window[..memchr2(0, b'@', window)?];
    names.iter().copied().find(|name| name.as_bytes() == found)
}
