//! What to hook, one file for each library: facts about a file become hooks.

mod cache;
mod go;
mod openssl;
mod overrides;

use std::fs::File;

use inspect::{Binary, ElfError, Machine};
use serde::{Deserialize, Serialize};

use crate::bpf::{Hook, ObjectKeys, Returns, Subject};
pub use cache::Cache;
use cache::Key;
pub use overrides::Overrides;

/// A TLS library that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// OpenSSL and its forks.
    OpenSsl,
    /// `crypto/tls` of Go.
    Go,
}

impl Library {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::OpenSsl, Self::Go];

    /// What a file has to contain, in words.
    pub fn described(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::Go => "crypto/tls of Go",
        }
    }

    /// Whether it is worth looking for it in a file: cheap, and only a `false` is certain.
    fn may_be_in(self, binary: &Binary<'_>) -> bool {
        let may_be = match self {
            Self::OpenSsl => openssl::may_be(binary),
            Self::Go => go::may_be(binary),
        };
        may_be.unwrap_or(true) // what is wrong with the file is said by those who read all of it
    }

    /// What a file has of it.
    fn hooks(self, binary: &Binary<'_>, subject: Subject, overrides: &Overrides) -> Verdict {
        match self {
            Self::OpenSsl => openssl::hooks(binary, subject, overrides),
            Self::Go => go::hooks(binary, subject),
        }
    }
}

/// What a file is to us, for one library.
enum Verdict {
    /// Nothing of the library is in it.
    Nothing,
    /// Something is, but it can not be hooked; why.
    Unusable(String),
    /// Hooks.
    Hooks(Box<Found>),
}

/// What a file is to us.
#[derive(Default, Serialize, Deserialize)]
pub struct Findings {
    /// The libraries in it that can be hooked.
    pub found: Vec<Found>,
    /// Why others that are in it can not be hooked, or why the file can not be read.
    pub refused: Vec<String>,
}

/// The hooks of one library in a file.
#[derive(Serialize, Deserialize)]
pub struct Found {
    /// Where to attach what.
    pub hooks: Vec<Hook>,
    /// Where its objects have their keys.
    pub keys: Option<ObjectKeys>,
    /// Keys are wanted, and there are none to be had.
    pub without_keys: bool,
    /// Library, version and hooked functions, for people.
    pub description: String,
    /// Remarks on how it was found.
    pub notes: Vec<String>,
}

/// Whether a file of that name is likely to be a library that we know.
pub fn is_likely(name: &str) -> bool {
    name.starts_with("libssl") && name.contains(".so")
}

/// Looks for these libraries, for what is wanted of them. What the user overrides is not kept in the cache.
pub fn examine(
    file: &File,
    libraries: &[Library],
    subject: Subject,
    overrides: &Overrides,
    cache: &Cache,
) -> Findings {
    let refused = |error: ElfError| Findings { refused: vec![error.to_string()], ..Default::default() };
    let binary = match Binary::open(file) {
        Ok(binary) => binary,
        Err(error) => return refused(error),
    };
    if let Err(error) = binary.check_machine(Machine::host()) {
        return refused(error);
    }
    if !overrides.is_none() {
        return look_for(libraries, &binary, subject, overrides);
    }
    let possible: Vec<Library> =
        libraries.iter().copied().filter(|library| library.may_be_in(&binary)).collect();
    if possible.is_empty() {
        return Findings::default();
    }
    let question = format!("{possible:?} {subject:?}");
    cached(file, &question, cache, || look_for(&possible, &binary, subject, overrides))
}

fn look_for(libraries: &[Library], binary: &Binary<'_>, subject: Subject, overrides: &Overrides) -> Findings {
    let mut findings = Findings::default();
    for library in libraries {
        match library.hooks(binary, subject, overrides) {
            Verdict::Nothing => {}
            Verdict::Unusable(reason) => findings.refused.push(reason),
            Verdict::Hooks(found) => findings.found.push(*found),
        }
    }
    findings
}

/// What the cache has, or else what is found. Only for files that are worth the hash of all their bytes.
fn cached(file: &File, question: &str, cache: &Cache, examine: impl FnOnce() -> Findings) -> Findings {
    let Ok(key) = Key::new(file, question) else { return examine() };
    cache.get(&key).unwrap_or_else(|| {
        let findings = examine();
        cache.put(&key, &findings);
        findings
    })
}

/// Where the end of a call can be seen without a return probe. `caller`: its return address, counted from the probed
/// instruction; it must be behind a call of the function in the same file. `None` if nothing is known for sure.
pub fn returns(file: &File, hook: &Hook, caller: i64) -> Option<Returns> {
    let binary = Binary::open(file).ok()?;
    if let Some(offsets) = inspect::returns(&binary, hook.address) {
        return Some(Returns::By(offsets));
    }
    let to = hook.site.checked_add_signed(caller)?;
    inspect::behind_call(&binary, hook.address, to).map(Returns::To)
}
