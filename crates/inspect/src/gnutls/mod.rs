//! GnuTLS: its documented functions by symbol, which all builds export, and where it hands over secrets.

mod keys;
mod known;

use crate::binary::Binary;
use crate::code::Decoder;
use crate::code::flow::leads_to;
use crate::error::ElfError;
use crate::hook::{Evidence, Hook};
use crate::symbols::{Symbol, Symbols};
use crate::{site, version};

/// What was found in a file that contains GnuTLS.
#[derive(Clone, Debug)]
pub struct GnuTls {
    /// Such as `GnuTLS 3.7.9`; `None` if the file does not tell.
    pub version: Option<String>,
    /// What to probe. Functions may call one another: of nested calls the inner one counts.
    pub hooks: Vec<Hook>,
    /// What was refused, and why.
    pub notes: Vec<String>,
}

/// Why a file gets no hooks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It defines none of the plaintext functions by symbol.
    #[error("no GnuTLS function in the symbol tables")]
    NotGnuTls,
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Whether it is worth calling [`resolve`]: cheap, and only a `false` is certain.
pub fn may_be(binary: &Binary<'_>) -> Result<bool, ElfError> {
    binary.may_have(&known::plaintext_names())
}

/// The hooks of a file.
pub fn resolve(binary: &Binary<'_>) -> Result<GnuTls, Refusal> {
    if !may_be(binary)? {
        return Err(Refusal::NotGnuTls);
    }
    let symbols = binary.symbols(&known::all_names())?;
    let mut decoder = Decoder::default();
    let mut notes: Vec<_> =
        symbols.ambiguous().map(|(name, _)| format!("{name}: two functions of that name")).collect();
    let functions = known::FUNCTIONS.iter().filter_map(|(name, purpose)| {
        let symbol = symbols.get(name).filter(|symbol| !passes_on(binary, &symbols, &mut decoder, symbol))?;
        let place = (symbol.address, symbol.size);
        let site = site::choose(binary, &mut decoder, place, &purpose.arguments())?;
        let evidence = Evidence::Symbol(symbol.table);
        Some(Hook { function: symbol.name, purpose: *purpose, site, evidence })
    });
    let mut hooks: Vec<_> = functions.collect();
    if !hooks.iter().any(|hook| hook.purpose.moves_plaintext()) {
        return Err(Refusal::NotGnuTls);
    }
    match keys::find(binary, &symbols, &mut decoder)? {
        Ok(hook) => hooks.push(hook),
        Err(why) => notes.push(format!("secrets: {why}")),
    }
    Ok(GnuTls { version: version::gnutls(binary), hooks, notes })
}

/// Whether all that a function does is to call `gnutls_record_send2`, as `gnutls_record_send` does: the bytes are seen
/// there, also those of its own callers.
fn passes_on(binary: &Binary<'_>, symbols: &Symbols, decoder: &mut Decoder, symbol: &Symbol) -> bool {
    let inner = symbols.get(known::INNER_SEND).filter(|inner| inner.address != symbol.address);
    let code = site::function_code(binary, symbol.address, symbol.size);
    inner.is_some_and(|inner| leads_to(binary, &code, decoder) == Some(inner.address))
}
