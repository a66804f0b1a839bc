//! Go programs.

use inspect::Binary;
pub use inspect::go::may_be;
use inspect::go::{Function, Go, Purpose, Refusal, resolve};

use super::facts::{chain, secret_hook};
use super::{Found, Verdict};
use crate::bpf::{GoHook, Hook, Place, Subject};

/// The hooks of a Go program.
pub fn hooks(binary: &Binary<'_>, subject: Subject) -> Verdict {
    let facts = match resolve(binary) {
        Ok(facts) => facts,
        Err(Refusal::NotGo | Refusal::NoTls) => return Verdict::Nothing,
        Err(refusal) => return Verdict::Unusable(refusal.to_string()),
    };
    let mut hooks = Vec::new();
    for function in &facts.functions {
        if let Some(place) = place(&facts, function, subject) {
            hooks.push(Hook {
                function: function.name.into(),
                place,
                offset: function.file_offset,
                address: function.address,
                site: site(function),
            });
        }
    }
    if !hooks.iter().any(|hook| matches!(hook.place, Place::Go(..) | Place::Secret(_))) {
        return Verdict::Unusable(facts.notes.join("; "));
    }
    let has_keys = hooks.iter().any(|hook| matches!(hook.place, Place::Secret(_)));
    let mut parts = vec![facts.version.clone().unwrap_or_else(|| "Go".to_owned())];
    parts.extend(hooks.iter().map(|hook| hook.function.replace("crypto/tls.", "")));
    Verdict::Hooks(Box::new(Found {
        hooks,
        keys: None,
        without_keys: subject.secrets && !has_keys,
        description: parts.join(", "),
        notes: facts.notes,
    }))
}

fn place(facts: &Go, function: &Function, subject: Subject) -> Option<Place> {
    match function.purpose {
        Purpose::Secret => {
            let secret = || Place::Secret(Box::new(secret_hook(&facts.convention.secret())));
            subject.secrets.then(secret)
        }
        _ if !subject.plaintext => None,
        Purpose::Read | Purpose::Write => {
            Some(Place::Go(Box::new(go_hook(facts, function)), function.returns.clone()))
        }
        Purpose::Begin => Some(Place::GoBegin(Box::new(go_hook(facts, function)))),
        Purpose::Close => Some(Place::GoClose(Box::new(go_hook(facts, function)))),
    }
}

fn go_hook(facts: &Go, function: &Function) -> GoHook {
    let call = facts.convention.call();
    let mut sockets = [0; 2];
    for (distance, address) in sockets.iter_mut().zip(&facts.sockets) {
        *distance = address.wrapping_sub(site(function));
    }
    GoHook {
        sent: function.purpose == Purpose::Write,
        object: chain(&call.object),
        buffer: chain(&call.buffer),
        length: chain(&call.length),
        result: chain(&call.result),
        goroutine: chain(&call.goroutine),
        sockets,
    }
}

/// Virtual address of the probed instruction.
fn site(function: &Function) -> u64 {
    function.address + u64::from(function.skip)
}
