//! Go programs: the functions of `crypto/tls`, found by the table that the runtime uses for stack traces. No linker
//! flag removes it.

mod abi;
mod table;
mod version;

use crate::binary::Binary;
use crate::code::{Code, Decoder};
use crate::error::ElfError;
use crate::hook::Cost;
use crate::place::{Label, Place, Secret};

pub use abi::Convention;
use table::{Extent, FunctionTable};
pub use version::may_be;

/// Longest function that is decoded, bytes.
const LONGEST: u64 = 1 << 16;

/// The functions of a Go program that move plaintext and hand over keys.
#[derive(Debug)]
pub struct Go {
    /// As the program tells it: `go1.26.0`.
    pub version: Option<String>,
    /// How its functions get their arguments.
    pub convention: Convention,
    /// Those that were found.
    pub functions: Vec<Function>,
    /// Addresses of the `Read` methods of those types behind `net.Conn` whose descriptor can be read.
    pub sockets: Vec<u64>,
    /// What is missing.
    pub notes: Vec<String>,
}

/// One function.
#[derive(Debug)]
pub struct Function {
    /// Its name in stack traces.
    pub name: &'static str,
    /// What it does for us.
    pub purpose: Purpose,
    /// Virtual address of its first byte.
    pub address: u64,
    /// Bytes to the instruction to probe; all arguments are still in place there.
    pub skip: u32,
    /// What the kernel does for that instruction.
    pub cost: Cost,
    /// Position in the file of that instruction.
    pub file_offset: u64,
    /// Positions in the file of all instructions by which it returns; only for those that move plaintext.
    pub returns: Vec<u64>,
}

/// What a function is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `(conn, bytes)`, gives `(count, error)`.
    Read,
    /// The same.
    Write,
    /// `(conn)`: a handshake begins.
    Begin,
    /// `(conn)`.
    Close,
    /// `(config, label, random, secret)`.
    Secret,
}

/// Where a call that moves plaintext has its values.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The connection object, at the entry.
    pub object: Place,
    /// Address of the bytes, at the entry.
    pub buffer: Place,
    /// How many bytes the program has, or has room for, at the entry.
    pub length: Place,
    /// How many were moved, at a return.
    pub result: Place,
    /// What the call is known by from its entry to its return: a goroutine changes threads, and its stack moves.
    pub goroutine: Place,
}

/// Why there are no hooks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a Go program.
    #[error("no Go program")]
    NotGo,
    /// A Go program without `crypto/tls`.
    #[error("a Go program without crypto/tls")]
    NoTls,
    /// A Go program whose functions can not be told for sure; why.
    #[error("a Go program, but {0}")]
    Unclear(&'static str),
    /// The file can not be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// The functions that matter, and what for.
const FUNCTIONS: [(&str, Purpose); 6] = [
    ("crypto/tls.(*Conn).Read", Purpose::Read),
    ("crypto/tls.(*Conn).Write", Purpose::Write),
    ("crypto/tls.(*Conn).clientHandshake", Purpose::Begin),
    ("crypto/tls.(*Conn).serverHandshake", Purpose::Begin),
    ("crypto/tls.(*Conn).Close", Purpose::Close),
    ("crypto/tls.(*Config).writeKeyLog", Purpose::Secret),
];

/// Types behind `net.Conn` that begin with a pointer to a `netFD`, told by a method of theirs.
const SOCKETS: [&str; 2] = ["net.(*TCPConn).Read", "net.(*UnixConn).Read"];

/// Finds the functions.
///
/// # Errors
/// Why there is nothing to hook.
pub fn resolve(binary: &Binary<'_>) -> Result<Go, Refusal> {
    let table = FunctionTable::find(binary)?;
    let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).chain(SOCKETS).collect();
    let found = table.find_functions(&names)?;
    let extent = |name| found[names.iter().position(|other| *other == name)?];
    let extents = FUNCTIONS.map(|(name, purpose)| Some((name, purpose, extent(name)?)));
    let extents: Vec<(&'static str, Purpose, Extent)> = extents.into_iter().flatten().collect();
    let calls = |purpose| matches!(purpose, Purpose::Read | Purpose::Write | Purpose::Secret);
    let Some((_, _, first)) = extents.iter().find(|(_, purpose, _)| calls(*purpose)) else {
        return Err(Refusal::NoTls);
    };
    let convention = Convention::of(&table, &read(binary, *first))
        .ok_or(Refusal::Unclear("how its functions get their arguments is not clear"))?;
    let mut notes = Vec::new();
    let mut functions = Vec::new();
    for (name, purpose, extent) in extents {
        match function(binary, convention, name, purpose, extent) {
            Some(function) => functions.push(function),
            None => notes.push(format!("{name} is not hooked: its returns are not clear")),
        }
    }
    for (name, _) in FUNCTIONS.iter().filter(|(name, purpose)| calls(*purpose) && extent(*name).is_none()) {
        notes.push(format!("{name} is not in this program"));
    }
    let sockets = SOCKETS.into_iter().filter_map(extent).map(|extent| extent.start).collect();
    Ok(Go { version: version::version(binary), convention, functions, sockets, notes })
}

fn read(binary: &Binary<'_>, extent: Extent) -> Code {
    Code::read(binary, extent.start, (extent.end - extent.start).min(LONGEST))
}

fn function(
    binary: &Binary<'_>,
    convention: Convention,
    name: &'static str,
    purpose: Purpose,
    extent: Extent,
) -> Option<Function> {
    let code = read(binary, extent);
    let (skip, cost) = convention.site(&code, &mut Decoder::default());
    let returns = match purpose {
        Purpose::Read | Purpose::Write => {
            let whole = extent.end - extent.start <= LONGEST;
            abi::returns(&code, &mut Decoder::default()).filter(|all| whole && !all.is_empty())?
        }
        Purpose::Begin | Purpose::Close | Purpose::Secret => Vec::new(),
    };
    Some(Function {
        name,
        purpose,
        address: extent.start,
        skip,
        cost,
        file_offset: binary.file_offset(extent.start + u64::from(skip))?,
        returns: returns.into_iter().map(|address| binary.file_offset(address)).collect::<Option<_>>()?,
    })
}

impl Convention {
    /// Where `(*Conn).Read` and `(*Conn).Write` have their values.
    pub fn call(self) -> Call {
        Call {
            object: self.argument(0),
            buffer: self.argument(1),
            length: self.argument(2),
            result: self.result(4),
            goroutine: self.goroutine(),
        }
    }

    /// Where `writeKeyLog` has its values: a string has two words, a slice three.
    pub fn secret(self) -> Secret {
        Secret {
            object: None,
            label: Label::Sized(self.argument(1), self.argument(2)),
            client_random: self.argument(3),
            secret: self.argument(6),
            length: self.argument(7),
        }
    }
}
