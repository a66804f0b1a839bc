//! OpenSSL and its forks.

pub use inspect::openssl::may_be;
use inspect::openssl::{Flavour, OpenSsl, Refusal, may_have_tls13, resolve};
use inspect::{Base, Binary, Call, Cost, Path, Purpose, ResultKind};

use super::{Found, Overrides, Verdict};
use crate::bpf::{
    Chain, Hook, Label, MasterSecret, Moved, Moves, ObjectKeys, Place, SecretHook, Start, Subject,
};

/// The hooks of a file that has OpenSSL in it.
pub fn hooks(binary: &Binary<'_>, subject: Subject, overrides: &Overrides) -> Verdict {
    let mut facts = match resolve(binary) {
        Ok(facts) => facts,
        Err(Refusal::NotOpenSsl | Refusal::Unclear(_)) if overrides.has_symbols() => NOTHING,
        Err(Refusal::NotOpenSsl) => return Verdict::Nothing,
        Err(refusal) => return Verdict::Unusable(refusal.to_string()),
    };
    if let Err(error) = overrides.apply(binary, &mut facts) {
        return Verdict::Unusable(format!("{error:#}"));
    }
    let hooks: Vec<Hook> = facts.hooks.iter().filter_map(|fact| hook(fact, subject)).collect();
    let keys = subject.secrets.then(|| live_keys(binary, &facts)).flatten();
    if !hooks.iter().any(|hook| is_wanted(&hook.place, subject)) {
        return Verdict::Unusable(facts.notes.join("; "));
    }
    let has_keys = keys.is_some() || hooks.iter().any(|hook| matches!(hook.place, Place::Secret(_)));
    Verdict::Hooks(Box::new(Found {
        hooks,
        without_keys: subject.secrets && !has_keys,
        description: describe(&facts, subject, keys.is_some()),
        keys,
        notes: facts.notes,
    }))
}

/// A file in which nothing was found.
const NOTHING: OpenSsl =
    OpenSsl { version: None, flavour: Flavour::Unknown, hooks: Vec::new(), keys: None, notes: Vec::new() };

/// Whether the hook is a reason to attach to a file.
fn is_wanted(place: &Place, subject: Subject) -> bool {
    match place {
        Place::Call(_) => true,
        Place::Secret(_) | Place::Handshake => subject.secrets,
        _ => false,
    }
}

fn hook(fact: &inspect::Hook, subject: Subject) -> Option<Hook> {
    let place = match &fact.purpose {
        Purpose::Read(call) => Place::Call(moves(call, false)),
        Purpose::Write(call) => Place::Call(moves(call, true)),
        Purpose::SendFile => {
            Place::Call(Moves { sent: true, object: 1, buffer: 0, length: 0, result: Moved::File })
        }
        Purpose::New => Place::New,
        Purpose::Free | Purpose::Clear => Place::End,
        Purpose::SetFd | Purpose::SetBio => subject.plaintext.then_some(Place::Untie)?,
        Purpose::Secret(_) | Purpose::Handshake if !subject.secrets => return None,
        Purpose::Secret(secret) => Place::Secret(Box::new(secret_hook(secret))),
        Purpose::Handshake => Place::Handshake,
    };
    let site = &fact.site;
    Some(Hook {
        function: fact.function.into(),
        place,
        offset: site.file_offset,
        address: site.address,
        site: site.address + u64::from(site.skip),
    })
}

fn moves(call: &Call, sent: bool) -> Moves {
    let result = match call.result {
        ResultKind::Count => Moved::Count,
        ResultKind::Out(argument) => Moved::Out(argument.0),
    };
    Moves { sent, object: call.object.0, buffer: call.buffer.0, length: call.length.0, result }
}

/// Where a function hands over secrets.
pub fn secret_hook(secret: &inspect::Secret) -> SecretHook {
    SecretHook {
        object: secret.object.as_ref().map(chain),
        label: match &secret.label {
            inspect::Label::Text(at) => Label::Text(chain(at)),
            inspect::Label::Sized(at, length) => Label::Sized(chain(at), chain(length)),
            inspect::Label::Fixed(text) => Label::Fixed((*text).into()),
        },
        client_random: chain(&secret.client_random),
        secret: chain(&secret.secret),
        length: chain(&secret.length),
    }
}

/// A place as the programs follow it.
pub fn chain(place: &inspect::Place) -> Chain {
    let start = match place.base {
        Base::Arg(argument) => Start::Argument(argument.0),
        Base::Register(number) => Start::Register(number),
        Base::Constant(number) => Start::Number(number),
        Base::ThreadPointer => Start::ThreadPointer,
    };
    Chain { start, ..from_object(&place.path) }
}

fn from_object(path: &Path) -> Chain {
    Chain { start: Start::Object, loads: path.loads().to_vec(), add: path.add() }
}

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

/// `OpenSSL 3.0.19; ssl_read_internal, ssl_write_internal; keys: ssl_log_secret, objects`; a costly site is marked.
fn describe(facts: &OpenSsl, subject: Subject, objects: bool) -> String {
    let functions = |accepts: fn(&Purpose) -> bool| -> Vec<String> {
        let hooks = facts.hooks.iter().filter(|hook| accepts(&hook.purpose));
        hooks
            .map(|hook| match hook.site.cost {
                Cost::Stepped => format!("{} (slow site)", hook.function),
                Cost::Emulated | Cost::Nop5 => hook.function.to_owned(),
            })
            .collect()
    };
    let mut parts = vec![facts.version.clone().unwrap_or_else(|| facts.flavour.to_string())];
    parts.push(functions(|purpose| matches!(purpose, Purpose::Read(_) | Purpose::Write(_))).join(", "));
    if subject.secrets {
        let mut keys = functions(|purpose| matches!(purpose, Purpose::Secret(_) | Purpose::Handshake));
        keys.extend(objects.then(|| "objects".to_owned()));
        parts.push(if keys.is_empty() { "no keys".to_owned() } else { format!("keys: {}", keys.join(", ")) });
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}
