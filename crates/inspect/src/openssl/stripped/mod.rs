//! Files without symbols: functions by the constants in their code, and by what it does.
//!
//! A function that reports an error passes the path of its source file, and what tells which function it is: in
//! OpenSSL its name, or before 3.0 a number; in BoringSSL only the reason. A function that cannot be told for sure is left out.

mod boringssl;
mod errors;
mod established;
mod openssl;
mod outline;

use std::collections::BTreeSet;
use std::ops::Range;

use super::source::Language;
use super::survey::Survey;
use super::{Flavour, OpenSsl, Refusal, single};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::hook::{Evidence, Hook, Purpose};
use crate::place::Path;
use crate::{site, version};

/// A function that was found.
struct Found {
    name: &'static str,
    purpose: Purpose,
    extent: Range<u64>,
    evidence: Evidence,
}

/// All that was found of a library.
struct Findings {
    flavour: Flavour,
    found: Vec<Found>,
    /// Ways from the connection object to its session.
    sessions: Vec<Path>,
    notes: Vec<String>,
}

impl Findings {
    fn new(flavour: Flavour) -> Self {
        Self { flavour, found: Vec::new(), sessions: Vec::new(), notes: Vec::new() }
    }
}

/// The plaintext hooks of a file, without its symbols; and the ways from a connection object to its session.
pub(super) fn resolve(binary: &Binary<'_>, survey: &Survey<'_, '_>) -> (Result<OpenSsl, Refusal>, Vec<Path>) {
    match findings(binary, survey) {
        Ok(mut findings) => {
            let sessions = std::mem::take(&mut findings.sessions);
            (plaintext(binary, findings), sessions)
        }
        Err(refusal) => (Err(refusal), Vec::new()),
    }
}

fn findings(binary: &Binary<'_>, survey: &Survey<'_, '_>) -> Result<Findings, Refusal> {
    let libraries = survey.sources().filter_map(|source| Some((source, source.language()?)));
    let (source, language) = match *libraries.collect::<Vec<_>>() {
        [] => return Err(Refusal::NotOpenSsl),
        [library] => library,
        _ => return Err(Refusal::Unclear(vec!["two libraries in one file".to_owned()])),
    };
    let findings = match language {
        Language::C => openssl::find(binary, survey, source)?,
        Language::Cpp => boringssl::find(binary, survey, source)?,
    };
    findings.map_err(|why| Refusal::Unclear(vec![format!("{}: {why}", source.path)]))
}

fn plaintext(binary: &Binary<'_>, findings: Findings) -> Result<OpenSsl, Refusal> {
    let addresses: BTreeSet<_> = findings.found.iter().map(|found| found.extent.start).collect();
    if addresses.len() < findings.found.len() {
        return Err(Refusal::Unclear(vec!["one function has two names".to_owned()]));
    }
    let mut decoder = Decoder::default();
    let hooks: Vec<_> =
        findings.found.into_iter().filter_map(|found| hook(binary, &mut decoder, found)).collect();
    if !hooks.iter().any(|hook| hook.purpose.moves_plaintext()) {
        return Err(Refusal::Unclear(findings.notes));
    }
    let version = single(version::texts(binary));
    Ok(OpenSsl { version, flavour: findings.flavour, hooks, keys: None, notes: findings.notes })
}

fn hook(binary: &Binary<'_>, decoder: &mut Decoder, found: Found) -> Option<Hook> {
    let Found { name, purpose, extent, evidence } = found;
    let code = (extent.start, extent.end - extent.start);
    let site = site::choose(binary, decoder, code, &purpose.arguments())?;
    Some(Hook { function: name, purpose, site, evidence })
}
