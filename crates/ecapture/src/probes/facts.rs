//! What was found in a file becomes hooks, in the same way for every library.

use inspect::{Base, Call, Cost, Derivation, Path, Purpose, ResultKind};

use crate::bpf::{Chain, Hook, Label, Moved, Moves, Place, SecretHook, Start, Subject, TakenHook};

/// What is to be hooked of what was found.
pub fn hooks_for(facts: &[inspect::Hook], subject: Subject) -> Vec<Hook> {
    facts.iter().filter_map(|fact| hook(fact, subject)).collect()
}

/// Whether any of them is a reason to attach to a file.
pub fn is_any_wanted(hooks: &[Hook], subject: Subject) -> bool {
    hooks.iter().any(|hook| match hook.place {
        Place::Call(_) | Place::Taken(_) => true,
        Place::Secret(_) | Place::Derive(_) | Place::Handshake => subject.secrets,
        _ => false,
    })
}

fn hook(fact: &inspect::Hook, subject: Subject) -> Option<Hook> {
    let place = match &fact.purpose {
        Purpose::Read(call) => Place::Call(moves(call, false)),
        Purpose::Write(call) => Place::Call(moves(call, true)),
        Purpose::WriteVectors(call) => Place::Call(Moves { vectors: true, ..moves(call, true) }),
        Purpose::Taken(_) if !subject.plaintext => return None,
        Purpose::Taken(taken) => Place::Taken(Box::new(taken_hook(taken))),
        Purpose::SendFile => Place::Call(without_buffer(true, Moved::File)),
        Purpose::ReadElsewhere => Place::Call(without_buffer(false, Moved::Size)),
        Purpose::Flush => subject.plaintext.then_some(Place::Flush)?,
        Purpose::New => Place::New,
        Purpose::NewAt(out) => Place::NewAt(out.0),
        Purpose::Free | Purpose::Clear => Place::End,
        Purpose::SetFd | Purpose::SetBio => subject.plaintext.then_some(Place::Untie)?,
        Purpose::Secret(_)
        | Purpose::Derive(_)
        | Purpose::MacInput
        | Purpose::MacOutput
        | Purpose::Handshake
            if !subject.secrets =>
        {
            return None;
        }
        Purpose::Secret(secret) => Place::Secret(Box::new(secret_hook(secret))),
        Purpose::Derive(derivation) => Place::Derive(Box::new(derive_hook(derivation))),
        Purpose::MacInput => Place::MacInput,
        Purpose::MacOutput => Place::MacOutput,
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
        ResultKind::Unpeeked(flags) => Moved::Unpeeked(flags.0),
        ResultKind::Out(argument) => Moved::Out(argument.0),
        ResultKind::Size => Moved::Size,
        ResultKind::Resumed => Moved::Resumed,
        ResultKind::Pair => Moved::Pair,
    };
    let Call { object, buffer, length, .. } = call;
    Moves { sent, object: object.0, buffer: buffer.0, length: length.0, result, vectors: false }
}

fn without_buffer(sent: bool, result: Moved) -> Moves {
    Moves { sent, object: 1, buffer: 0, length: 0, result, vectors: false }
}

fn taken_hook(taken: &inspect::Taken) -> TakenHook {
    TakenHook {
        object: chain(&inspect::Place::arg(taken.object.0)),
        buffer: chain(&taken.buffer),
        length: chain(&taken.length),
    }
}

/// Where a function hands over secrets.
pub fn secret_hook(secret: &inspect::Secret) -> SecretHook {
    SecretHook {
        object: secret.object.as_ref().map(chain),
        label: match &secret.label {
            inspect::Label::Text(at) => Label::Text(chain(at)),
            inspect::Label::Sized(at, length) => Label::Sized(chain(at), chain(length)),
            inspect::Label::Fixed(text) => Label::Fixed((*text).into()),
            inspect::Label::KeyExpansion(at) => Label::KeyExpansion(chain(at)),
        },
        client_random: chain(&secret.client_random),
        secret: chain(&secret.secret),
        length: chain(&secret.length),
    }
}

/// Where a function that computes a secret of TLS 1.3 has what belongs to it; the secret is not there yet.
fn derive_hook(derivation: &Derivation) -> SecretHook {
    let none = || Chain { start: Start::Number(0), loads: Vec::new(), add: 0 };
    SecretHook {
        object: Some(chain(&derivation.object)),
        label: Label::Text(chain(&derivation.label)),
        client_random: chain(&derivation.client_random),
        secret: none(),
        length: none(),
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

/// The way from the object's address on.
pub fn from_object(path: &Path) -> Chain {
    Chain { start: Start::Object, loads: path.loads().to_vec(), add: path.add() }
}

/// `OpenSSL 3.0.19; ssl_read_internal, ssl_write_internal; keys: ssl_log_secret, objects`; a costly site is marked.
pub fn describe(name: String, facts: &[inspect::Hook], subject: Subject, objects: bool) -> String {
    let functions = |accepts: fn(&Purpose) -> bool| -> Vec<String> {
        let hooks = facts.iter().filter(|hook| accepts(&hook.purpose));
        hooks
            .map(|hook| match hook.site.cost {
                Cost::Stepped => format!("{} (slow site)", hook.function),
                Cost::Emulated | Cost::Nop5 => hook.function.to_owned(),
            })
            .collect()
    };
    let mut parts = vec![name];
    parts.push(
        functions(|purpose| {
            matches!(
                purpose,
                Purpose::Read(_) | Purpose::Write(_) | Purpose::WriteVectors(_) | Purpose::Taken(_)
            )
        })
        .join(", "),
    );
    if subject.secrets {
        let mut keys = functions(|purpose| {
            matches!(purpose, Purpose::Secret(_) | Purpose::Derive(_) | Purpose::Handshake)
        });
        keys.extend(objects.then(|| "objects".to_owned()));
        parts.push(if keys.is_empty() { "no keys".to_owned() } else { format!("keys: {}", keys.join(", ")) });
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}
