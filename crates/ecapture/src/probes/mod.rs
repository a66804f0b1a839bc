//! What to hook, one file for each library: facts about a file become hooks.

mod bash;
mod cache;
mod mysql;
mod named;
mod openssl;
mod overrides;
mod point;
mod postgres;
mod zsh;

use std::fs::File;

use inspect::{Binary, Machine};
use serde::{Deserialize, Serialize};

use crate::bpf::{Hook, ObjectKeys, Returns, Shape, Subject};
pub use cache::Cache;
use cache::Key;
pub use overrides::Overrides;
pub use point::Point;

/// What a run looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// TLS libraries.
    Tls(Subject),
    /// Commands that this program reads.
    Commands(Program),
}

/// A program that reads commands or statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A shell.
    Bash,
    /// A shell.
    Zsh,
    /// A server: MySQL or MariaDB.
    MySql,
    /// A server.
    Postgres,
}

impl Wanted {
    /// The shape of its hooks.
    pub fn shape(self) -> Shape {
        match self {
            Self::Tls(subject) => Shape::Tls(subject),
            Self::Commands(_) => Shape::Text,
        }
    }

    /// What a file must have, in words.
    pub fn needs(self) -> &'static str {
        match self {
            Self::Tls(_) => "no function of OpenSSL in it; give a libssl or a program with OpenSSL inside",
            Self::Commands(Program::Bash) => "not a bash with its symbols, and no readline library",
            Self::Commands(Program::Zsh) => "not a zsh with its symbols",
            Self::Commands(Program::MySql) => "no dispatch_command in it; give a mysqld or a mariadbd",
            Self::Commands(Program::Postgres) => "not a PostgreSQL server",
        }
    }

    /// Whether a file of that name is likely to be what is wanted.
    pub fn is_likely(self, name: &str) -> bool {
        match self {
            Self::Tls(_) => name.starts_with("libssl") && name.contains(".so"),
            Self::Commands(Program::Bash) => name == "bash" || name.starts_with("libreadline.so"),
            Self::Commands(Program::Zsh) => name == "zsh",
            Self::Commands(Program::MySql) => ["mysqld", "mariadbd"].contains(&name),
            Self::Commands(Program::Postgres) => name == "postgres",
        }
    }

    /// Whether it is worth a warning that a file of that name can not be read.
    pub fn is_expected_in(self, name: &str) -> bool {
        match self {
            Self::Tls(_) => name.contains("ssl"),
            Self::Commands(_) => self.is_likely(name),
        }
    }
}

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

/// Looks for what is wanted. What the user overrides is not kept in the cache.
pub fn examine(file: &File, wanted: Wanted, overrides: &Overrides, cache: &Cache) -> Verdict {
    let binary = match Binary::open(file) {
        Ok(binary) => binary,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    if let Err(error) = binary.check_machine(Machine::host()) {
        return Verdict::Unusable(error.to_string());
    }
    match wanted {
        Wanted::Tls(subject) if overrides.is_none() && openssl::may_be(&binary).unwrap_or_default() => {
            cached(file, subject, cache, || openssl::hooks(&binary, subject, overrides))
        }
        Wanted::Tls(subject) => openssl::hooks(&binary, subject, overrides),
        Wanted::Commands(Program::Bash) => bash::hooks(&binary),
        Wanted::Commands(Program::Zsh) => zsh::hooks(&binary),
        Wanted::Commands(Program::MySql) => mysql::hooks(&binary),
        Wanted::Commands(Program::Postgres) => postgres::hooks(&binary),
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
