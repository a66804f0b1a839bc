//! Functions whose address the user gives: what they do follows from their name.

use super::known::{Direction, PUBLIC};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::hook::{Arg, Evidence, Hook, Purpose};
use crate::place::{Base, Label, Path, Place, Secret};
use crate::site;

/// Hands over secrets: `(object, label, secret, length)`, in OpenSSL 1.1.1 and later and in BoringSSL.
const LOGGER: &str = "ssl_log_secret";

/// Names for which [`hook_at`] makes a hook.
pub fn functions() -> impl Iterator<Item = &'static str> {
    PUBLIC.iter().map(|public| public.name).chain([Direction::Read.internal(), LOGGER])
}

/// The hook of a function at a virtual address; `client_random` leads from the object to the ClientHello's random.
/// `None` if the name is not known, `ssl_log_secret` comes without that way, or there is no code.
pub fn hook_at(binary: &Binary<'_>, name: &str, address: u64, client_random: Option<Path>) -> Option<Hook> {
    let function = functions().find(|known| *known == name)?;
    let purpose = match PUBLIC.iter().find(|public| public.name == name) {
        Some(public) => public.purpose,
        None if name == LOGGER => Purpose::Secret(Secret {
            object: Some(Place::arg(1)),
            label: Label::Text(Place::arg(2)),
            client_random: Place { base: Base::Arg(Arg(1)), path: client_random? },
            secret: Place::arg(3),
            length: Place::arg(4),
        }),
        None => Direction::Read.internal_purpose(Arg(4)),
    };
    let site = site::choose(binary, &mut Decoder::default(), (address, 0), &purpose.arguments())?;
    Some(Hook { function, purpose, site, evidence: Evidence::Given })
}
