//! rustls.

use inspect::Binary;
pub use inspect::rustls::may_be;
use inspect::rustls::{Refusal, resolve};

use super::facts::{describe, hooks_for, is_any_wanted};
use super::{Found, Verdict};
use crate::bpf::{Place, Subject};

/// The hooks of a program that has rustls in it.
pub fn hooks(binary: &Binary<'_>, subject: Subject) -> Verdict {
    let facts = match resolve(binary) {
        Ok(facts) => facts,
        Err(Refusal::NotRustls) => return Verdict::Nothing,
        Err(refusal) => return Verdict::Unusable(refusal.to_string()),
    };
    let hooks = hooks_for(&facts.hooks, subject);
    if !is_any_wanted(&hooks, subject) {
        return Verdict::Unusable(facts.notes.join("; "));
    }
    let has_keys = hooks.iter().any(|hook| matches!(hook.place, Place::Secret(_)));
    let name = facts.version.unwrap_or_else(|| "rustls".to_owned());
    Verdict::Hooks(Box::new(Found {
        hooks,
        keys: None,
        without_keys: subject.secrets && !has_keys,
        description: describe(name, &facts.hooks, subject, false),
        notes: facts.notes,
    }))
}
