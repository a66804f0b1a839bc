//! OpenSSL and its forks.

use inspect::Binary;
pub use inspect::openssl::may_be;
use inspect::openssl::{Flavour, OpenSsl, Refusal, may_have_tls13, resolve, resolve_plaintext};

use super::facts::{describe, from_object, hooks_for, is_any_wanted};
use super::{Found, Overrides, Verdict};
use crate::bpf::{MasterSecret, ObjectKeys, Place, Subject};

/// The hooks of a file that has OpenSSL in it.
pub fn hooks(binary: &Binary<'_>, subject: Subject, overrides: &Overrides) -> Verdict {
    let mut facts = match if subject.secrets { resolve(binary) } else { resolve_plaintext(binary) } {
        Ok(facts) => facts,
        Err(Refusal::NotOpenSsl | Refusal::Unclear(_)) if overrides.has_symbols() => NOTHING,
        Err(Refusal::NotOpenSsl) => return Verdict::Nothing,
        Err(refusal) => return Verdict::Unusable(refusal.to_string()),
    };
    if let Err(error) = overrides.apply(binary, &mut facts) {
        return Verdict::Unusable(format!("{error:#}"));
    }
    let hooks = hooks_for(&facts.hooks, subject);
    let keys = subject.secrets.then(|| live_keys(binary, &facts)).flatten();
    if !is_any_wanted(&hooks, subject) {
        return Verdict::Unusable(facts.notes.join("; "));
    }
    let has_keys = keys.is_some() || hooks.iter().any(|hook| matches!(hook.place, Place::Secret(_)));
    let name = facts.version.unwrap_or_else(|| facts.flavour.to_string());
    Verdict::Hooks(Box::new(Found {
        hooks,
        without_keys: subject.secrets && !has_keys,
        description: describe(name, &facts.hooks, subject, keys.is_some()),
        keys,
        notes: facts.notes,
    }))
}

/// A file in which nothing was found.
const NOTHING: OpenSsl =
    OpenSsl { version: None, flavour: Flavour::Unknown, hooks: Vec::new(), keys: None, notes: Vec::new() };

/// Where an object has its keys. A master secret counts only where the object shows that it is not of TLS 1.3, whose
/// sessions have a secret of the same length, or where there is no TLS 1.3.
fn live_keys(binary: &Binary<'_>, facts: &OpenSsl) -> Option<ObjectKeys> {
    let keys = facts.keys.as_ref()?;
    let master = keys.master.filter(|_| keys.exporter.is_some() || is_before_tls13(binary, facts));
    Some(ObjectKeys {
        client_random: from_object(&keys.client_random),
        master: master.map(|master| MasterSecret {
            secret: from_object(&master.secret),
            length: from_object(&master.length),
            width: master.width,
            established: master.established,
        }),
        exporter: keys.exporter.as_ref().map(from_object),
    })
}

/// OpenSSL before 1.1.1, as the file shows or its user says.
fn is_before_tls13(binary: &Binary<'_>, facts: &OpenSsl) -> bool {
    let version = facts.version.as_deref().unwrap_or_default().to_lowercase();
    ["openssl 1.0.", "openssl 1.1.0"].iter().any(|old| version.starts_with(old))
        || may_have_tls13(binary).is_ok_and(|may| !may)
}
