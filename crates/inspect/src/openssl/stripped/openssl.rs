//! Functions of OpenSSL: their errors name them, as text since 3.0 and as a number before.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::Errors;
use super::outline::{Function, Outline};
use super::source::Source;
use super::{Findings, Found};
use crate::binary::Binary;
use crate::code::flow::{Summary, Value};
use crate::code::{Decoder, Target};
use crate::constants::{MOST_PLACES, search};
use crate::error::ElfError;
use crate::hook::{Arg, Evidence, Purpose};
use crate::openssl::Flavour;
use crate::openssl::internal::Why;
use crate::openssl::known::{self, Direction, Form, REPORTED};
use crate::references::Wanted;

/// The library's number in its errors.
const LIBRARY: u64 = 20;

/// Where the out argument may be, counted from 0: behind the length, or the flags (since 3.3).
const OUTS: [usize; 2] = [3, 4];

/// The functions that report errors in the source file, with the names that they give.
struct Library<'o, 'b, 'f> {
    outline: &'o Outline<'b, 'f>,
    functions: Vec<(Function, BTreeSet<&'static str>)>,
    /// Names that are used where no function is.
    astray: BTreeSet<&'static str>,
    evidence: Evidence,
}

pub(super) fn find(binary: &Binary<'_>, source: &Source) -> Result<Result<Findings, Why>, ElfError> {
    let mut places: BTreeMap<u64, &'static str> = BTreeMap::new();
    search(binary, &REPORTED.map(|(name, _)| name.as_bytes()), |address, _, which| {
        places.insert(address, REPORTED[which].0);
    })?;
    if places.len() >= MOST_PLACES {
        return Ok(Err("its functions' names are in too many places"));
    }
    let names = places.keys().map(|&at| at..at.saturating_add(1));
    let wanted: Wanted = names.chain(source.starts.iter().cloned()).collect();
    let outline = match Outline::new(binary, &wanted)? {
        Ok(outline) => outline,
        Err(why) => return Ok(Err(why)),
    };
    let mut decoder = Decoder::default();
    let library = Library::new(&outline, source, &places, &mut decoder);
    Ok(Ok(library.findings(&mut decoder)))
}

impl<'o, 'b, 'f> Library<'o, 'b, 'f> {
    fn new(
        outline: &'o Outline<'b, 'f>,
        source: &Source,
        places: &BTreeMap<u64, &'static str>,
        decoder: &mut Decoder,
    ) -> Self {
        let mut functions = outline.functions(decoder);
        functions.retain(|function| function.loads.values().any(|to| source.contains(*to)));
        let names =
            |function: &Function| function.loads.values().filter_map(|to| places.get(to).copied()).collect();
        let mut functions: Vec<_> = functions
            .into_iter()
            .map(|function| {
                let names: BTreeSet<_> = names(&function);
                (function, names)
            })
            .collect();
        let path = source.path.clone();
        let mut evidence = Evidence::Strings { source: path.clone() };
        if functions.iter().all(|(_, names)| names.is_empty()) {
            for (function, names) in &mut functions {
                names.extend(numbered(outline, function, source, decoder));
            }
            evidence = Evidence::ErrorCodes { source: path };
        }
        let astray = outline.astray.iter().filter_map(|at| places.get(at).copied()).collect();
        Self { outline, functions, astray, evidence }
    }

    fn findings(&self, decoder: &mut Decoder) -> Findings {
        let mut findings = Findings::new(Flavour::OpenSsl);
        for direction in [Direction::Read, Direction::Write] {
            match self.direction(direction, decoder) {
                Ok(found) => findings.found.extend(found),
                Err(why) => findings.notes.push(format!("{}: {why}", direction.internal())),
            }
        }
        // Where those are not whole, these may be part of others, too.
        let whole = findings.notes.is_empty();
        for (name, purpose) in known::LIFECYCLE.into_iter().filter(|_| whole) {
            match self.only(name) {
                Ok(function) => findings.found.push(self.found(name, purpose, function)),
                Err(why) => findings.notes.push(format!("{name}: {why}")),
            }
        }
        findings
    }

    fn found(&self, name: &'static str, purpose: Purpose, function: &Function) -> Found {
        Found { name, purpose, extent: function.extent.clone(), evidence: self.evidence.clone() }
    }

    /// The functions that give a name with their errors.
    fn named(&self, name: &str) -> Result<Vec<&Function>, Why> {
        if self.astray.contains(name) {
            return Err("its name is used where no function is");
        }
        let named = self.functions.iter().filter(|(_, names)| names.contains(name));
        let named: Vec<_> = named.map(|(function, _)| function).collect();
        if named.iter().any(|function| function.shared) {
            return Err("a piece of code with its name belongs to several functions");
        }
        Ok(named)
    }

    /// The one function that gives a name.
    fn only(&self, name: &str) -> Result<&Function, Why> {
        match *self.named(name)? {
            [] => Err("no function refers to its name and its source file"),
            [function] => Ok(function),
            _ => Err("several functions refer to its name and its source file"),
        }
    }

    /// What moves plaintext in one direction: the internal function; without one, as before 1.1.1, the public one.
    fn direction(&self, direction: Direction, decoder: &mut Decoder) -> Result<Vec<Found>, Why> {
        let internal = direction.internal();
        if self.named(internal)?.is_empty() && !self.named(direction.simple())?.is_empty() {
            return Ok(vec![self.simple(direction, decoder)?]);
        }
        let function = self.only(internal)?;
        let out = self.out(function, decoder)?;
        Ok(vec![self.found(internal, direction.internal_purpose(out), function)])
    }

    /// The position of the internal function's out argument, by its code and by its callers.
    fn out(&self, function: &Function, decoder: &mut Decoder) -> Result<Arg, Why> {
        let start = function.extent.start;
        let entered = self.outline.entries(start, decoder);
        if entered.several {
            return Err("its end is unknown");
        }
        if entered.callers.is_empty() {
            return Err("nothing calls the function that refers to its name");
        }
        let out = protocol_out(&self.outline.summary(start, decoder))?;
        // SSL_read and SSL_write have a variable there; nothing else at that place has an address.
        let mut variables = BTreeSet::new();
        for caller in entered.callers {
            let calls = self.outline.summary(caller, decoder).calls;
            for call in calls.iter().filter(|call| call.target == Target::Address(start)) {
                let is_variable = |at: &usize| matches!(call.args[*at], Value::Frame(to) if to < 0);
                variables.extend(OUTS.into_iter().filter(is_variable));
            }
        }
        if !variables.into_iter().eq([out]) {
            return Err("its callers do not confirm the out argument");
        }
        Ok(Arg(out as u8 + 1))
    }

    /// `SSL_read` or `SSL_write` itself, if it calls the protocol's own function.
    fn simple(&self, direction: Direction, decoder: &mut Decoder) -> Result<Found, Why> {
        let public = known::public(direction.simple()).filter(|public| public.form == Form::Local);
        let public = public.ok_or("not a public function")?;
        let function = self.only(public.name)?;
        let summary = self.outline.summary(function.extent.start, decoder);
        if !protocol_calls(&summary).any(|args| matches!(args[2], Value::Arg(2) | Value::Half(2))) {
            return Err(NO_PROTOCOL);
        }
        Ok(self.found(public.name, public.purpose, function))
    }
}

/// The names that a function gives as numbers.
fn numbered(
    outline: &Outline<'_, '_>,
    function: &Function,
    source: &Source,
    decoder: &mut Decoder,
) -> Vec<&'static str> {
    let Some(body) = outline.body(function, decoder) else { return Vec::new() };
    let errors = Errors::of(&body, function.paths(source), LIBRARY);
    REPORTED.iter().filter(|(_, code)| errors.functions.contains(code)).map(|(name, _)| *name).collect()
}

const NO_PROTOCOL: Why = "the function that refers to its name is not seen to reach the protocol's own";

/// Arguments of calls through a pointer that begin with the function's own object and buffer, as in
/// `s->method->ssl_read(s, buf, …)`.
fn protocol_calls(summary: &Summary) -> impl Iterator<Item = &[Value]> {
    let own = [Value::Arg(0), Value::Arg(1)];
    let calls = summary.calls.iter().filter(|call| call.target == Target::Unknown);
    calls.map(|call| call.args.as_slice()).filter(move |args| args.starts_with(&own))
}

/// The argument that the function passes on as `out` in `s->method->ssl_read(s, buf, num, out)` (or
/// `ssl_write`).
fn protocol_out(summary: &Summary) -> Result<usize, Why> {
    let calls = protocol_calls(summary).filter(|args| args[2] == Value::Arg(2));
    let fourth: BTreeSet<_> =
        calls.filter_map(|args| OUTS.into_iter().find(|&out| args[3] == Value::Arg(out as u8))).collect();
    match (summary.complete, Vec::from_iter(fourth).as_slice()) {
        (true, &[out]) => Ok(out),
        (true, []) => Err(NO_PROTOCOL),
        (true, _) => Err("its calls of the protocol's own function disagree about the out argument"),
        (false, _) => Err("its code is too large"),
    }
}
