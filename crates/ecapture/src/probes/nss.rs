//! NSS.

use inspect::Binary;
pub use inspect::nss::may_be;
use inspect::nss::{Refusal, resolve};

use super::facts::{describe, from_object, hooks_for, is_any_wanted};
use super::{Found, Verdict};
use crate::bpf::{ObjectKeys, Place, Subject};

/// The hooks of a file that has a part of NSS in it.
pub fn hooks(binary: &Binary<'_>, subject: Subject) -> Verdict {
    let facts = match resolve(binary) {
        Ok(facts) => facts,
        Err(Refusal::NotNss) => return Verdict::Nothing,
        Err(refusal) => return Verdict::Unusable(refusal.to_string()),
    };
    if !facts.has_sockets && !subject.secrets {
        return Verdict::Nothing;
    }
    let hooks = hooks_for(&facts.hooks, subject);
    if !is_any_wanted(&hooks, subject) {
        return Verdict::Unusable(facts.notes.join("; "));
    }
    let has_keys = hooks.iter().any(|hook| matches!(hook.place, Place::Secret(_) | Place::Derive(_)));
    let name = facts.version.unwrap_or_else(|| "NSS".to_owned());
    Verdict::Hooks(Box::new(Found {
        hooks,
        // By it a connection is known whose keys were seen where they are computed.
        keys: facts.client_random.map(|path| ObjectKeys {
            client_random: from_object(&path),
            master: None,
            exporter: None,
        }),
        without_keys: subject.secrets && !has_keys,
        description: describe(name, &facts.hooks, subject, false),
        notes: facts.notes,
    }))
}
