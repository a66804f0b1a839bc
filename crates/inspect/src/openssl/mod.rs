//! OpenSSL and its forks: where their plaintext goes through.
//!
//! The public functions are wrappers. In OpenSSL 1.1.1 and later all of them call one internal function
//! per direction, which is one hook instead of four and starts with a cheap instruction. It is used only
//! where the code shows what it is; else the public functions are hooked.

mod given;
mod internal;
mod keys;
mod known;
mod master;
mod named;
mod object;
mod prf;
mod secret;
mod source;
mod stripped;
mod survey;
mod tls13;

use std::fmt;

use crate::binary::Binary;
use crate::error::ElfError;
use crate::hook::Hook;
use crate::place::{ObjectKeys, Path};
use crate::symbols::Symbols;
use crate::version;
use survey::{Survey, Texts};

pub use given::{functions, hook_at};
pub use tls13::may_have_tls13;

/// What was found in a file that contains OpenSSL or a fork.
#[derive(Clone, Debug)]
pub struct OpenSsl {
    /// The library's version text; `None` if it is not in this file (it often lives in libcrypto) or if
    /// there are several.
    pub version: Option<String>,
    /// Which of the family it is.
    pub flavour: Flavour,
    /// What to probe. Public functions may call one another: of nested calls the outermost counts.
    pub hooks: Vec<Hook>,
    /// Where a live connection object has its keys.
    pub keys: Option<ObjectKeys>,
    /// What was refused or replaced, and why.
    pub notes: Vec<String>,
}

/// The members of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// openssl.org.
    OpenSsl,
    /// Google's, and Amazon's AWS-LC, which is made from it.
    BoringSsl,
    /// OpenBSD's.
    LibreSsl,
    /// Nothing in the file tells.
    Unknown,
}

impl fmt::Display for Flavour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::LibreSsl => "LibreSSL",
            Self::Unknown => "OpenSSL or a fork",
        })
    }
}

/// Why a file gets no hooks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It defines none of the plaintext functions by symbol, and has no strings of OpenSSL's source.
    #[error("no OpenSSL function in the symbol tables, and none without symbols")]
    NotOpenSsl,
    /// It defines some, but none that can be trusted.
    #[error("OpenSSL functions that cannot be told apart: {}", .0.join("; "))]
    Unclear(Vec<String>),
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Whether it is worth calling [`resolve`]: cheap, and only a `false` is certain.
pub fn may_be(binary: &Binary<'_>) -> Result<bool, ElfError> {
    Ok(binary.may_have(&known::plaintext_names())? || !Texts::find(binary)?.is_empty())
}

/// The hooks of a file: plaintext by its symbols, without such symbols as [`resolve_without_symbols`]; and keys.
pub fn resolve(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    let Some(symbols) = symbols(binary)? else { return resolve_without_symbols(binary) };
    with_keys(binary, &symbols, &Survey::read(binary)?, named::resolve(binary, &symbols), &[])
}

/// The same without keys, which is several times as fast in a file with symbols: a new program is hooked sooner.
pub fn resolve_plaintext(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    match symbols(binary)? {
        Some(symbols) => named::resolve(binary, &symbols),
        None => stripped::resolve(binary, &Survey::read(binary)?).0,
    }
}

/// The hooks of a file as if it had no symbols, to compare the two ways.
pub fn resolve_without_symbols(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    let survey = Survey::read(binary)?;
    let (plaintext, sessions) = stripped::resolve(binary, &survey);
    with_keys(binary, &Symbols::default(), &survey, plaintext, &sessions)
}

/// The symbols that tell functions; `None` if there are none for plaintext.
fn symbols(binary: &Binary<'_>) -> Result<Option<Symbols>, ElfError> {
    binary.may_have(&known::plaintext_names())?.then(|| binary.symbols(&known::all_names())).transpose()
}

/// Adds what is known of keys, also where plaintext cannot be told.
fn with_keys(
    binary: &Binary<'_>,
    symbols: &Symbols,
    survey: &Survey<'_, '_>,
    plaintext: Result<OpenSsl, Refusal>,
    sessions: &[Path],
) -> Result<OpenSsl, Refusal> {
    if let Err(Refusal::Elf(_)) = plaintext {
        return plaintext;
    }
    let keys = keys::find(binary, symbols, survey, sessions);
    let mut found = match plaintext {
        Err(refusal) if keys.hooks.is_empty() => return Err(refusal),
        Err(refusal) => without_plaintext(binary, symbols, &refusal),
        Ok(found) => found,
    };
    found.hooks.extend(keys.hooks);
    found.keys = keys.object;
    found.notes.extend(keys.notes);
    Ok(found)
}

fn without_plaintext(binary: &Binary<'_>, symbols: &Symbols, refusal: &Refusal) -> OpenSsl {
    let texts = version::texts(binary);
    let flavour = named::flavour(&texts, symbols);
    let notes = vec![refusal.to_string()];
    OpenSsl { version: single(texts), flavour, hooks: Vec::new(), keys: None, notes }
}

/// The only one.
fn single(texts: Vec<String>) -> Option<String> {
    <[String; 1]>::try_from(texts).ok().map(|[text]| text)
}
