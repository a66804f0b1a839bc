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

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// WebSocket, after an upgrade from HTTP/1.1.
    WebSocket,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    MySql,
}

/// Where a part belongs. The parts of one lane follow one another; messages of different lanes interleave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Which way it goes.
    pub direction: Direction,
    /// Stream of HTTP/2; 0 for the connection itself, and in every other protocol.
    pub stream: u32,
}

/// One piece of one lane. A message is `Start`, any number of `Unit`, `Body`, `Undecoded` and `Gap`, then
/// `End`; `Raw` and `Gap` also come between messages, `Whole` and `Framing` anywhere.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A message begins.
    Start(Head<'a>),
    /// The body of the message has units of its own, and one of them begins.
    Unit(Unit),
    /// Content, free of chunked framing and of every content-encoding. Never empty.
    Body(&'a [u8]),
    /// Content, free of chunked framing but still encoded: its encoding is unknown, or decoding failed or
    /// lost its input before these bytes. A server that lies about its encoding shows up here. Never empty.
    Undecoded(&'a [u8]),
    /// The message that was started is over.
    End(End<'a>),
    /// A small message, complete by itself. It may come while another message of its lane goes on.
    Whole(Whole<'a>),
    /// So many bytes were framing or control that says nothing to a reader.
    Framing(u64),
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
    /// Of HTTP/1, the head exactly as on the wire: first line, fields, the blank line; also line ends before
    /// it. Of HTTP/2, a line for each field, pseudo-fields among them, and a blank line. Else empty.
    pub raw: &'a [u8],
    /// Bytes that the head took on the wire.
    pub wire: u64,
    /// Which exchange it belongs to.
    pub exchange: Option<Exchange>,
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
    /// A head without fields.
    pub(crate) fn of(kind: Kind<'a>) -> Self {
        Self {
            kind,
            raw: b"",
            wire: 0,
            exchange: None,
            shown: 0,
            length: None,
            chunked: false,
            codings: Codings::default(),
        }
    }

    /// The header fields in order.
    pub fn fields(&self) -> Fields<'a> {
        match self.kind {
            Kind::Request { version, .. } | Kind::Response { version, .. } if version.major == 1 => {
                Fields::of_head(self.raw)
            }
            _ => Fields::of_section(self.raw),
        }
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
    /// Neither, with the name of what it is: `WebSocket text`, `HTTP/2 data` of a stream whose head was not
    /// seen.
    Other(&'static str),
}

/// What pairs a request with its responses. Numbers are unique within a connection until it switches to
/// another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A request.
    Asks(u64),
    /// A response after which more will come to the same request.
    Interim(u64),
    /// The last response, as far as its head tells.
    Answers(u64),
}

/// What the body of a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One event of `text/event-stream`.
    Event,
    /// One message of gRPC, without its prefix and its encoding.
    Grpc,
}

impl Unit {
    /// Name for a reader.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "Server-Sent Event",
            Self::Grpc => "gRPC message",
        }
    }
}

/// A command, a reply, a control frame.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Protocol and sort: `MySQL command`, `WebSocket ping`, `HTTP/2 GOAWAY`.
    pub name: &'static str,
    /// What it says, made readable. Secrets are left out.
    pub text: &'a [u8],
    /// Bytes that it took on the wire.
    pub wire: u64,
    /// Which exchange it belongs to.
    pub exchange: Option<Exchange>,
    /// What is odd about it.
    pub notes: Notes,
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
        match self {
            Self { major: 2, .. } => f.write_str("HTTP/2"),
            Self { major, minor } => write!(f, "HTTP/{major}.{minor}"),
        }
    }
}

/// How a message ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End<'a> {
    /// Trailer fields without the final blank line: of HTTP/1 exactly as on the wire, of HTTP/2 a line each.
    pub trailers: &'a [u8],
    /// How a call of gRPC ended, as its trailers say: `OK`, `NOT_FOUND`, …
    pub status: Option<&'static str>,
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
