//! What a run looks for in files: TLS libraries, or a program that reads commands.

use inspect::Binary;

use super::{Overrides, Verdict, bash, gnutls, go, mysql, nss, openssl, postgres, rustls, zsh};
use crate::bpf::{Shape, Subject};

/// What a run looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What passes through these libraries.
    Tls(Subject, Libraries),
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
            Self::Tls(subject, _) => Shape::Tls(subject),
            Self::Commands(_) => Shape::Text,
        }
    }

    /// What a file must have, in words.
    pub fn needs(self) -> String {
        match self {
            Self::Tls(_, libraries) => {
                let names: Vec<_> = libraries.iter().map(Library::described).collect();
                let names = names.join(" or ");
                format!("no function of {names} in it; give a library or a program with it inside")
            }
            Self::Commands(program) => program.needs().to_owned(),
        }
    }

    /// Whether a file of that name is likely to be what is wanted.
    pub fn is_likely(self, name: &str) -> bool {
        match self {
            Self::Tls(_, libraries) => libraries.iter().any(|library| library.is_likely(name)),
            Self::Commands(program) => program.is_likely(name),
        }
    }

    /// Whether it is worth a warning that a file of that name can not be read.
    pub fn is_expected_in(self, name: &str) -> bool {
        match self {
            Self::Tls(..) => name.contains("ssl") || self.is_likely(name),
            Self::Commands(_) => self.is_likely(name),
        }
    }
}

impl Program {
    fn needs(self) -> &'static str {
        match self {
            Self::Bash => "not a bash with its symbols, and no readline library",
            Self::Zsh => "not a zsh with its symbols",
            Self::MySql => "no dispatch_command in it; give a mysqld or a mariadbd",
            Self::Postgres => "not a PostgreSQL server",
        }
    }

    fn is_likely(self, name: &str) -> bool {
        match self {
            Self::Bash => name == "bash" || name.starts_with("libreadline.so"),
            Self::Zsh => name == "zsh",
            Self::MySql => ["mysqld", "mariadbd"].contains(&name),
            Self::Postgres => name == "postgres",
        }
    }

    /// What a file has of it.
    pub(super) fn hooks(self, binary: &Binary<'_>) -> Verdict {
        match self {
            Self::Bash => bash::hooks(binary),
            Self::Zsh => zsh::hooks(binary),
            Self::MySql => mysql::hooks(binary),
            Self::Postgres => postgres::hooks(binary),
        }
    }
}

/// A TLS library that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// OpenSSL and its forks.
    OpenSsl,
    /// GnuTLS.
    GnuTls,
    /// NSS.
    Nss,
    /// `crypto/tls` of Go.
    Go,
    /// rustls.
    Rustls,
}

/// A choice of libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Libraries(u8);

impl Libraries {
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// Those that are chosen.
    pub fn iter(self) -> impl Iterator<Item = Library> {
        Library::ALL.into_iter().filter(move |library| self.0 & 1 << *library as u8 != 0)
    }
}

impl FromIterator<Library> for Libraries {
    fn from_iter<I: IntoIterator<Item = Library>>(libraries: I) -> Self {
        Self(libraries.into_iter().fold(0, |set, library| set | 1 << library as u8))
    }
}

impl Library {
    const ALL: [Self; 5] = [Self::OpenSsl, Self::GnuTls, Self::Nss, Self::Go, Self::Rustls];

    /// What a file has to contain, in words.
    fn described(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::GnuTls => "GnuTLS",
            Self::Nss => "NSS",
            Self::Go => "crypto/tls of Go",
            Self::Rustls => "rustls",
        }
    }

    fn is_likely(self, name: &str) -> bool {
        match self {
            Self::OpenSsl => name.starts_with("libssl") && name.contains(".so"),
            Self::GnuTls => name.starts_with("libgnutls.so"),
            Self::Nss => ["libssl3.so", "libfreeblpriv3.so"].contains(&name),
            Self::Go | Self::Rustls => false,
        }
    }

    /// Whether it is worth looking for it in a file: cheap, and only a `false` is certain.
    pub(super) fn may_be_in(self, binary: &Binary<'_>) -> bool {
        let may_be = match self {
            Self::OpenSsl => openssl::may_be(binary),
            Self::GnuTls => gnutls::may_be(binary),
            Self::Nss => nss::may_be(binary),
            Self::Go => go::may_be(binary),
            Self::Rustls => rustls::may_be(binary),
        };
        may_be.unwrap_or(true) // what is wrong with the file is said by those who read all of it
    }

    /// What a file has of it.
    pub(super) fn hooks(self, binary: &Binary<'_>, subject: Subject, overrides: &Overrides) -> Verdict {
        match self {
            Self::OpenSsl => openssl::hooks(binary, subject, overrides),
            Self::GnuTls => gnutls::hooks(binary, subject),
            Self::Nss => nss::hooks(binary, subject),
            Self::Go => go::hooks(binary, subject),
            Self::Rustls => rustls::hooks(binary, subject),
        }
    }
}
