//! rustls, by symbols: Rust programs have them unless they are stripped. It has no stable interface, so all that is
//! believed of a function is read from its code.

mod keys;
mod names;
mod plaintext;

use std::collections::HashMap;

use crate::Why;
use crate::binary::Binary;
use crate::code::{Decoder, Target, reached};
use crate::error::ElfError;
use crate::hook::Hook;
use crate::relocation::relatives;
use crate::symbols::Symbol;
use crate::version;

/// What was found in a file that contains rustls.
#[derive(Clone, Debug)]
pub struct Rustls {
    /// Such as `rustls 0.23.43`; `None` if the file does not tell.
    pub version: Option<String>,
    /// What to probe.
    pub hooks: Vec<Hook>,
    /// What was refused, and why.
    pub notes: Vec<String>,
}

/// Why a file gets no hooks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing of it is there.
    #[error("no rustls in it")]
    NotRustls,
    /// Paths of its sources are in the file, but none of its functions by symbol.
    #[error("{0} without symbols: its functions can not be told")]
    Stripped(String),
    /// None of its functions is as known.
    #[error("rustls, but {0}")]
    Unclear(Why),
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Whether it is worth calling [`resolve`]: cheap, and only a `false` is certain.
pub fn may_be(binary: &Binary<'_>) -> Result<bool, ElfError> {
    Ok(!binary.functions_with(keys::DERIVE, names::is_of_rustls)?.is_empty()
        || version::rustls(binary).is_some())
}

/// The hooks of a file.
///
/// # Errors
/// Why there are none.
pub fn resolve(binary: &Binary<'_>) -> Result<Rustls, Refusal> {
    let version = version::rustls(binary);
    let mut decoder = Decoder::default();
    let (mut hooks, mut notes) = (Vec::new(), Vec::new());
    match plaintext::find(binary, &mut decoder)? {
        Ok(found) => hooks.extend(found),
        Err(why) => notes.push(format!("plaintext: {why}")),
    }
    match keys::find(binary, &mut decoder)? {
        Ok(found) => hooks.extend(found),
        Err(why) => notes.push(format!("secrets: {why}")),
    }
    if !hooks.is_empty() {
        return Ok(Rustls { version, hooks, notes });
    }
    match version {
        Some(version) if !names::has_any(binary)? => Err(Refusal::Stripped(version)),
        Some(_) => Err(Refusal::Unclear("its functions are not as known")),
        None => Err(Refusal::NotRustls),
    }
}

/// What is behind slots of calls: Rust calls functions of its own crates through them, too.
struct Slots<'b, 'f> {
    binary: &'b Binary<'f>,
    pointers: HashMap<u64, u64>,
}

impl<'b, 'f> Slots<'b, 'f> {
    fn read(binary: &'b Binary<'f>) -> Self {
        let mut pointers = HashMap::new();
        relatives(binary, |at, to| {
            if pointers.len() < MOST_POINTERS && binary.is_code(to) {
                pointers.insert(at, to);
            }
        });
        Self { binary, pointers }
    }

    /// The function of this file that a jump or call reaches.
    fn reached(&self, target: Target) -> Option<u64> {
        let behind = match target {
            Target::Slot(slot) => self.pointers.get(&slot).copied(),
            _ => None,
        };
        behind.or_else(|| reached(self.binary, target))
    }
}

/// Most pointers to functions; a program of 100 MB has 200,000.
const MOST_POINTERS: usize = 1 << 20;

/// Most functions of one kind: of generic ones there is one for each type and crate.
const MOST_OF_A_KIND: usize = 64;

/// The functions with one of these pieces in their names.
fn all(
    binary: &Binary<'_>,
    pieces: &[&'static str],
    accepts: fn(&str, &str) -> bool,
) -> Result<Vec<Symbol>, ElfError> {
    let mut found = Vec::new();
    for piece in pieces {
        found.extend(binary.functions_with(piece, accepts)?);
    }
    found.truncate(MOST_OF_A_KIND);
    Ok(found)
}

/// The only one of the functions that a symbol names.
fn only(found: Vec<Symbol>) -> Result<Symbol, Why> {
    <[Symbol; 1]>::try_from(found).map(|[symbol]| symbol).map_err(|found| match found.len() {
        0 => "a function is missing",
        _ => "two functions of one name",
    })
}
