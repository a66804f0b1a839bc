//! What comes out of a connection.
use std::fmt;

use crate::coding::Codings;
use crate::http1::Fields;
use crate::notes::Notes;

/// Which way bytes went, as seen by the watched process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Written by the process.
    Sent,
    /// Read by the process.
    Received,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::Sent, Self::Received];

    /// The opposite direction.
    pub fn other(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// One piece of one direction of a connection. A message is `Start`, any number of `Body`, `Undecoded` and
/// `Gap`, then `End`; `Raw` and `Gap` also come between messages.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A message begins.
    Start(Head<'a>),
    /// Content, free of chunked framing and of every content-encoding. Never empty.
    Body(&'a [u8]),
    /// Content, free of chunked framing but still encoded: its encoding is unknown, or decoding failed or
    /// lost its input before these bytes. A server that lies about its encoding shows up here. Never empty.
    Undecoded(&'a [u8]),
    /// The message that was started is over.
    End(End<'a>),
    /// Bytes outside any message. Never empty.
    Raw(&'a [u8]),
    /// So many bytes were lost here.
    Gap(u64),
}

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Request or response, and its first line.
    pub kind: Kind<'a>,
    /// The head exactly as on the wire: first line, fields, the blank line; also line ends before it.
    pub raw: &'a [u8],
    /// How many bytes at the start of `raw` have already been given out as `Raw`, because
    /// [`Connection::flush`](crate::Connection::flush) was called while the head was incomplete.
    pub shown: usize,
    /// Length of the body on the wire; `None` when chunked or when the head does not say.
    pub length: Option<u64>,
    /// Whether the body is chunked on the wire.
    pub chunked: bool,
    /// Encodings of the body in the order in which the sender applied them.
    pub codings: Codings,
}

impl<'a> Head<'a> {
    /// The header fields in order.
    pub fn fields(&self) -> Fields<'a> {
        Fields::of_head(self.raw)
    }
}

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A request line.
    Request {
        /// `GET`, `POST`, …; case as sent.
        method: &'a str,
        /// What is asked for: path, URL, `host:port` or `*`. Any bytes but controls and spaces.
        target: &'a [u8],
        /// Protocol version.
        version: Version,
    },
    /// A status line.
    Response {
        /// Three digits.
        status: u16,
        /// Text after the status, often empty.
        reason: &'a [u8],
        /// Protocol version.
        version: Version,
    },
}

/// Version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Before the dot.
    pub major: u8,
    /// After the dot.
    pub minor: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP/{}.{}", self.major, self.minor)
    }
}

/// How a message ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End<'a> {
    /// Trailer fields of a chunked body exactly as on the wire, without the final blank line.
    pub trailers: &'a [u8],
    /// Bytes after the head that belonged to the message, framing and trailers included, lost ones not.
    pub wire: u64,
    /// Bytes given out as `Body`.
    pub decoded: u64,
    /// Encoded bytes that were not decoded, whether given out as `Undecoded` or dropped beyond the cap.
    pub undecoded: u64,
    /// Whether the message was seen from its first to its last byte.
    pub complete: bool,
    /// What is odd about the message.
    pub notes: Notes,
}
