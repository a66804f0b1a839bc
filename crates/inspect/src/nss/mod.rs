//! NSS: the functions behind its TLS sockets, which no symbol names, and those that compute secrets.
//!
//! NSS is several files. `libssl3` knows connections and the names of secrets, but has no secret in its memory;
//! `libfreeblpriv3` computes secrets, but knows of no connection.

mod algorithms;
mod secrets;
mod sockets;

use crate::binary::Binary;
use crate::code::Decoder;
use crate::error::ElfError;
use crate::functions::Functions;
use crate::hook::{Hook, Purpose};
use crate::place::Path;
use crate::{Why, site, version};

/// What `libssl3` exports in every version.
const SOCKETS: &str = "SSL_ImportFD";
/// The only function by which others of NSS reach `libfreeblpriv3`.
const ALGORITHMS: &str = "FREEBL_GetVector";

/// What was found in a file that contains a part of NSS.
#[derive(Clone, Debug)]
pub struct Nss {
    /// Such as `NSS 3.87.1`; `None` if the file does not tell.
    pub version: Option<String>,
    /// What to probe. Functions may call one another: of nested calls the inner one counts.
    pub hooks: Vec<Hook>,
    /// The way from a connection object to the ClientHello's random.
    pub client_random: Option<Path>,
    /// Whether it has TLS sockets, or only what computes secrets for those of another file.
    pub has_sockets: bool,
    /// What was refused, and why.
    pub notes: Vec<String>,
}

/// Why a file gets no hooks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It defines neither of the functions that tell it.
    #[error("no NSS function in the symbol tables")]
    NotNss,
    /// It cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Whether it is worth calling [`resolve`]: cheap, and only a `false` is certain.
pub fn may_be(binary: &Binary<'_>) -> Result<bool, ElfError> {
    binary.may_have(&[SOCKETS, ALGORITHMS])
}

/// The hooks of a file.
pub fn resolve(binary: &Binary<'_>) -> Result<Nss, Refusal> {
    let symbols = binary.symbols(&[SOCKETS, ALGORITHMS, secrets::EXPORT])?;
    let (has_sockets, vector) = (symbols.get(SOCKETS).is_some(), symbols.get(ALGORITHMS));
    if !has_sockets && vector.is_none() {
        return Err(Refusal::NotNss);
    }
    let mut nss = Nss {
        version: version::nss(binary),
        hooks: Vec::new(),
        client_random: None,
        has_sockets,
        notes: Vec::new(),
    };
    let Some(functions) = Functions::read(binary) else {
        nss.notes.push("no index of the functions".to_owned());
        return Ok(nss);
    };
    let mut parts = Parts { binary, functions: &functions, decoder: Decoder::default() };
    if has_sockets {
        match sockets::find(&mut parts) {
            Ok(hooks) => nss.hooks.extend(hooks),
            Err(why) => nss.notes.push(format!("sockets: {why}")),
        }
        match secrets::find(&mut parts, &symbols)? {
            Ok((hook, client_random)) => {
                nss.hooks.push(hook);
                nss.client_random = Some(client_random);
            }
            Err(why) => nss.notes.push(format!("secrets of TLS 1.3: {why}")),
        }
    }
    if let Some(vector) = vector {
        match algorithms::find(&mut parts, vector) {
            Ok(hooks) => nss.hooks.extend(hooks),
            Err(why) => nss.notes.push(format!("secrets: {why}")),
        }
    }
    Ok(nss)
}

/// What all analyses of a file use.
struct Parts<'p, 'f> {
    binary: &'p Binary<'f>,
    functions: &'p Functions<'p, 'f>,
    decoder: Decoder,
}

impl Parts<'_, '_> {
    /// The bytes of the function that starts there.
    fn size(&self, function: u64) -> Option<u64> {
        let extent = self.functions.around(function).filter(|extent| extent.start == function)?;
        Some(extent.end.saturating_sub(extent.start))
    }

    fn hook(
        &mut self,
        function: &'static str,
        address: u64,
        purpose: Purpose,
        evidence: crate::Evidence,
    ) -> Result<Hook, Why> {
        let place = (address, self.size(address).ok_or("a function has no known start")?);
        let site = site::choose(self.binary, &mut self.decoder, place, &purpose.arguments());
        Ok(Hook { function, purpose, site: site.ok_or("a function has no code")?, evidence })
    }
}
