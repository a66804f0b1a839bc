//! The functions of the library, as its documentation describes them.

use std::fmt;

use super::{Flavour, object};
use crate::hook::{Arg, Call, Purpose, ResultKind};

/// Which way plaintext moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

impl Direction {
    /// The function that all public ones of the direction call, by its name in ssl/ssl_lib.c.
    pub(super) const fn internal(self) -> &'static str {
        match self {
            Self::Read => "ssl_read_internal",
            Self::Write => "ssl_write_internal",
        }
    }

    /// The oldest public function.
    pub(super) const fn simple(self) -> &'static str {
        match self {
            Self::Read => "SSL_read",
            Self::Write => "SSL_write",
        }
    }

    /// Functions that never call it, as a counter-check.
    pub(super) const fn strangers(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["SSL_peek", "SSL_peek_ex", "SSL_write"],
            Self::Write => &["SSL_peek", "SSL_peek_ex", "SSL_read"],
        }
    }

    /// What the internal function does if its out argument is number `out`.
    pub(super) const fn internal_purpose(self, out: Arg) -> Purpose {
        match self {
            Self::Read => read(ResultKind::Out(out)),
            Self::Write => write(ResultKind::Out(out)),
        }
    }
}

/// A function that programs call.
pub(super) struct Public {
    pub(super) name: &'static str,
    pub(super) purpose: Purpose,
    /// `None` if it does not move plaintext of the program's memory.
    pub(super) direction: Option<Direction>,
    /// How it is used to find the internal function.
    pub(super) form: Form,
}

/// What a public function gives the internal one as its out argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The address of a variable of its own.
    Local,
    /// Its own argument.
    Passed(Arg),
    /// Calls it on some paths, or one of the others.
    Indirect,
    /// Has nothing to do with it.
    Other,
}

/// All public functions take `(object, buffer, length, …)`.
const fn call(result: ResultKind) -> Call {
    Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result }
}

const fn read(result: ResultKind) -> Purpose {
    Purpose::Read(call(result))
}

const fn write(result: ResultKind) -> Purpose {
    Purpose::Write(call(result))
}

const fn reads(name: &'static str, result: ResultKind, form: Form) -> Public {
    Public { name, purpose: read(result), direction: Some(Direction::Read), form }
}

const fn writes(name: &'static str, result: ResultKind, form: Form) -> Public {
    Public { name, purpose: write(result), direction: Some(Direction::Write), form }
}

const fn other(name: &'static str, purpose: Purpose) -> Public {
    Public { name, purpose, direction: None, form: Form::Other }
}

const OUT4: ResultKind = ResultKind::Out(Arg(4));
const OUT5: ResultKind = ResultKind::Out(Arg(5));

/// Everything that may be hooked by name. `SSL_read_early_data` returns 1 or, with the last bytes, 2.
pub(super) const PUBLIC: &[Public] = &[
    reads("SSL_read", ResultKind::Count, Form::Local),
    reads("SSL_read_ex", OUT4, Form::Passed(Arg(4))),
    reads("SSL_read_early_data", OUT4, Form::Indirect),
    writes("SSL_write", ResultKind::Count, Form::Local),
    writes("SSL_write_ex", OUT4, Form::Passed(Arg(4))),
    writes("SSL_write_ex2", OUT5, Form::Passed(Arg(5))),
    writes("SSL_write_early_data", OUT4, Form::Indirect),
    other("SSL_sendfile", Purpose::SendFile),
    other("SSL_new", Purpose::New),
    other("SSL_free", Purpose::Free),
    other("SSL_clear", Purpose::Clear),
    other("SSL_set_fd", Purpose::SetFd),
    other("SSL_set_rfd", Purpose::SetFd),
    other("SSL_set_wfd", Purpose::SetFd),
    other("SSL_set_bio", Purpose::SetBio),
];

/// Functions that report errors under their own names, and so are found without symbols, too. `SSL_free`
/// reports none.
pub(super) const LIFECYCLE: [(&str, Purpose); 2] = [("SSL_new", Purpose::New), ("SSL_clear", Purpose::Clear)];

/// Names that OpenSSL's functions give with their errors: themselves since 3.0, before as a number (sslerr.h).
pub(super) const REPORTED: [(&str, u64); 8] = [
    ("ssl_read_internal", 523),
    ("ssl_write_internal", 524),
    ("SSL_read", 223),
    ("SSL_write", 208),
    ("SSL_read_early_data", 529),
    ("SSL_write_early_data", 526),
    ("SSL_new", 186),
    ("SSL_clear", 164),
];

/// The public function of that name.
pub(super) fn public(name: &str) -> Option<&'static Public> {
    PUBLIC.iter().find(|public| public.name == name)
}

/// Never hooked, but looked at: they must not share code with what is hooked.
const LOOKED_AT: &[&str] = &["SSL_peek", "SSL_peek_ex"];

/// Functions that make the handshake.
pub(super) const HANDSHAKES: [&str; 3] = ["SSL_do_handshake", "SSL_connect", "SSL_accept"];

/// Functions that only one member of the family has.
pub(super) const MARKS: &[(&str, Flavour)] = &[
    ("SSL_CTX_set_private_key_method", Flavour::BoringSsl),
    ("SSL_CTX_use_certificate_chain_mem", Flavour::LibreSsl),
    ("SSL_CONF_CTX_set_ssl_ctx", Flavour::OpenSsl),
];

/// Functions without which a file is not worth a closer look.
pub(super) fn plaintext_names() -> Vec<&'static str> {
    PUBLIC.iter().filter(|public| public.purpose.moves_plaintext()).map(|public| public.name).collect()
}

/// Everything that is looked up.
pub(super) fn all_names() -> Vec<&'static str> {
    let marks = MARKS.iter().map(|&(name, _)| name);
    let internal = [Direction::Read.internal(), Direction::Write.internal()];
    let public = PUBLIC.iter().map(|public| public.name);
    let keys = HANDSHAKES.into_iter().chain(object::ACCESSORS);
    public.chain(LOOKED_AT.iter().copied()).chain(internal).chain(marks).chain(keys).collect()
}

/// Whether the function of that name is known to do something else than `purpose`.
pub(super) fn differs(name: &str, purpose: &Purpose) -> bool {
    LOOKED_AT.contains(&name) || PUBLIC.iter().any(|public| public.name == name && public.purpose != *purpose)
}
