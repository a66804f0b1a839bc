//! Finds functions of OpenSSL 3 and later in files without symbols.
//!
//! A function that reports an error gives its own name and the path of its source file, so its code refers
//! to both. Of ssl/ssl_lib.c only the functions wanted here have these names; where one was inlined, more
//! than one function refers to its name, or none has its shape.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::internal::Why;
use super::known::Direction;
use crate::binary::Binary;
use crate::code::flow::{Summary, Value, summarize, swept_targets};
use crate::code::{Decoder, Flow, Target};
use crate::constants::{MOST_PLACES, search};
use crate::error::ElfError;
use crate::functions::Functions;
use crate::hook::Arg;
use crate::references::{Reference, Use, Wanted, references};
use crate::site::function_code;

/// The source file of all of them, as the end of a path.
const SOURCE: &[u8] = b"ssl_lib.c";

/// The path of the source file in the constants of a file: every address that may be its start.
pub(super) struct Source {
    pub(super) path: String,
    starts: Vec<Range<u64>>,
}

impl Source {
    /// `None` if it is nowhere, which is the usual case and cheap.
    pub(super) fn find(binary: &Binary<'_>) -> Result<Option<Self>, ElfError> {
        let mut found = Self { path: String::new(), starts: Vec::new() };
        search(binary, &[SOURCE], |address, before, _| {
            let printed = before.iter().rev().take_while(|byte| (b' '..=b'~').contains(*byte)).count();
            let directory = &before[before.len() - printed..];
            if directory.is_empty() || directory.ends_with(b"/") {
                found.path = String::from_utf8_lossy(&[directory, SOURCE].concat()).into_owned();
                found.starts.push(address.saturating_sub(printed as u64)..address.saturating_add(1));
            }
        })?;
        Ok((!found.starts.is_empty() && found.starts.len() < MOST_PLACES).then_some(found))
    }
}

/// Functions by the strings that they refer to.
pub(super) struct Stripped<'b, 'f> {
    binary: &'b Binary<'f>,
    functions: Functions<'b, 'f>,
    names: Vec<&'static str>,
    /// For each function, or piece of one, that refers to anything: which names, and whether the path.
    pieces: BTreeMap<u64, Piece>,
    /// Names with a reference from where no function is.
    astray: BTreeSet<usize>,
}

struct Piece {
    extent: Range<u64>,
    names: BTreeSet<usize>,
    path: bool,
    /// Where possible jumps and calls from outside are, and where they go.
    entries: BTreeMap<u64, u64>,
}

/// Everything that enters a function, with certainty.
#[derive(Default)]
struct Entered {
    /// Starts of the functions that call its first byte.
    callers: BTreeSet<u64>,
    /// Starts of the functions that jump to it or into it.
    jumpers: BTreeSet<u64>,
    /// Something is called inside: not one function.
    several: bool,
}

impl<'b, 'f> Stripped<'b, 'f> {
    pub(super) fn find(
        binary: &'b Binary<'f>,
        source: &Source,
        names: Vec<&'static str>,
    ) -> Result<Result<Self, Why>, ElfError> {
        let Some(functions) = Functions::read(binary) else {
            return Ok(Err("no index of the functions"));
        };
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        let needles: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
        search(binary, &needles, |address, _, which| {
            places.insert(address, which);
        })?;
        if places.len() >= MOST_PLACES {
            return Ok(Err("its name is in too many places"));
        }
        let mut found = Self { binary, functions, names, pieces: BTreeMap::new(), astray: BTreeSet::new() };
        let names = places.keys().map(|&at| at..at.saturating_add(1));
        let wanted = Wanted::from_iter(names.chain(source.starts.iter().cloned()));
        let Some(references) = references(binary, &wanted)? else {
            return Ok(Err("too much code"));
        };
        for Reference { at, to, .. } in references.into_iter().filter(|found| found.used == Use::Load) {
            let name = places.get(&to).copied();
            match found.functions.around(at) {
                Some(extent) => {
                    let piece = found.piece(extent);
                    piece.names.extend(name);
                    piece.path |= name.is_none();
                }
                None => found.astray.extend(name),
            }
        }
        let complete = found.find_entries()? && found.add_jumpers()?;
        Ok(if complete { Ok(found) } else { Err("too many jumps") })
    }

    fn piece(&mut self, extent: Range<u64>) -> &mut Piece {
        self.pieces.entry(extent.start).or_insert_with(|| Piece {
            extent,
            names: BTreeSet::new(),
            path: false,
            entries: BTreeMap::new(),
        })
    }

    /// Functions without references of their own that jump to pieces with a name.
    fn add_jumpers(&mut self) -> Result<bool, ElfError> {
        let named = self.pieces.values().filter(|piece| !piece.names.is_empty());
        let from: BTreeSet<u64> = named.flat_map(|piece| piece.entries.keys().copied()).collect();
        let before = self.pieces.len();
        for extent in from.into_iter().filter_map(|at| self.functions.around(at)).collect::<Vec<_>>() {
            self.piece(extent);
        }
        if self.pieces.len() == before { Ok(true) } else { self.find_entries() }
    }

    fn find_entries(&mut self) -> Result<bool, ElfError> {
        let wanted = self.pieces.values().map(|piece| piece.extent.clone()).collect();
        let Some(references) = references(self.binary, &wanted)? else { return Ok(false) };
        for Reference { at, to, .. } in references.into_iter().filter(|found| found.used != Use::Load) {
            if let Some((_, piece)) = self.pieces.range_mut(..=to).next_back()
                && !piece.extent.contains(&at)
            {
                piece.entries.insert(at, to);
            }
        }
        Ok(true)
    }

    /// The one function that refers to its name and to the path, itself or from a piece that was moved away.
    fn function(&self, name: &str, decoder: &mut Decoder) -> Result<(&Piece, Entered), Why> {
        let which = self.names.iter().position(|other| *other == name).ok_or("not looked for")?;
        if self.astray.contains(&which) {
            return Err("its name is used where no function is");
        }
        let mut owners = BTreeSet::new();
        for piece in self.pieces.values().filter(|piece| piece.names.contains(&which)) {
            owners.insert(self.owner(piece, decoder)?);
        }
        owners.retain(|start| self.pieces.get(start).is_none_or(|piece| self.has_path(piece, decoder)));
        let mut owners = owners.into_iter();
        let start = owners.next().ok_or("no function refers to its name and its source file")?;
        if owners.next().is_some() {
            return Err("several functions refer to its name and its source file");
        }
        let piece = self.pieces.get(&start).ok_or("it is not among the functions")?;
        let entered = self.entered(piece, decoder);
        if entered.several {
            return Err("its end is unknown");
        }
        Ok((piece, entered))
    }

    /// Whether the function or a piece of it refers to the path.
    fn has_path(&self, function: &Piece, decoder: &mut Decoder) -> bool {
        let inside = &function.extent;
        let jumped_to = |piece: &&Piece| piece.entries.keys().any(|at| inside.contains(at));
        let mut near = self.pieces.values().filter(|piece| piece.path).filter(jumped_to);
        function.path || near.any(|piece| self.owner(piece, decoder) == Ok(inside.start))
    }

    /// The start of the function that a piece belongs to: itself if it is called or nothing jumps to it, else
    /// the only function that does.
    fn owner(&self, piece: &Piece, decoder: &mut Decoder) -> Result<u64, Why> {
        let entered = self.entered(piece, decoder);
        let mut jumpers = entered.jumpers.iter();
        match (entered.callers.is_empty(), jumpers.next(), jumpers.next()) {
            (false, ..) | (true, None, _) => Ok(piece.extent.start),
            (true, Some(only), None) => Ok(*only),
            (true, Some(_), Some(_)) => Err("a piece of code with its name belongs to several functions"),
        }
    }

    /// The entries that a disassembly of the function around them has, too.
    fn entered(&self, piece: &Piece, decoder: &mut Decoder) -> Entered {
        let mut entered = Entered::default();
        for (&at, &to) in &piece.entries {
            let Some(from) = self.functions.around(at) else { continue };
            let code = function_code(self.binary, from.start, from.end - from.start);
            let there = Target::Address(to);
            if !swept_targets(&code, decoder).contains(&there) {
                continue;
            }
            let called = code.decode(decoder, at).is_some_and(|insn| insn.flow == Flow::Call(there));
            if !called {
                entered.jumpers.insert(from.start);
            } else if to == piece.extent.start {
                entered.callers.insert(from.start);
            } else {
                entered.several = true;
            }
        }
        entered
    }

    /// The internal function of a direction: its extent and the position of its out argument.
    pub(super) fn internal(
        &self,
        direction: Direction,
        decoder: &mut Decoder,
    ) -> Result<(Range<u64>, Arg), Why> {
        let (piece, entered) = self.function(direction.internal(), decoder)?;
        if entered.callers.is_empty() {
            return Err("nothing calls the function that refers to its name");
        }
        let summary = self.summary(&piece.extent, decoder);
        let out = protocol_out(&summary)?;
        // SSL_read and SSL_write have a variable there; nothing else at that place has an address.
        let start = piece.extent.start;
        let mut variables = BTreeSet::new();
        for caller in entered.callers.iter().filter_map(|&caller| self.functions.around(caller)) {
            for call in self.summary(&caller, decoder).calls {
                if call.target == Target::Address(start) {
                    let is_variable = |at: &usize| matches!(call.args[*at], Value::Frame(to) if to < 0);
                    variables.extend(OUTS.into_iter().filter(is_variable));
                }
            }
        }
        if !variables.into_iter().eq([out]) {
            return Err("its callers do not confirm the out argument");
        }
        Ok((piece.extent.clone(), Arg(out as u8 + 1)))
    }

    /// A function that makes or resets the object.
    pub(super) fn lifecycle(&self, name: &str, decoder: &mut Decoder) -> Result<Range<u64>, Why> {
        let (piece, _) = self.function(name, decoder)?;
        Ok(piece.extent.clone())
    }

    fn summary(&self, extent: &Range<u64>, decoder: &mut Decoder) -> Summary {
        summarize(&function_code(self.binary, extent.start, extent.end - extent.start), decoder)
    }
}

/// Where the out argument may be, counted from 0: behind the length, or the flags (since 3.3).
const OUTS: [usize; 2] = [3, 4];

/// The argument that the function passes on as `out` in `s->method->ssl_read(s, buf, num, out)` (or
/// `ssl_write`), a call through a pointer with its own object, buffer and length.
fn protocol_out(summary: &Summary) -> Result<usize, Why> {
    let own = [Value::Arg(0), Value::Arg(1), Value::Arg(2)];
    let calls = summary.calls.iter().filter(|call| call.target == Target::Unknown);
    let fourth: BTreeSet<_> = calls
        .filter(|call| call.args.starts_with(&own))
        .filter_map(|call| OUTS.into_iter().find(|&out| call.args[3] == Value::Arg(out as u8)))
        .collect();
    match (summary.complete, Vec::from_iter(fourth).as_slice()) {
        (true, &[out]) => Ok(out),
        (true, []) => Err("the function that refers to its name is not seen to reach the protocol's own"),
        (true, _) => Err("its calls of the protocol's own function disagree about the out argument"),
        (false, _) => Err("its code is too large"),
    }
}
