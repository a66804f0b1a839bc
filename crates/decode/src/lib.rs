//! Bytes of a connection to messages: no I/O, no clock, no threads, no unsafe, bounded memory.
//!
//! A [`Connection`] takes what one process sent and received on one connection, in the order in which the
//! process did so, and calls back with [`Part`]s: heads, pieces of decoded bodies, ends, small whole messages,
//! and `Raw` for what belongs to no known protocol. Nothing fails and nothing vanishes: every byte pushed is
//! counted in the `wire` length of a head, an end or a whole message, or in `Framing`, or handed on as `Raw`.
//!
//! | module     | holds                                                                     |
//! |------------|---------------------------------------------------------------------------|
//! | connection | which protocol a connection speaks; what is held back until that is known |
//! | sniff      | first bytes to protocol                                                   |
//! | session    | what every protocol does with the bytes of both directions                |
//! | http1      | messages of HTTP/1.0 and 1.1                                              |
//! | http2      | messages of HTTP/2 by stream; HPACK                                       |
//! | websocket  | messages of WebSocket                                                     |
//! | redis, sql | Redis, PostgreSQL and MySQL as lines                                      |
//! | content    | bodies: encodings off, units told apart                                   |
//! | coding     | removal of gzip, deflate, br, zstd                                        |
//! | events, grpc | units of bodies: Server-Sent Events, messages of gRPC                   |
//! | text       | shown as text or as a hex dump?                                           |
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
pub use part::{Direction, End, Exchange, Head, Kind, Lane, Part, Protocol, Unit, Version, Whole};
pub use text::is_text;
