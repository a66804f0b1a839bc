//! What to hook, one file for each library: facts about a file become hooks.

mod openssl;

use std::fs::File;

use inspect::{Binary, Machine};

use crate::bpf::{Hook, Returns};

/// What a file is to us.
pub enum Verdict {
    /// Nothing that we hook is in it.
    Nothing,
    /// Something is, but it can not be hooked; why.
    Unusable(String),
    /// Hooks.
    Hooks(Found),
}

/// The hooks of a file.
pub struct Found {
    /// Where to attach what.
    pub hooks: Vec<Hook>,
    /// Library, version and hooked functions, for people.
    pub description: String,
    /// Remarks on how it was found.
    pub notes: Vec<String>,
}

/// Whether a file of that name is likely to be a library that we know.
pub fn is_likely(name: &str) -> bool {
    name.starts_with("libssl") && name.contains(".so")
}

/// Looks for every library that we know.
pub fn examine(file: &File) -> Verdict {
    let binary = match Binary::open(file) {
        Ok(binary) => binary,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    if let Err(error) = binary.check_machine(Machine::host()) {
        return Verdict::Unusable(error.to_string());
    }
    openssl::hooks(&binary)
}

/// Where the end of a call can be seen without a return probe. `caller`: its return address, counted from the probed
/// instruction; it must be behind a call of the function in the same file. `None` if nothing is known for sure.
pub fn returns(file: &File, hook: &Hook, caller: i64) -> Option<Returns> {
    if !hook.returns.is_empty() {
        return Some(Returns::By(hook.returns.clone()));
    }
    let to = hook.site.checked_add_signed(caller)?;
    inspect::behind_call(&Binary::open(file).ok()?, hook.address, to).map(Returns::To)
}
