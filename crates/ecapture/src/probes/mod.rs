//! What to hook, one file for each library: facts about a file become hooks.

mod bash;
mod cache;
mod facts;
mod gnutls;
mod go;
mod lease;
mod mysql;
mod named;
mod nss;
mod openssl;
mod overrides;
mod point;
mod postgres;
mod rustls;
mod strangers;
mod wanted;
mod zsh;

use std::fs::File;

use inspect::{Binary, ElfError, Machine};
use serde::{Deserialize, Serialize};

use crate::bpf::{Hook, ObjectKeys, Returns};
pub use cache::Cache;
use cache::Key;
pub use lease::Lease;
pub use overrides::Overrides;
pub use point::Point;
use strangers::strangers;
pub use wanted::{Libraries, Library, Program, Wanted};

/// What a file is to us, for one library or program.
enum Verdict {
    /// Nothing of it is there.
    Nothing,
    /// Something is, but it can not be hooked; why.
    Unusable(String),
    /// Hooks.
    Hooks(Box<Found>),
}

/// What a file is to us.
#[derive(Default, Serialize, Deserialize)]
pub struct Findings {
    /// What can be hooked.
    pub found: Vec<Found>,
    /// Why others that are in it can not be hooked.
    pub refused: Vec<String>,
    /// Why the file can not be read.
    pub unreadable: Option<String>,
    /// Libraries that are in it and can never be captured.
    #[serde(skip)]
    pub strangers: Vec<&'static str>,
}

impl Findings {
    fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut findings = Self::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Nothing => {}
                Verdict::Unusable(reason) => findings.refused.push(reason),
                Verdict::Hooks(found) => findings.found.push(*found),
            }
        }
        findings
    }
}

/// The hooks of one library or program in a file.
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

/// Looks for what is wanted. What is found of libraries is kept in the cache, but nothing that the user overrides, and
/// nothing of a file that may change meanwhile: one without a lease.
pub fn examine(
    file: &File,
    lease: Option<&Lease<'_>>,
    wanted: Wanted,
    overrides: &Overrides,
    cache: &Cache,
) -> Findings {
    let unreadable = |error: ElfError| Findings { unreadable: Some(error.to_string()), ..Default::default() };
    let binary = match Binary::open(file) {
        Ok(binary) => binary,
        Err(error) => return unreadable(error),
    };
    if let Err(error) = binary.check_machine(Machine::host()) {
        return unreadable(error);
    }
    let (subject, libraries) = match wanted {
        Wanted::Tls(subject, libraries) => (subject, libraries),
        Wanted::Commands(program) => return Findings::of([program.hooks(&binary)]),
    };
    let look_for =
        |libraries: Libraries| Findings::of(libraries.iter().map(|it| it.hooks(&binary, subject, overrides)));
    if !overrides.is_none() {
        return look_for(libraries);
    }
    let strangers = if libraries == Libraries::ALL { strangers(&binary) } else { Vec::new() };
    let possible: Vec<Library> = libraries.iter().filter(|library| library.may_be_in(&binary)).collect();
    if possible.is_empty() {
        return Findings { strangers, ..Default::default() };
    }
    let question = format!("{possible:?} {subject:?}");
    let findings = cached(file, lease, &question, cache, || look_for(possible.into_iter().collect()));
    Findings { strangers, ..findings }
}

/// What the cache has, or else what is found. Only for files that are worth the hash of all their bytes.
fn cached(
    file: &File,
    lease: Option<&Lease<'_>>,
    question: &str,
    cache: &Cache,
    examine: impl FnOnce() -> Findings,
) -> Findings {
    let Ok(key) = Key::new(file, question) else { return examine() };
    cache.get(&key).unwrap_or_else(|| {
        let findings = examine();
        if lease.is_some_and(Lease::holds) {
            cache.put(&key, &findings);
        }
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
