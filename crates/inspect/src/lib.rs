//! What a file is: functions, probe sites and the evidence for them, read from its bytes.
//!
//! [`Binary`] is the file; [`openssl::resolve`], [`gnutls::resolve`], [`nss::resolve`] and [`rustls::resolve`] turn it
//! into [`Hook`]s, [`go::resolve`] into functions of a Go program. Nothing here attaches, maps or
//! runs anything. Files are hostile: every read is a `pread` with a bound, every loop has an end, and two
//! equally good answers mean that none is given.
#![forbid(unsafe_code)]

mod binary;
mod code;
mod constants;
mod error;
mod functions;
/// GnuTLS.
pub mod gnutls;
/// Go programs.
pub mod go;
mod header;
mod hook;
mod labels;
/// NSS.
pub mod nss;
/// OpenSSL and its forks.
pub mod openssl;
mod place;
mod read;
mod references;
mod relocation;
mod returns;
/// rustls.
pub mod rustls;
mod site;
mod symbolic;
mod symbols;
mod unwind;
mod version;

pub use binary::{Binary, Kind, Machine};
pub use error::ElfError;
pub use hook::{Arg, Call, Confidence, Cost, Evidence, Hook, Purpose, ResultKind, Site, Taken};
pub use place::{Base, Derivation, Label, MOST_LOADS, MasterSecret, ObjectKeys, Path, Place, Secret};
pub use read::ReadAt;
pub use returns::{behind_call, returns};
pub use symbols::{Symbol, SymbolTable, Symbols};

/// Why there is no answer for sure.
type Why = &'static str;
