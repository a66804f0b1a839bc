//! Functions of OpenSSL: their errors name them, as text since 3.0 and as a number before.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::Errors;
use super::outline::{Function, Outline};
use super::{Findings, Found};
use crate::binary::Binary;
use crate::code::flow::{Summary, Value};
use crate::code::{Decoder, Target};
use crate::error::ElfError;
use crate::hook::{Arg, Evidence, Purpose};
use crate::openssl::Flavour;
use crate::openssl::internal::Why;
use crate::openssl::known::{self, Direction, Form, REPORTED};
use crate::openssl::source::Source;
use crate::openssl::survey::Survey;
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

pub(super) fn find(
    binary: &Binary<'_>,
    survey: &Survey<'_, '_>,
    source: &Source,
) -> Result<Result<Findings, Why>, ElfError> {
    let places = &survey.texts.names;
    let names = places.keys().map(|&at| at..at.saturating_add(1));
    let wanted: Wanted = names.chain(source.starts.iter().cloned()).collect();
    let mut decoder = Decoder::default();
    let mut outline = match Outline::new(binary, survey, &wanted, &mut decoder)? {
        Ok(outline) => outline,
        Err(why) => return Ok(Err(why)),
    };
    let functions = outline.functions(&mut decoder);
    let library = Library::new(&outline, functions, source, places, &mut decoder);
    Ok(Ok(library.findings(&mut decoder)))
}

impl<'o, 'b, 'f> Library<'o, 'b, 'f> {
    fn new(
        outline: &'o Outline<'b, 'f>,
        functions: Vec<Function>,
        source: &Source,
        places: &BTreeMap<u64, &'static str>,
        decoder: &mut Decoder,
    ) -> Self {
        let in_source = functions.into_iter().filter(|function| function.paths(source).next().is_some());
        let mut functions: Vec<_> = in_source
            .map(|function| {
                let names = function.loads.values().filter_map(|to| places.get(to).copied()).collect();
                (function, names)
            })
            .collect();
        let path = source.path.clone();
        let mut evidence = Evidence::Strings { source: path.clone() };
        if functions.iter().all(|(_, names): &(_, BTreeSet<_>)| names.is_empty()) {
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
        // Where those are part of others, these may be, too; and nothing else tells where these start.
        let whole = findings.notes.is_empty() && findings.found.len() == 2 && self.outline.exact();
        for (name, purpose) in known::LIFECYCLE.into_iter().filter(|_| whole) {
            match self.lifecycle(name, decoder) {
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

    /// A function that makes or resets the object. It gives its only argument to others, as `SSL_CTX_up_ref`, or a
    /// function of the protocol, and a program calls it; one that it was made part of, as `main`, does not look so.
    fn lifecycle(&self, name: &str, decoder: &mut Decoder) -> Result<&Function, Why> {
        let function = self.only(name)?;
        let start = function.extent.start;
        let calls = self.outline.summary(start, decoder).calls;
        let passes_on = calls.iter().any(|call| call.args[0] == Value::Arg(0));
        let called = self.outline.is_library() || self.outline.entries(start).all().next().is_some();
        if passes_on && called {
            Ok(function)
        } else {
            Err("it may be part of the function that refers to its name")
        }
    }

    /// What moves plaintext in one direction: the internal function, or the public ones that it is part of.
    fn direction(&self, direction: Direction, decoder: &mut Decoder) -> Result<Vec<Found>, Why> {
        let internal = direction.internal();
        match *self.named(internal)? {
            [] => Ok(vec![self.simple(direction, decoder)?]),
            [function] if !self.has_public_name(function) => {
                let out = self.out(function, decoder)?;
                Ok(vec![self.found(internal, direction.internal_purpose(out), function)])
            }
            ref functions => self.publics(direction, functions, decoder),
        }
    }

    /// `SSL_read` or `SSL_write` where there is no internal function, as before 1.1.1.
    fn simple(&self, direction: Direction, decoder: &mut Decoder) -> Result<Found, Why> {
        let public = known::public(direction.simple()).ok_or("not a public function")?;
        let function = self.only(public.name)?;
        let summary = self.outline.summary(function.extent.start, decoder);
        if own_calls(&summary).next().is_none() {
            return Err(NO_PROTOCOL);
        }
        Ok(self.found(public.name, public.purpose, function))
    }

    fn has_public_name(&self, function: &Function) -> bool {
        self.names(function).any(|name| known::public(name).is_some())
    }

    fn names(&self, function: &Function) -> impl Iterator<Item = &'static str> {
        let start = function.extent.start;
        let names = self.functions.iter().find(|(other, _)| other.extent.start == start);
        names.into_iter().flat_map(|(_, names)| names.iter().copied())
    }

    /// The public functions that the internal one was made part of: all of them, each once. It may be there, too.
    fn publics(
        &self,
        direction: Direction,
        functions: &[&Function],
        decoder: &mut Decoder,
    ) -> Result<Vec<Found>, Why> {
        let mut found = BTreeMap::new();
        for function in functions {
            let (name, purpose) = self
                .public(direction, function, decoder)
                .ok_or("it is part of a function that is not known")?;
            if found.insert(name, self.found(name, purpose, function)).is_some() {
                return Err("it is part of two functions that look the same");
            }
        }
        Ok(found.into_values().collect())
    }

    /// By its own name, or, if its errors do not give it, by its out argument.
    fn public(
        &self,
        direction: Direction,
        function: &Function,
        decoder: &mut Decoder,
    ) -> Option<(&'static str, Purpose)> {
        let form = form(&self.outline.summary(function.extent.start, decoder))?;
        let mut names = self.names(function).filter_map(known::public);
        let public = match (names.next(), form) {
            (Some(named), _) => {
                let fits = named.form == form || named.form == Form::Indirect && form != Form::Local;
                Some(named).filter(|_| fits && names.next().is_none())
            }
            (None, Form::Passed(out)) if self.has_early_caller(function) => {
                return Some((direction.internal(), direction.internal_purpose(out)));
            }
            (None, _) => {
                let mut others = known::PUBLIC.iter().filter(|public| public.form != Form::Local);
                others.find(|public| public.direction == Some(direction) && public.form == form)
            }
        };
        let public = public.filter(|public| public.direction == Some(direction))?;
        Some((public.name, public.purpose))
    }

    /// Whether a function for early data calls it: those for other data do not call one another where the internal
    /// function is part of them.
    fn has_early_caller(&self, function: &Function) -> bool {
        let callers = self.outline.entries(function.extent.start).callers;
        let early = |names: &BTreeSet<&str>| names.iter().any(|name| name.ends_with("_early_data"));
        self.functions.iter().any(|(other, names)| callers.contains(&other.extent.start) && early(names))
    }

    /// The position of the internal function's out argument, by its code and by its callers.
    fn out(&self, function: &Function, decoder: &mut Decoder) -> Result<Arg, Why> {
        let start = function.extent.start;
        let entered = self.outline.entries(start);
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

/// Those that go on with its own length.
fn own_calls(summary: &Summary) -> impl Iterator<Item = &[Value]> {
    protocol_calls(summary).filter(|args| matches!(args[2], Value::Arg(2) | Value::Half(2)))
}

/// What a function gives the protocol's own as its out argument, if all its calls agree.
fn form(summary: &Summary) -> Option<Form> {
    let mut forms = own_calls(summary).map(|args| match args[3] {
        Value::Arg(out) if OUTS.contains(&usize::from(out)) => Form::Passed(Arg(out + 1)),
        _ => Form::Local,
    });
    forms.next().filter(|form| summary.complete && forms.all(|other| other == *form))
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
