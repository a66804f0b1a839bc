//! The facts of one file, in an order for people and as a JSON object.

use std::io::{self, Write};
use std::path::Path;

use inspect::gnutls::{self, GnuTls};
use inspect::go::{self, Go};
use inspect::nss::{self, Nss};
use inspect::openssl::{self, OpenSsl};
use inspect::rustls::{self, Rustls};
use inspect::{
    Binary, Call, Confidence, Cost, Derivation, Hook, Kind, Label, ObjectKeys, Purpose, ResultKind, Secret,
};
use serde::Serialize;

use crate::escape;

/// What a file is to us.
#[derive(Serialize)]
pub struct Report {
    file: String,
    kind: &'static str,
    machine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    /// Libraries that were found in it.
    libraries: Vec<Library>,
    /// Why nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Library {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    needs: Needs,
    functions: Vec<Function>,
    /// Where a live connection object has its keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    offsets: Vec<Offset>,
    notes: Vec<String>,
}

/// What a capture needs of a library, and whether it was found; plaintext passes through none of the functions of a
/// library that only computes keys.
#[derive(Serialize)]
struct Needs {
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<bool>,
    keys: bool,
}

#[derive(Serialize)]
struct Function {
    name: &'static str,
    /// Virtual address.
    address: u64,
    does: String,
    confidence: &'static str,
    evidence: String,
    /// Position in the file of the probed instruction.
    probe_offset: u64,
    /// Bytes from the function's start to the probed instruction.
    probe_skip: u32,
    /// Positions in the file of the instructions by which it returns, where these are probed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probe_returns: Vec<u64>,
    cost: &'static str,
}

#[derive(Serialize)]
struct Offset {
    name: &'static str,
    place: String,
}

impl Report {
    /// Looks for every library that we know.
    pub fn new(path: &Path, binary: &Binary<'_>) -> Result<Self, inspect::ElfError> {
        let (mut libraries, mut refused) = (Vec::new(), Vec::new());
        match openssl::resolve(binary) {
            Ok(found) => libraries.push(Library::from(found)),
            Err(openssl::Refusal::Elf(error)) => return Err(error),
            Err(refusal) => refused.push(refusal.to_string()),
        }
        match gnutls::resolve(binary) {
            Ok(found) => libraries.push(Library::from(found)),
            Err(gnutls::Refusal::Elf(error)) => return Err(error),
            Err(refusal) => refused.push(refusal.to_string()),
        }
        match nss::resolve(binary) {
            Ok(found) => libraries.push(Library::from(found)),
            Err(nss::Refusal::Elf(error)) => return Err(error),
            Err(refusal) => refused.push(refusal.to_string()),
        }
        match go::resolve(binary) {
            Ok(found) => libraries.push(Library::from(found)),
            Err(go::Refusal::Elf(error)) => return Err(error),
            Err(refusal) => refused.push(refusal.to_string()),
        }
        match rustls::resolve(binary) {
            Ok(found) => libraries.push(Library::from(found)),
            Err(rustls::Refusal::Elf(error)) => return Err(error),
            Err(refusal) => refused.push(refusal.to_string()),
        }
        Ok(Self {
            file: path.to_string_lossy().into_owned(),
            kind: match binary.kind() {
                Kind::Executable => "executable",
                Kind::SharedObject => "shared object",
            },
            machine: binary.machine().to_string(),
            build_id: binary.build_id().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()),
            refused: libraries.is_empty().then(|| refused.join("; ")),
            libraries,
        })
    }

    /// Whether there is a library and nothing is missing.
    pub fn is_complete(&self) -> bool {
        let met = |needs: &Needs| needs.read != Some(false) && needs.write != Some(false) && needs.keys;
        !self.libraries.is_empty() && self.libraries.iter().all(|library| met(&library.needs))
    }

    /// Writes it for people.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { file, kind, machine, build_id, libraries, refused } = self;
        write!(out, "{}: {kind}, {machine}", escape::name(file))?;
        match build_id {
            Some(id) => writeln!(out, ", build-id {id}")?,
            None => writeln!(out, ", no build-id")?,
        }
        if let Some(refused) = refused {
            writeln!(out, "  {}", escape::name(refused))?;
        }
        libraries.iter().try_for_each(|library| library.write(out))
    }
}

impl From<OpenSsl> for Library {
    fn from(found: OpenSsl) -> Self {
        let OpenSsl { version, flavour, hooks, keys, notes } = found;
        Self::new(flavour.to_string(), version, &hooks, keys, notes)
    }
}

impl From<GnuTls> for Library {
    fn from(found: GnuTls) -> Self {
        let GnuTls { version, hooks, notes } = found;
        Self::new("GnuTLS".to_owned(), version, &hooks, None, notes)
    }
}

impl From<Nss> for Library {
    fn from(found: Nss) -> Self {
        let Nss { version, hooks, client_random, has_sockets, notes } = found;
        let name = if has_sockets { "NSS" } else { "NSS, its algorithms" };
        let keys =
            client_random.map(|client_random| ObjectKeys { client_random, master: None, exporter: None });
        let mut library = Self::new(name.to_owned(), version, &hooks, keys, notes);
        if !has_sockets {
            (library.needs.read, library.needs.write) = (None, None);
        }
        library
    }
}

impl From<Rustls> for Library {
    fn from(found: Rustls) -> Self {
        let Rustls { version, hooks, notes } = found;
        Self::new("rustls".to_owned(), version, &hooks, None, notes)
    }
}

impl From<Go> for Library {
    fn from(found: Go) -> Self {
        let has = |wanted| found.functions.iter().any(|function| function.purpose == wanted);
        Self {
            name: "Go crypto/tls".to_owned(),
            needs: Needs {
                read: Some(has(go::Purpose::Read)),
                write: Some(has(go::Purpose::Write)),
                keys: has(go::Purpose::Secret),
            },
            functions: found.functions.iter().map(|function| Function::of_go(&found, function)).collect(),
            version: found.version,
            offsets: Vec::new(),
            notes: found.notes,
        }
    }
}

impl Library {
    fn new(
        name: String,
        version: Option<String>,
        hooks: &[Hook],
        keys: Option<ObjectKeys>,
        notes: Vec<String>,
    ) -> Self {
        let has = |wanted: fn(&Purpose) -> bool| hooks.iter().any(|hook| wanted(&hook.purpose));
        // Without a function that hands secrets over, they are read from the session once a handshake is complete.
        let master = keys.is_some_and(|keys| keys.master.is_some());
        Self {
            name,
            version,
            needs: Needs {
                read: Some(has(|purpose| matches!(purpose, Purpose::Read(_) | Purpose::Taken(_)))),
                write: Some(has(|purpose| matches!(purpose, Purpose::Write(_)))),
                keys: has(|purpose| matches!(purpose, Purpose::Secret(_) | Purpose::Derive(_)))
                    || master && has(|purpose| matches!(purpose, Purpose::Handshake)),
            },
            functions: hooks.iter().map(Function::new).collect(),
            offsets: keys.map(|keys| offsets(&keys)).unwrap_or_default(),
            notes,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.version {
            Some(version) => writeln!(out, "  {} ({})", self.name, escape::name(version))?,
            None => writeln!(out, "  {}, version not in this file", self.name)?,
        }
        for function in &self.functions {
            let Function {
                name, address, does, confidence, evidence, probe_offset, probe_skip, cost, ..
            } = function;
            writeln!(out, "  {name:21} at {address:#x}, {confidence}: {}", escape::name(evidence))?;
            writeln!(out, "  {:21} {does}", "")?;
            writeln!(out, "  {:21} probe at +{probe_skip}, {cost}; file offset {probe_offset:#x}", "")?;
        }
        for Offset { name, place } in &self.offsets {
            writeln!(out, "  {name:21} {place}")?;
        }
        for note in &self.notes {
            writeln!(out, "  note: {}", escape::name(note))?;
        }
        let answer = |met: bool| if met { "found" } else { "NOT FOUND" };
        let Needs { read, write, keys } = self.needs;
        let needs = [("plaintext read", read), ("plaintext written", write), ("keys", Some(keys))];
        let needs = needs.into_iter().filter_map(|(need, met)| Some(format!("{need} {}", answer(met?))));
        writeln!(out, "  {}", needs.collect::<Vec<_>>().join(", "))
    }
}

impl Function {
    fn new(hook: &Hook) -> Self {
        Self {
            name: hook.function,
            address: hook.site.address,
            does: does(&hook.purpose),
            confidence: match hook.evidence.confidence() {
                Confidence::Certain => "certain",
                Confidence::High => "high",
            },
            evidence: hook.evidence.to_string(),
            probe_offset: hook.site.file_offset,
            probe_skip: hook.site.skip,
            probe_returns: Vec::new(),
            cost: cost(hook.site.cost),
        }
    }

    fn of_go(program: &Go, function: &go::Function) -> Self {
        Self {
            name: function.name,
            address: function.address,
            does: does_in_go(program, function),
            confidence: "certain",
            evidence: "in the table of functions of the Go runtime".to_owned(),
            probe_offset: function.file_offset,
            probe_skip: function.skip,
            probe_returns: function.returns.clone(),
            cost: cost(function.cost),
        }
    }
}

fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::Emulated => "emulated (cheap)",
        Cost::Nop5 => "5-byte nop (cheap on new kernels)",
        Cost::Stepped => "single-stepped (slow)",
    }
}

fn does_in_go(program: &Go, function: &go::Function) -> String {
    let go::Call { object, buffer, length, result, .. } = program.convention.call();
    let returns = function.returns.len();
    let call =
        format!("object {object}, buffer {buffer}, size {length}, moved bytes {result} at {returns} returns");
    match function.purpose {
        go::Purpose::Read => format!("gives plaintext: {call}"),
        go::Purpose::Write => format!("takes plaintext: {call}"),
        go::Purpose::Begin => format!("begins a connection: object {object}"),
        go::Purpose::Close => format!("closes a connection: object {object}"),
        go::Purpose::Secret => format!("hands over a secret: {}", places(&program.convention.secret())),
    }
}

fn does(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Read(call) => format!("gives plaintext: {}", arguments(call)),
        Purpose::Write(call) => format!("takes plaintext: {}", arguments(call)),
        Purpose::WriteVectors(call) => format!("takes plaintext in pieces: {}", arguments(call)),
        Purpose::Taken(taken) => format!(
            "has decrypted: object arg{}, buffer {}, size {}",
            taken.object.0, taken.buffer, taken.length
        ),
        Purpose::SendFile => "sends a file: object arg1".to_owned(),
        Purpose::ReadElsewhere => "gives plaintext in memory of its own: object arg1".to_owned(),
        Purpose::Flush => "sends what others took: object arg1".to_owned(),
        Purpose::New => "makes an object: returned".to_owned(),
        Purpose::NewAt(out) => format!("makes an object: at arg{}", out.0),
        Purpose::Free => "frees an object: arg1".to_owned(),
        Purpose::Clear => "resets an object: arg1".to_owned(),
        Purpose::SetFd => "ties an object to a socket: object arg1".to_owned(),
        Purpose::SetBio => "ties an object to transports: object arg1".to_owned(),
        Purpose::Handshake => "makes a handshake: object arg1".to_owned(),
        Purpose::Secret(secret) => format!("hands over a secret: {}", places(secret)),
        Purpose::Derive(Derivation { object, label, client_random }) => {
            format!("computes a secret: object {object}, label {label}, client random {client_random}")
        }
        Purpose::MacInput => {
            "takes what a secret is computed of: context arg1, bytes arg2, size arg3".to_owned()
        }
        Purpose::MacOutput => {
            "gives out a computed secret: context arg1, bytes arg2, size at arg3".to_owned()
        }
    }
}

fn arguments(call: &Call) -> String {
    let Call { object, buffer, length, result } = call;
    let moved = match result {
        ResultKind::Count | ResultKind::Size => "returned".to_owned(),
        ResultKind::Unpeeked(flags) => format!("returned, unless arg{} has MSG_PEEK", flags.0),
        ResultKind::Resumed => "returned, now or by a later call".to_owned(),
        ResultKind::Out(out) => format!("at arg{}", out.0),
        ResultKind::Pair => "the second word returned, if the first is even".to_owned(),
    };
    format!("object arg{}, buffer arg{}, size arg{}, moved bytes {moved}", object.0, buffer.0, length.0)
}

fn places(secret: &Secret) -> String {
    let label = match secret.label {
        Label::Text(at) => at.to_string(),
        Label::Sized(at, length) => format!("{at} with length {length}"),
        Label::Fixed(name) => format!("always {name}"),
        Label::KeyExpansion(at) => format!("CLIENT_RANDOM if {at} is \"key expansion\""),
    };
    let object = secret.object.map(|object| format!("object {object}, ")).unwrap_or_default();
    let Secret { client_random, secret, length, .. } = secret;
    format!("{object}label {label}, secret {secret}, length {length}, client random {client_random}")
}

fn offsets(keys: &ObjectKeys) -> Vec<Offset> {
    let offset = |name, path: inspect::Path| Offset { name, place: path.from("object") };
    let master = keys
        .master
        .into_iter()
        .flat_map(|master| [offset("master secret", master.secret), offset("its length", master.length)]);
    let exporter = keys.exporter.map(|path| offset("exporter secret", path));
    [offset("client random", keys.client_random)].into_iter().chain(master).chain(exporter).collect()
}
