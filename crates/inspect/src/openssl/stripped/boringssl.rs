//! Functions of BoringSSL and AWS-LC: their errors have a reason, but no name. What they do with their arguments
//! tells the rest.

use std::collections::BTreeSet;

use super::errors::Errors;
use super::outline::{Function, Outline};
use super::{Findings, Found, established};
use crate::binary::Binary;
use crate::code::body::Body;
use crate::code::flow::{CallSite, Summary, Value};
use crate::code::{Decoder, Target};
use crate::error::ElfError;
use crate::hook::Evidence;
use crate::openssl::Flavour;
use crate::openssl::internal::Why;
use crate::openssl::known;
use crate::openssl::source::Source;
use crate::openssl::survey::Survey;
use crate::place::Path;

/// The library's number in its errors.
const LIBRARY: u64 = 16;

/// Reasons: `SSL_R_UNINITIALIZED`, `SSL_R_SSL_HANDSHAKE_FAILURE` and, for lengths below 0, `SSL_R_BAD_LENGTH`.
const UNINITIALIZED: u64 = 226;
const HANDSHAKE_FAILURE: u64 = 215;
const BAD_LENGTH: u64 = 111;

/// Functions that report errors.
struct Library<'b, 'f> {
    outline: Outline<'b, 'f>,
    functions: Vec<Reporting>,
    /// Those that are only pointed to.
    pointed_to: Vec<Reporting>,
    evidence: Evidence,
}

/// A function that reports errors in a source file.
pub(super) struct Reporting {
    pub(super) function: Function,
    reports: Vec<Report>,
}

/// An error that a function reports.
struct Report {
    file: &'static str,
    reason: u64,
    /// The instruction that loads the file's path for it.
    at: u64,
}

impl Reporting {
    fn new(function: Function, body: &Body, sources: &[&Source]) -> Self {
        let mut reports = Vec::new();
        for source in sources {
            for at in function.paths(source) {
                let reasons = Errors::of(body, std::iter::once(at), LIBRARY).reasons;
                reports.extend(reasons.into_iter().map(|reason| Report { file: source.file, reason, at }));
            }
        }
        Self { function, reports }
    }

    /// Where it reports an error for that reason in one of the source files.
    pub(super) fn reports(&self, files: &[&str], reason: u64) -> impl Iterator<Item = u64> {
        let same = move |report: &&Report| files.contains(&report.file) && report.reason == reason;
        self.reports.iter().filter(same).map(|report| report.at)
    }
}

pub(super) fn find(
    binary: &Binary<'_>,
    survey: &Survey<'_, '_>,
    source: &Source,
) -> Result<Result<Findings, Why>, ElfError> {
    let sources: Vec<_> = survey.sources().collect();
    let wanted = sources.iter().flat_map(|source| source.starts.iter().cloned()).collect();
    let mut decoder = Decoder::default();
    let outline = match Outline::new(binary, survey, &wanted, &mut decoder)? {
        Ok(outline) => outline,
        Err(why) => return Ok(Err(why)),
    };
    let mut library = Library {
        outline,
        functions: Vec::new(),
        pointed_to: Vec::new(),
        evidence: Evidence::ErrorCodes { source: source.path.clone() },
    };
    for function in library.outline.functions(&mut decoder) {
        let Some(body) = library.outline.body(&function, &mut decoder) else { continue };
        library.functions.push(Reporting::new(function, &body, &sources));
    }
    for function in library.outline.pointed_to() {
        let Some(body) = library.outline.body(&function, &mut decoder) else { continue };
        library.pointed_to.push(Reporting::new(function, &body, &sources));
    }
    library.findings(&mut decoder).map(Ok)
}

/// Where the bytes that were decrypted and not yet read are, from the connection object on: the offsets of the pointer
/// to `s3`, and of the one to the bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    state: i32,
    bytes: i32,
}

impl Pending {
    /// Whether the pointer to the bytes is written.
    fn is_moved_by(self, summary: &Summary) -> bool {
        let place = Path::new(&[self.state], self.bytes);
        place.is_some_and(|place| summary.stores.contains(&Value::Reached(0, place)))
    }
}

/// What `SSL_read` and `SSL_peek` may be.
struct Reader {
    start: u64,
    pending: Pending,
    /// Moves the pointer to the bytes on: `SSL_peek` does not.
    consumes: bool,
}

impl Library<'_, '_> {
    fn findings(&mut self, decoder: &mut Decoder) -> Result<Findings, ElfError> {
        let mut findings = Findings::new(Flavour::BoringSsl);
        let reporting: Vec<_> = self.functions.iter().chain(&self.pointed_to).collect();
        findings.sessions = established::find(&self.outline, &reporting, decoder);
        for (name, start) in [("SSL_read", self.read(decoder)), ("SSL_write", self.write(decoder))] {
            let found = match start {
                Ok(start) => self.outline.extent(start, decoder)?.ok_or("its start is not sure"),
                Err(why) => Err(why),
            };
            match (found, known::public(name)) {
                (Ok(extent), Some(public)) => {
                    let evidence = self.evidence.clone();
                    findings.found.push(Found { name, purpose: public.purpose, extent, evidence });
                }
                (Err(why), _) => findings.notes.push(format!("{name}: {why}")),
                (Ok(_), None) => {}
            }
        }
        Ok(findings)
    }

    /// The starts of functions with all these reasons.
    fn with<'l>(&'l self, reasons: &'l [u64]) -> impl Iterator<Item = u64> + 'l {
        let whole = self.functions.iter().filter(|reporting| !reporting.function.shared);
        let with = whole.filter(|own| {
            reasons.iter().all(|reason| own.reports(&["ssl_lib.cc"], *reason).next().is_some())
        });
        with.map(|own| own.function.extent.start)
    }

    /// The one with its reasons that passes its buffer and length on to the protocol's own function.
    fn write(&self, decoder: &mut Decoder) -> Result<u64, Why> {
        let mut starts = BTreeSet::new();
        for reason in [HANDSHAKE_FAILURE, BAD_LENGTH] {
            starts.extend(self.with(&[UNINITIALIZED, reason]));
        }
        starts.retain(|start| {
            let summary = self.outline.summary(*start, decoder);
            summary.complete && summary.calls.iter().any(writes_to_protocol)
        });
        only(starts, "no function has its reasons and passes its arguments on", "several functions may be it")
    }

    /// The one that copies bytes to its buffer and moves the pointer to them on, behind the function that decrypts
    /// them; that one may be part of it, or `SSL_peek` be between them.
    fn read(&self, decoder: &mut Decoder) -> Result<u64, Why> {
        let decrypting: BTreeSet<_> = self.with(&[UNINITIALIZED, HANDSHAKE_FAILURE]).collect();
        let mut near = decrypting.clone();
        for start in &decrypting {
            near.extend(self.outline.entries(*start).all());
        }
        let readers: Vec<_> = near.iter().filter_map(|start| self.reader(*start, decoder)).collect();
        let mut starts: BTreeSet<_> =
            readers.iter().filter(|reader| reader.consumes).map(|reader| reader.start).collect();
        for peek in readers.iter().filter(|reader| !reader.consumes) {
            let callers = self.outline.entries(peek.start).all();
            starts.extend(callers.filter(|caller| self.reads_through(*caller, peek, decoder)));
        }
        only(starts, "no function is seen to read what is decrypted", "several functions may be it")
    }

    fn reader(&self, start: u64, decoder: &mut Decoder) -> Option<Reader> {
        let summary = self.outline.summary(start, decoder);
        let mut copied = summary.calls.iter().filter_map(copies_pending);
        let pending = copied.next()?;
        let same = summary.complete && copied.all(|other| other == pending);
        same.then(|| Reader { start, pending, consumes: pending.is_moved_by(&summary) })
    }

    /// Whether a function calls `SSL_peek` with its own arguments and then moves the pointer on.
    fn reads_through(&self, start: u64, peek: &Reader, decoder: &mut Decoder) -> bool {
        let summary = self.outline.summary(start, decoder);
        let calls = summary.calls.iter().filter(|call| call.target == Target::Address(peek.start));
        let own =
            calls.filter(|call| call.args[..2] == [Value::Arg(0), Value::Arg(1)] && is_length(call.args[2]));
        summary.complete && own.count() == 1 && peek.pending.is_moved_by(&summary)
    }
}

fn only(starts: BTreeSet<u64>, none: Why, several: Why) -> Result<u64, Why> {
    let mut starts = starts.into_iter();
    let first = starts.next().ok_or(none)?;
    if starts.next().is_some() { Err(several) } else { Ok(first) }
}

fn is_length(value: Value) -> bool {
    matches!(value, Value::Arg(2) | Value::Half(2))
}

/// Whether it is `ssl->method->write_app_data(ssl, …, buf, num)`.
fn writes_to_protocol(call: &CallSite) -> bool {
    let mut pairs = call.args[1..].windows(2);
    let own = pairs.any(|pair| pair[0] == Value::Arg(1) && is_length(pair[1]));
    call.target == Target::Unknown && call.args[0] == Value::Arg(0) && own
}

/// Where the bytes come from if it is `memcpy(buf, ssl->s3->pending_app_data.data(), …)`.
fn copies_pending(call: &CallSite) -> Option<Pending> {
    match call.args {
        [Value::Arg(1), Value::Reached(0, path), ..] if path.add() == 0 => match *path.loads() {
            [state, bytes] => Some(Pending { state, bytes }),
            _ => None,
        },
        _ => None,
    }
}
