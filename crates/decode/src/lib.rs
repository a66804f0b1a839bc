//! Bytes of a connection to messages: no I/O, no clock, no threads, no unsafe, bounded memory.
//!
//! A [`Connection`] takes what one process sent and received on one connection, in the order in which the
//! process did so, and calls back with [`Part`]s: heads, pieces of decoded bodies, ends, and `Raw` for what
//! belongs to no known protocol. Nothing fails and nothing vanishes: every byte pushed is part of a head,
//! counted in the `wire` length of a body, or handed on as `Raw`.
//!
//! | module     | holds                                                                 |
//! |------------|-----------------------------------------------------------------------|
//! | connection | which protocol a connection speaks; what is held back until that is known |
//! | sniff      | first bytes to protocol                                               |
//! | http1      | messages of HTTP/1.0 and 1.1                                          |
//! | coding     | removal of gzip, deflate, br, zstd                                    |
//! | text       | shown as text or as a hex dump?                                       |
#![forbid(unsafe_code)]

mod coding;
mod connection;
mod content;
mod events;
mod grpc;
mod held;
mod http1;
mod http2;
mod notes;
mod part;
mod redis;
mod session;
mod sniff;
mod sql;
mod text;
mod websocket;

pub use coding::{Coding, Codings};
pub use connection::{Connection, Limits};
pub use http1::Fields;
pub use notes::{Note, Notes};
pub use part::{Direction, End, Exchange, Head, Kind, Lane, Part, Unit, Version, Whole};
pub use text::is_text;
