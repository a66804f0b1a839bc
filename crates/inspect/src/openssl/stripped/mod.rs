//! Files without symbols: functions by the constants in their code, and by what it does.
//!
//! A function that reports an error passes the path of its source file, and what tells which function it is: in
//! OpenSSL its name, or before 3.0 a number; in BoringSSL only the reason. A function that cannot be told for sure is left out.

mod boringssl;
mod errors;
mod openssl;
mod outline;
mod source;

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Flavour, OpenSsl, Refusal, single};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::hook::{Evidence, Hook, Purpose};
use crate::{site, version};
use source::Language;
pub(super) use source::Source;

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
    notes: Vec<String>,
}

impl Findings {
    fn new(flavour: Flavour) -> Self {
        Self { flavour, found: Vec::new(), notes: Vec::new() }
    }
}

/// The plaintext hooks of a file, without its symbols.
pub(super) fn resolve(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    let sources = Source::find(binary)?;
    let source = match sources.as_slice() {
        [] => return Err(Refusal::NotOpenSsl),
        [source] => source,
        _ => return Err(Refusal::Unclear(vec!["two libraries in one file".to_owned()])),
    };
    let findings = match source.language {
        Language::C => openssl::find(binary, source)?,
        Language::Cpp => boringssl::find(binary, source)?,
    };
    let findings = findings.map_err(|why| Refusal::Unclear(vec![format!("{}: {why}", source.path)]))?;
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
