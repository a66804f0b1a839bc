//! Functions without symbols, by the constants that they refer to and by what enters them.
//!
//! Compilers move rare code of a function away from it. Such a piece counts as a function of its own until it is
//! clear who jumps to it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::binary::{Binary, Kind};
use crate::code::body::Body;
use crate::code::flow::{Summary, summarize, swept_targets};
use crate::code::{Code, Decoder, Flow, Target};
use crate::error::ElfError;
use crate::functions::Functions;
use crate::openssl::internal::Why;
use crate::openssl::source::Source;
use crate::openssl::survey::Survey;
use crate::references::{Reference, Use, Wanted, references};
use crate::relocation::pointers;
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};

/// Most bytes of code that are looked at closely, again and again included, in one file; Chromium takes 4 MB.
const MOST_CODE: u64 = 32 << 20;

/// The functions and pieces that refer to something wanted, by their starts.
pub(super) struct Outline<'b, 'f> {
    binary: &'b Binary<'f>,
    functions: &'b Functions<'b, 'f>,
    pieces: BTreeMap<u64, Piece>,
    /// Wanted addresses that are referred to from where no function is.
    pub(super) astray: BTreeSet<u64>,
    /// Instructions that load a wanted address behind a function that is called, but not as part of it.
    behind: BTreeMap<u64, u64>,
    /// How much of [`MOST_CODE`] is left.
    left: Cell<u64>,
}

/// A function, or a piece of one.
struct Piece {
    extent: Range<u64>,
    /// Instructions that load a wanted address, and the address.
    loads: BTreeMap<u64, u64>,
    /// Jumps and calls from other functions, by their addresses.
    entries: BTreeMap<u64, Entry>,
}

/// A jump or call into a function.
struct Entry {
    to: u64,
    used: Use,
    conditional: bool,
    /// Start of the function that it is in.
    from: u64,
}

/// Everything that enters a function, with certainty.
#[derive(Default)]
pub(super) struct Entered {
    /// Starts of the functions that call its first byte.
    pub(super) callers: BTreeSet<u64>,
    /// Starts of the functions that jump to it or into it.
    pub(super) jumpers: BTreeSet<u64>,
    /// Some jump is conditional, or goes inside: as to a piece that was moved, not as a last call.
    torn: bool,
    /// Something is called inside: not one function.
    pub(super) several: bool,
}

impl Entered {
    /// Starts of all functions that call it, also as the last thing they do.
    pub(super) fn all(self) -> impl Iterator<Item = u64> {
        self.callers.into_iter().chain(self.jumpers)
    }
}

impl<'b, 'f> Outline<'b, 'f> {
    /// Of what loads a wanted address.
    pub(super) fn new(
        binary: &'b Binary<'f>,
        survey: &'b Survey<'b, 'f>,
        wanted: &Wanted,
        decoder: &mut Decoder,
    ) -> Result<Result<Self, Why>, ElfError> {
        let functions = match &survey.functions {
            Ok(functions) => functions,
            Err(why) => return Ok(Err(why)),
        };
        let (pieces, astray, left) = (BTreeMap::new(), BTreeSet::new(), Cell::new(MOST_CODE));
        let mut outline = Self { binary, functions, pieces, astray, behind: BTreeMap::new(), left };
        for &Reference { at, to, .. } in survey.loads.iter().filter(|load| wanted.contains(load.to)) {
            match outline.functions.around(at) {
                Some(extent) => drop(outline.piece(extent).loads.insert(at, to)),
                None => drop(outline.astray.insert(to)),
            }
        }
        let complete = outline.find_entries(decoder)? && outline.add_jumpers(decoder)?;
        Ok(if complete { Ok(outline) } else { Err("too many jumps") })
    }

    fn piece(&mut self, extent: Range<u64>) -> &mut Piece {
        let piece = |extent| Piece { extent, loads: BTreeMap::new(), entries: BTreeMap::new() };
        self.pieces.entry(extent.start).or_insert_with(|| piece(extent))
    }

    /// Functions without loads of their own that jump to pieces which nothing seems to call.
    fn add_jumpers(&mut self, decoder: &mut Decoder) -> Result<bool, ElfError> {
        let called = |piece: &&Piece| piece.entries.values().any(|entry| entry.used == Use::Call);
        let moved = self.pieces.values().filter(|piece| !called(piece));
        let from: BTreeSet<_> =
            moved.flat_map(|piece| piece.entries.values().map(|entry| entry.from)).collect();
        let before = self.pieces.len();
        for extent in from.into_iter().filter_map(|start| self.functions.around(start)).collect::<Vec<_>>() {
            self.piece(extent);
        }
        if self.pieces.len() == before { Ok(true) } else { self.find_entries(decoder) }
    }

    /// By a disassembly of the functions that they seem to be in.
    fn find_entries(&mut self, decoder: &mut Decoder) -> Result<bool, ElfError> {
        let wanted = self.pieces.values().map(|piece| piece.extent.clone()).collect();
        let Some(mut references) = references(self.binary, &wanted)? else { return Ok(false) };
        references.retain(|found| {
            let piece = self.pieces.range(..=found.to).next_back();
            found.used != Use::Load && piece.is_some_and(|(_, piece)| !piece.extent.contains(&found.at))
        });
        let around = |found: Reference| Some((self.functions.around(found.at)?, found));
        let placed: Vec<_> = references.into_iter().filter_map(around).collect();
        for together in placed.chunk_by(|(one, _), (other, _)| one == other) {
            let from = &together[0].0;
            let code = self.code(from);
            let targets = swept_targets(&code, decoder);
            for &(_, Reference { at, to, used }) in together {
                let index = targets.binary_search_by_key(&at, |(at, _)| *at);
                if index.is_ok_and(|index| targets[index].1 == Target::Address(to))
                    && let Some((_, piece)) = self.pieces.range_mut(..=to).next_back()
                {
                    let insn = code.decode(decoder, at);
                    let conditional = insn.is_some_and(|insn| matches!(insn.flow, Flow::Branch(..)));
                    piece.entries.insert(at, Entry { to, used, conditional, from: from.start });
                }
            }
        }
        Ok(true)
    }

    /// What is loaded by each function, its moved pieces included, and whether it is clear whose they are.
    pub(super) fn functions(&mut self, decoder: &mut Decoder) -> Vec<Function> {
        let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
        for piece in self.pieces.values() {
            let owners = owners(piece);
            for &start in &owners {
                let Some(extent) = self.functions.around(start) else { continue };
                let function =
                    functions.entry(start).or_insert_with(|| Function { extent, ..Function::default() });
                function.loads.extend(&piece.loads);
                function.moved.extend(Some(piece.extent.clone()).filter(|extent| extent.start != start));
                function.shared |= owners.len() > 1;
            }
        }
        let mut functions = Vec::from_iter(functions.into_values());
        if !self.exact() {
            functions.retain(|function| self.is_start(function.extent.start));
            for function in &mut functions {
                self.drop_others(function, decoder);
            }
        }
        functions
    }

    /// Whether functions may be called from other files.
    pub(super) fn is_library(&self) -> bool {
        self.binary.kind() == Kind::SharedObject
    }

    /// Whether extents are those of exactly one function.
    pub(super) fn exact(&self) -> bool {
        self.functions.exact()
    }

    /// Where an extent may be several functions: drops the loads of those that control does not get to from its start.
    fn drop_others(&mut self, function: &mut Function, decoder: &mut Decoder) {
        let body = self.body(function, decoder);
        function.loads.retain(|at, to| {
            let own = body.as_ref().is_some_and(|body| body.reaches(*at));
            self.astray.extend((!own).then_some(*to));
            self.behind.extend((!own).then_some((*at, *to)));
            own
        });
    }

    /// Functions that nothing calls, but data points to, as far as they load something wanted. A pointer may as well be
    /// to a place inside of a function, so that what such code shows is a weak sign.
    pub(super) fn pointed_to(&self) -> Vec<Function> {
        let around = |at: &u64| self.functions.around(*at);
        let starts = pointers(self.binary, &self.behind.keys().filter_map(around).collect());
        let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
        for (&at, &to) in &self.behind {
            let Some(extent) = around(&at) else { continue };
            let Some(&start) = starts.range(extent.start..=at).next_back() else { continue };
            let end = starts.range(at + 1..extent.end.max(at + 1)).next().copied().unwrap_or(extent.end);
            let function = || Function { extent: start..end, ..Function::default() };
            functions.entry(start).or_insert_with(function).loads.insert(at, to);
        }
        functions.into_values().collect()
    }

    /// Whether a function starts there for sure: also by a disassembly of what calls it.
    fn is_start(&self, address: u64) -> bool {
        self.exact() || self.entries(address).all().next().is_some()
    }

    /// What enters the function that starts there.
    pub(super) fn entries(&self, start: u64) -> Entered {
        self.pieces.get(&start).map(entered).unwrap_or_default()
    }

    /// The instructions of a function.
    pub(super) fn body(&self, function: &Function, decoder: &mut Decoder) -> Option<Body> {
        let extents = std::iter::once(&function.extent).chain(&function.moved);
        Body::read(&extents.map(|extent| self.code(extent)).collect::<Vec<_>>(), decoder)
    }

    /// Calls `meet` for what is met on a way to an instruction of a function; it gets the first argument, too.
    pub(super) fn arrive(
        &self,
        function: &Function,
        at: u64,
        decoder: &mut Decoder,
        mut meet: impl FnMut(&mut Pool, Id, Event) -> Next,
    ) {
        let code = self.code(&function.extent);
        let mut explorer = Explorer::new(&code, function.extent.clone(), decoder);
        if let Some(state) = State::new(&mut explorer.pool) {
            let first = state.get(code.abi().args[0]);
            explorer.arrive(at, |pool, _, event| meet(pool, first, event));
        }
    }

    pub(super) fn summary(&self, start: u64, decoder: &mut Decoder) -> Summary {
        let extent = self.functions.around(start).unwrap_or(start..start);
        summarize(&self.code(&extent), decoder)
    }

    /// The function that starts at an address; `None` if that is not sure.
    pub(super) fn extent(
        &mut self,
        start: u64,
        decoder: &mut Decoder,
    ) -> Result<Option<Range<u64>>, ElfError> {
        let Some(extent) = self.functions.around(start).filter(|extent| extent.start == start) else {
            return Ok(None);
        };
        if !self.exact() && !self.pieces.contains_key(&start) {
            self.piece(extent.clone());
            self.find_entries(decoder)?;
        }
        Ok(self.is_start(start).then_some(extent))
    }

    /// Empty where the file has had more than its share.
    fn code(&self, extent: &Range<u64>) -> Code {
        let code = function_code(self.binary, extent.start, extent.end.saturating_sub(extent.start));
        let len = code.bytes.len() as u64;
        self.left.set(self.left.get().saturating_sub(len));
        if self.left.get() == 0 { Code::read(self.binary, extent.start, 0) } else { code }
    }
}

/// The functions that a piece belongs to: itself unless it is a moved one, else those that jump to it.
fn owners(piece: &Piece) -> BTreeSet<u64> {
    let entered = entered(piece);
    if entered.callers.is_empty() && entered.torn {
        entered.jumpers
    } else {
        BTreeSet::from([piece.extent.start])
    }
}

fn entered(piece: &Piece) -> Entered {
    let mut entered = Entered::default();
    for &Entry { to, used, conditional, from } in piece.entries.values() {
        let inside = to != piece.extent.start;
        if used == Use::Call {
            entered.callers.extend((!inside).then_some(from));
            entered.several |= inside;
        } else {
            entered.jumpers.insert(from);
            entered.torn |= inside || conditional;
        }
    }
    entered
}

/// A function that refers to something wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) extent: Range<u64>,
    /// Pieces of it that are elsewhere.
    pub(super) moved: Vec<Range<u64>>,
    /// Instructions that load a wanted address, and the address.
    pub(super) loads: BTreeMap<u64, u64>,
    /// A piece may as well be another function's.
    pub(super) shared: bool,
}

impl Function {
    /// Instructions that load the path of the source file.
    pub(super) fn paths(&self, source: &Source) -> impl Iterator<Item = u64> {
        self.loads.iter().filter(|(_, to)| source.contains(**to)).map(|(at, _)| *at)
    }
}
