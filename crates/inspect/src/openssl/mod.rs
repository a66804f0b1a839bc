//! OpenSSL and its forks: where their plaintext goes through.
//!
//! The public functions are wrappers. In OpenSSL 1.1.1 and later all of them call one internal function
//! per direction, which is one hook instead of four and starts with a cheap instruction. It is used only
//! where the code shows what it is; else the public functions are hooked.

mod internal;
mod known;
mod stripped;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::binary::Binary;
use crate::code::Decoder;
use crate::error::ElfError;
use crate::hook::{Evidence, Hook, Purpose};
use crate::place::ObjectKeys;
use crate::symbols::Symbols;
use crate::{returns, site, version};
use internal::{Family, Shared};
use known::{Direction, PUBLIC, Public};
use stripped::{Source, Stripped};

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
    /// Google's.
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
    Ok(binary.may_have(&known::plaintext_names())? || Source::find(binary)?.is_some())
}

/// The plaintext hooks of a file, by its symbols; without such symbols by its strings.
pub fn resolve(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    if binary.may_have(&known::plaintext_names())? {
        resolve_symbols(binary)
    } else {
        resolve_strings(binary)
    }
}

/// What a file without symbols has: the internal functions of OpenSSL 3 and later, and what makes and resets
/// an object. A function that cannot be told for sure is left out.
fn resolve_strings(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    let Some(source) = Source::find(binary)? else { return Err(Refusal::NotOpenSsl) };
    let directions = [Direction::Read, Direction::Write];
    let names = directions.map(Direction::internal).into_iter().chain(known::LIFECYCLE.map(|(name, _)| name));
    let stripped = match Stripped::find(binary, &source, names.collect())? {
        Ok(stripped) => stripped,
        Err(why) => return Err(Refusal::Unclear(vec![format!("{}: {why}", source.path)])),
    };
    let (mut hooks, mut notes, mut decoder) = (Vec::new(), Vec::new(), Decoder::default());
    let mut add = |function, purpose: Purpose, extent: Range<u64>, decoder: &mut Decoder| {
        let code = (extent.start, extent.end - extent.start);
        let evidence = Evidence::Strings { source: source.path.clone() };
        hooks.extend(hook(binary, decoder, (function, code), purpose, evidence));
    };
    let mut both = true;
    for direction in directions {
        match stripped.internal(direction, &mut decoder) {
            Ok((extent, out)) => {
                add(direction.internal(), direction.internal_purpose(out), extent, &mut decoder);
            }
            Err(why) => {
                both = false;
                notes.push(format!("{}: {why}", direction.internal()));
            }
        }
    }
    // Where the internal functions are not whole, these may be part of others, too.
    for (name, purpose) in known::LIFECYCLE.into_iter().filter(|_| both) {
        match stripped.lifecycle(name, &mut decoder) {
            Ok(extent) => add(name, purpose, extent, &mut decoder),
            Err(why) => notes.push(format!("{name}: {why}")),
        }
    }
    if !hooks.iter().any(|hook| known::moves_plaintext(&hook.purpose)) {
        return Err(Refusal::Unclear(notes));
    }
    let addresses: BTreeSet<_> = hooks.iter().map(|hook| hook.site.address).collect();
    if addresses.len() < hooks.len() {
        return Err(Refusal::Unclear(vec!["one function has two names".to_owned()]));
    }
    let version = <[String; 1]>::try_from(version::texts(binary)).ok().map(|[text]| text);
    Ok(OpenSsl { version, flavour: Flavour::OpenSsl, hooks, keys: None, notes })
}

/// The plaintext hooks of a file, by its symbols.
fn resolve_symbols(binary: &Binary<'_>) -> Result<OpenSsl, Refusal> {
    let symbols = binary.symbols(&known::all_names())?;
    let mut finder =
        Finder { binary, symbols: &symbols, decoder: Decoder::default(), notes: vec![], missing: vec![] };
    let hooks = finder.hooks();
    let Finder { mut notes, missing, .. } = finder;
    if !hooks.iter().any(|hook| known::moves_plaintext(&hook.purpose)) {
        return Err(if notes.is_empty() { Refusal::NotOpenSsl } else { Refusal::Unclear(notes) });
    }
    notes.extend(missing.iter().map(|direction| format!("no function that {direction}s is defined here")));
    let texts = version::texts(binary);
    let flavour = flavour(&texts, &symbols);
    let version = <[String; 1]>::try_from(texts).ok().map(|[text]| text);
    Ok(OpenSsl { version, flavour, hooks, keys: None, notes })
}

/// By version text, else by a function that only one of them has.
fn flavour(texts: &[String], symbols: &Symbols) -> Flavour {
    match texts {
        [text] if text.contains("BoringSSL") => Flavour::BoringSsl,
        [text] if text.starts_with("LibreSSL") => Flavour::LibreSsl,
        [text] if text.starts_with("OpenSSL") => Flavour::OpenSsl,
        _ => known::MARKS
            .iter()
            .find(|(name, _)| symbols.get(name).is_some())
            .map_or(Flavour::Unknown, |&(_, flavour)| flavour),
    }
}

/// `function`: name, and address and size of the code. `None` if there is no code.
fn hook(
    binary: &Binary<'_>,
    decoder: &mut Decoder,
    (function, code): (&'static str, (u64, u64)),
    purpose: Purpose,
    evidence: Evidence,
) -> Option<Hook> {
    let site = site::choose(binary, decoder, code, &purpose.arguments())?;
    let has_result = known::moves_plaintext(&purpose) || purpose == Purpose::New;
    let returns = if has_result { returns::find(binary, decoder, code) } else { Vec::new() };
    Some(Hook { function, purpose, site, returns, evidence })
}

struct Finder<'b, 'f> {
    binary: &'b Binary<'f>,
    symbols: &'b Symbols,
    decoder: Decoder,
    notes: Vec<String>,
    missing: Vec<Direction>,
}

impl Finder<'_, '_> {
    fn hooks(&mut self) -> Vec<Hook> {
        for (name, [one, other]) in self.symbols.ambiguous() {
            self.notes.push(format!("{name}: two functions of that name, at {one:#x} and {other:#x}"));
        }
        let mut hooks = Vec::new();
        for direction in [Direction::Read, Direction::Write] {
            hooks.extend(self.plaintext(direction));
        }
        let rest = PUBLIC.iter().filter(|public| public.direction.is_none());
        hooks.extend(rest.filter_map(|public| self.public(public)));
        self.drop_shared_addresses(hooks)
    }

    /// The internal function of a direction and what does not go through it; else the public functions.
    fn plaintext(&mut self, direction: Direction) -> Vec<Hook> {
        let forms = || PUBLIC.iter().filter(move |public| public.direction == Some(direction));
        if !forms().any(|public| self.symbols.get(public.name).is_some()) {
            self.missing.push(direction);
            return Vec::new();
        }
        let family = Family::new(self.binary, self.symbols, &mut self.decoder, direction);
        match family.shared(&mut self.decoder) {
            Ok(shared) => {
                let uncovered = family.uncovered(&shared);
                let mut hooks: Vec<_> = self.internal(direction, shared).into_iter().collect();
                for public in forms().filter(|public| uncovered.contains(&public.name)) {
                    self.notes.push(format!("{}: does not call the others, hooked by itself", public.name));
                    hooks.extend(self.public(public));
                }
                hooks
            }
            Err(why) => {
                self.notes.push(format!("{}: {why}; using the public functions", direction.internal()));
                forms().filter_map(|public| self.public(public)).collect()
            }
        }
    }

    fn internal(&mut self, direction: Direction, shared: Shared) -> Option<Hook> {
        let purpose = direction.internal_purpose(shared.out);
        let function = (direction.internal(), (shared.address, shared.size));
        let evidence = Evidence::SharedCallee { callers: shared.callers, named: shared.named };
        hook(self.binary, &mut self.decoder, function, purpose, evidence)
    }

    fn public(&mut self, public: &Public) -> Option<Hook> {
        let symbol = *self.symbols.get(public.name)?;
        let function = (public.name, (symbol.address, symbol.size));
        hook(self.binary, &mut self.decoder, function, public.purpose, Evidence::Symbol(symbol.table))
    }

    /// Linkers may fold functions of equal code into one; a hook there would see the calls of both.
    fn drop_shared_addresses(&mut self, hooks: Vec<Hook>) -> Vec<Hook> {
        let (symbols, notes) = (self.symbols, &mut self.notes);
        let mut kept: Vec<Hook> = Vec::new();
        for hook in hooks {
            let twin = symbols.iter().find(|other| {
                other.address == hook.site.address && known::differs(other.name, &hook.purpose)
            });
            match twin {
                Some(twin) => notes.push(format!("{}: same code as {}", hook.function, twin.name)),
                None if kept.iter().any(|other| other.site.address == hook.site.address) => {}
                None => kept.push(hook),
            }
        }
        kept
    }
}
