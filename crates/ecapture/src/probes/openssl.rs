//! OpenSSL and its forks.

use inspect::openssl::{OpenSsl, Refusal, resolve};
use inspect::{Binary, Call, Cost, Purpose, ResultKind};

use super::{Found, Verdict};
use crate::bpf::{Hook, Moved, Moves, Place};

/// The hooks of a file that has OpenSSL in it.
pub fn hooks(binary: &Binary<'_>) -> Verdict {
    match resolve(binary) {
        // Only its keys are known.
        Ok(facts) if facts.hooks.iter().all(|fact| hook(fact).is_none()) => {
            Verdict::Unusable(facts.notes.join("; "))
        }
        Ok(facts) => Verdict::Hooks(Found {
            hooks: facts.hooks.iter().filter_map(hook).collect(),
            description: describe(&facts),
            notes: facts.notes,
        }),
        Err(Refusal::NotOpenSsl) => Verdict::Nothing,
        Err(refusal) => Verdict::Unusable(refusal.to_string()),
    }
}

fn hook(fact: &inspect::Hook) -> Option<Hook> {
    let place = match &fact.purpose {
        Purpose::Read(call) => Place::Call(moves(call, false)),
        Purpose::Write(call) => Place::Call(moves(call, true)),
        Purpose::SendFile => {
            Place::Call(Moves { sent: true, object: 1, buffer: 0, length: 0, result: Moved::File })
        }
        Purpose::New => Place::New,
        Purpose::Free | Purpose::Clear => Place::End,
        Purpose::SetFd | Purpose::SetBio => Place::Untie,
        Purpose::Secret(_) | Purpose::Handshake => return None,
    };
    Some(Hook { place, offset: fact.site.file_offset })
}

fn moves(call: &Call, sent: bool) -> Moves {
    let result = match call.result {
        ResultKind::Count => Moved::Count,
        ResultKind::Out(argument) => Moved::Out(argument.0),
    };
    Moves { sent, object: call.object.0, buffer: call.buffer.0, length: call.length.0, result }
}

/// `OpenSSL 3.0.19; ssl_read_internal, ssl_write_internal`; a costly site is marked.
fn describe(facts: &OpenSsl) -> String {
    let functions: Vec<String> = facts
        .hooks
        .iter()
        .filter(|hook| matches!(hook.purpose, Purpose::Read(_) | Purpose::Write(_)))
        .map(|hook| match hook.site.cost {
            Cost::Stepped => format!("{} (slow site)", hook.function),
            Cost::Emulated | Cost::Nop5 => hook.function.to_owned(),
        })
        .collect();
    let library = facts.version.clone().unwrap_or_else(|| facts.flavour.to_string());
    format!("{library}; {}", functions.join(", "))
}
