//! What to hook, one file for each library: facts about a file become hooks.

mod cache;
mod openssl;
mod overrides;

use std::fs::File;

use inspect::{Binary, Machine};
use serde::{Deserialize, Serialize};

use crate::bpf::{Hook, ObjectKeys, Returns, Subject};
pub use cache::Cache;
use cache::Key;
pub use overrides::Overrides;

/// What a file is to us.
#[derive(Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing that we hook is in it.
    Nothing,
    /// Something is, but it can not be hooked; why.
    Unusable(String),
    /// Hooks.
    Hooks(Box<Found>),
}

/// The hooks of a file.
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

/// Looks for every library that we know, for what is wanted of it. What the user overrides is not kept in the cache.
pub fn examine(file: &File, subject: Subject, overrides: &Overrides, cache: &Cache) -> Verdict {
    let binary = match Binary::open(file) {
        Ok(binary) => binary,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    if let Err(error) = binary.check_machine(Machine::host()) {
        return Verdict::Unusable(error.to_string());
    }
    if overrides.is_none() && openssl::may_be(&binary).unwrap_or_default() {
        cached(file, subject, cache, || openssl::hooks(&binary, subject, overrides))
    } else {
        openssl::hooks(&binary, subject, overrides)
    }
}

/// The verdict of the cache, or else a new one. Only for files that are worth the hash of all their bytes.
fn cached(file: &File, subject: Subject, cache: &Cache, examine: impl FnOnce() -> Verdict) -> Verdict {
    let Ok(key) = Key::new(file, &format!("{subject:?}")) else { return examine() };
    cache.get(&key).unwrap_or_else(|| {
        let verdict = examine();
        cache.put(&key, &verdict);
        verdict
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
