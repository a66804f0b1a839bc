//! What to hook and where its values are: plain data, the same for every library.

use std::fmt;

use crate::SymbolTable;
use crate::place::{Base, Derivation, Place, Secret};

/// One function to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name in the library's source.
    pub function: &'static str,
    /// What it does for us.
    pub purpose: Purpose,
    /// The instruction to probe.
    pub site: Site,
    /// Why we believe that this is the function.
    pub evidence: Evidence,
}

/// What a function tells when it is called, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Gives decrypted bytes to the program; they are in the buffer when it returns.
    Read(Call),
    /// Takes the program's bytes to encrypt; how many were taken is known when it returns.
    Write(Call),
    /// The same, but the buffer is an array of `struct iovec`, and the length is their number.
    WriteVectors(Call),
    /// Gets decrypted bytes for the program, all of which count.
    Taken(Taken),
    /// Sends a file: `(object, fd, offset, size, flags)`, returns the bytes sent or less than 0. The bytes are never in memory.
    SendFile,
    /// Gives decrypted bytes to the program: the return value, a `ssize_t`, is their number. Where they are, its arguments do
    /// not tell.
    ReadElsewhere,
    /// Sends what functions took before from the connection object, argument 1: what it calls to do that must not count
    /// again.
    Flush,
    /// Makes a connection object: the return value.
    New,
    /// Makes a connection object: returns 0, and stores its address where this argument points.
    NewAt(Arg),
    /// Frees the connection object, argument 1.
    Free,
    /// Resets the connection object, argument 1, for another connection.
    Clear,
    /// Ties the connection object, argument 1, to a socket, argument 2.
    SetFd,
    /// Ties the connection object, argument 1, to its transports: arguments 2 (reading) and 3 (writing).
    SetBio,
    /// Hands over a TLS secret.
    Secret(Secret),
    /// Begins to compute a secret of TLS 1.3; which bytes it is tell [`MacInput`](Self::MacInput) and
    /// [`MacOutput`](Self::MacOutput), which the same thread calls inside.
    Derive(Derivation),
    /// Takes bytes, `(context, bytes, length)`, of which a MAC is computed: an `HkdfLabel` (RFC 8446, section 7.1) says of
    /// what.
    MacInput,
    /// Gives out a MAC: `(context, out, *length, room)`, returns 0.
    MacOutput,
    /// Makes the handshake of the connection object, argument 1; returns 1 when it is complete.
    Handshake,
}

/// An argument of a function, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg(pub u8);

/// Where a plaintext call has its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The connection object.
    pub object: Arg,
    /// Address of the bytes.
    pub buffer: Arg,
    /// How many bytes the program has, or has room for.
    pub length: Arg,
    /// How many were moved.
    pub result: ResultKind,
}

/// Where a function that gets decrypted bytes has them, at its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The connection object.
    pub object: Arg,
    /// Address of the bytes.
    pub buffer: Place,
    /// How many.
    pub length: Place,
}

/// How a plaintext call says how many bytes it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// It returns the number as an `int`; 0 or less means none.
    Count,
    /// The same; but if this argument has `MSG_PEEK` (2), a later call gives the same bytes again.
    Unpeeked(Arg),
    /// It returns an `int` greater than 0, and the `size_t` to which this argument points is the number.
    Out(Arg),
    /// It returns the number as a `ssize_t`; 0 or less means none.
    Size,
    /// The same; but if it returns -28 (`GNUTLS_E_AGAIN`) or -52 (`GNUTLS_E_INTERRUPTED`), it keeps the bytes, and a later
    /// call returns how many, whatever that call is given.
    Resumed,
    /// It returns two words, as an `io::Result<usize>` of Rust: if the first is even, the second is the number.
    Pair,
}

/// The instruction under a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Virtual address of the function's first byte.
    pub address: u64,
    /// Position in the file of the probed instruction.
    pub file_offset: u64,
    /// Bytes from the function's first byte to the probed instruction. All arguments and the return
    /// address are still in place there, so entry and return probes may both use it.
    pub skip: u32,
    /// What the kernel does for the instruction each time.
    pub cost: Cost,
}

/// How the kernel gets past a probed instruction. Times: x86_64, Linux 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Emulated: 0.55 µs.
    Emulated,
    /// Single-stepped in a copy: 19 µs.
    Stepped,
    /// A 5-byte nop, which newer kernels turn into a call: 0.26 µs; older ones step it.
    Nop5,
}

/// Why an address is believed to be a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The user says so.
    Given,
    /// A symbol says so.
    Symbol(SymbolTable),
    /// Functions that are known by symbols all pass their arguments on to it.
    SharedCallee {
        /// Those functions.
        callers: Vec<&'static str>,
        /// Whether a symbol also says so.
        named: bool,
    },
    /// No symbol: it is the only function that refers both to its own name and to the path of its source
    /// file, as functions do that report errors; and, for those that move plaintext, its code and its
    /// callers show what its arguments are.
    Strings {
        /// The path of the source file.
        source: String,
    },
    /// No symbol and no name: the numbers that it gives with its errors, the path of its source file, and what its
    /// code does with its arguments.
    ErrorCodes {
        /// The path of the source file.
        source: String,
    },
    /// It is in one of two tables of functions of sockets; those of the other call, by their documented places, the
    /// functions of the layer below that have the names of their positions.
    SocketTable,
    /// It is in the table of algorithms, to which versions only append; the function of the table that computes keys calls
    /// those there that are known to compute MACs.
    AlgorithmTable,
    /// It is the one function that every reference to the name of a secret leads to, with the name as argument.
    Labels {
        /// Calls that were seen.
        calls: usize,
        /// The names, sorted.
        labels: Vec<&'static str>,
        /// Functions whose code shows where the client random is; all agree.
        random: Vec<&'static str>,
    },
}

/// How sure it is that an address is that function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The user or the file names it, and its code does not disagree.
    Certain,
    /// The file does not name it; independent signs in its code agree and no other function has them.
    High,
}

impl Evidence {
    /// How much it is worth.
    pub fn confidence(&self) -> Confidence {
        match self {
            Self::Given | Self::Symbol(_) | Self::SharedCallee { named: true, .. } => Confidence::Certain,
            Self::SharedCallee { named: false, .. }
            | Self::Strings { .. }
            | Self::ErrorCodes { .. }
            | Self::SocketTable
            | Self::AlgorithmTable
            | Self::Labels { .. } => Confidence::High,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => out.write_str("given by the user"),
            Self::Symbol(SymbolTable::Dynamic) => out.write_str("exported"),
            Self::Symbol(SymbolTable::Static) => out.write_str("in the symbol table"),
            Self::SharedCallee { callers, named } => {
                let named = if *named { ", and a symbol says so" } else { "" };
                write!(out, "called alike by {}{named}", callers.join(", "))
            }
            Self::Strings { source } => write!(out, "refers to its name and to {source}"),
            Self::ErrorCodes { source } => write!(out, "has the error numbers of one function of {source}"),
            Self::SocketTable => {
                out.write_str("in the table of TLS sockets; its twin without TLS calls the layer below")
            }
            Self::AlgorithmTable => {
                out.write_str("in the table of algorithms; that which computes keys calls those for MACs")
            }
            Self::Labels { calls, labels, random } => {
                let (labels, random) = (labels.len(), random.join(", "));
                write!(out, "gets {labels} names of secrets in {calls} calls; client random by {random}")
            }
        }
    }
}

impl Purpose {
    /// Whether the hook sees bytes of the program.
    pub(crate) fn moves_plaintext(&self) -> bool {
        matches!(
            self,
            Self::Read(_)
                | Self::ReadElsewhere
                | Self::Write(_)
                | Self::WriteVectors(_)
                | Self::Taken(_)
                | Self::SendFile
        )
    }

    /// The arguments that are read when the function is entered.
    pub(crate) fn arguments(&self) -> Vec<Arg> {
        match self {
            Self::Read(call) | Self::Write(call) | Self::WriteVectors(call) => {
                let mut args = vec![call.object, call.buffer, call.length];
                if let ResultKind::Out(out) | ResultKind::Unpeeked(out) = call.result {
                    args.push(out);
                }
                args
            }
            Self::Taken(taken) => {
                let places = [taken.buffer, taken.length];
                [taken.object].into_iter().chain(places.into_iter().filter_map(argument)).collect()
            }
            Self::SendFile => (1..=5).map(Arg).collect(),
            Self::New => Vec::new(),
            Self::NewAt(out) => vec![*out],
            Self::ReadElsewhere | Self::Flush | Self::Free | Self::Clear | Self::Handshake => vec![Arg(1)],
            Self::SetFd => vec![Arg(1), Arg(2)],
            Self::SetBio | Self::MacInput => vec![Arg(1), Arg(2), Arg(3)],
            Self::MacOutput => (1..=4).map(Arg).collect(),
            Self::Secret(secret) => secret.places().filter_map(argument).collect(),
            Self::Derive(derivation) => derivation.places().filter_map(argument).collect(),
        }
    }
}

fn argument(place: Place) -> Option<Arg> {
    match place.base {
        Base::Arg(arg) => Some(arg),
        Base::Register(_) | Base::Constant(_) | Base::ThreadPointer => None,
    }
}
