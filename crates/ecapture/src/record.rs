//! What sinks receive: a message, or a piece of one, with everything that is known about it; and TLS secrets.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use decode::{Direction, Lane};

/// A message of a connection, or a piece of a long one.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the process made the call that began this piece, ns since 1970.
    pub time: i64,
    /// Who made the call.
    pub thread: Thread<'a>,
    /// Whose connection it is.
    pub connection: &'a Connection,
    /// Which way it went, and in which stream of HTTP/2.
    pub lane: Lane,
    /// Number of the exchange that a request or response belongs to, within its connection.
    pub exchange: Option<u64>,
    /// Of a response: from the call that began its request to the call that began it, ns.
    pub latency: Option<u64>,
    /// What it is.
    pub kind: Kind<'a>,
    /// Bytes of the message before this piece.
    pub offset: u64,
    /// Whether the message ends here.
    pub last: bool,
    /// What is odd about it; empty when nothing is.
    pub note: &'a str,
    /// Head and decoded body.
    pub payload: &'a [u8],
}

/// A secret of a TLS connection: a line of an NSS key log.
#[derive(Debug, Clone, Copy)]
pub struct Secret<'a> {
    /// What it is: capital letters, digits and `_`.
    pub label: &'a str,
    /// The ClientHello's random, by which the connection is known.
    pub client_random: &'a [u8; 32],
    /// The secret, 32 or 48 bytes.
    pub secret: &'a [u8],
}

/// A packet, as it passed an interface.
#[derive(Debug)]
pub struct Packet<'a> {
    /// When, ns since 1970.
    pub time: i64,
    /// Where.
    pub interface: &'a Arc<Interface>,
    /// Which way; `None`: it stays on this machine.
    pub direction: Option<Direction>,
    /// Bytes that it has, with those that were not captured.
    pub original: u32,
    /// Packets on the wire that the kernel handles as this one; 0 or 1: itself.
    pub segments: u32,
    /// Whose socket it comes from or goes to, if that is known.
    pub process: Option<&'a Process>,
    /// Its connection, if it has ports.
    pub flow: Option<Flow>,
    /// The bytes that were captured.
    pub bytes: &'a [u8],
}

/// A network interface.
#[derive(Debug)]
pub struct Interface {
    /// Its index in the kernel.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `LINKTYPE_*` of libpcap: what its packets begin with.
    pub link_type: u16,
    /// Most bytes of a packet behind its link header.
    pub mtu: u32,
}

/// What was counted of the packets of an interface.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Those that were asked for.
    pub packets: u64,
    /// Of these, those that found the buffer full.
    pub dropped: u64,
}

/// Addresses and ports of a connection, the same for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Its number in IP headers: TCP or UDP.
    pub protocol: u8,
    /// The ends, in the order of their numbers.
    pub ends: [SocketAddr; 2],
}

/// A thread of a captured process.
#[derive(Debug, Clone, Copy)]
pub struct Thread<'a> {
    /// Thread id.
    pub tid: u32,
    /// The process.
    pub process: &'a Process,
}

/// A captured process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Command name.
    pub comm: String,
    /// Id of the container that it runs in, 64 hexadecimal digits.
    pub container: Option<Arc<str>>,
}

/// A connection of a TLS object.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Unique within a run.
    pub id: u64,
    /// Descriptor of the socket.
    pub fd: Option<i32>,
    /// Our end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
}

/// One end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// Not seen: a program that moves the TLS bytes itself, or calls served from memory.
    #[default]
    Unknown,
    /// An internet address.
    Inet(SocketAddr),
    /// A Unix socket with its name, if it has one.
    Unix(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Inet(address) => address.fmt(f),
            Self::Unix(name) => write!(f, "unix:{name}"),
        }
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A message of a known protocol, in words such as `HTTP/1.1 request`.
    Message(&'a str),
    /// Bytes of no known protocol.
    Data,
    /// So many bytes are missing here.
    Gap(u64),
    /// So many bytes were sent from a file by the kernel: `SSL_sendfile`.
    File(u64),
}

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message(name) => name,
            Self::Data => "data",
            Self::Gap(_) => "gap",
            Self::File(_) => "sendfile",
        })
    }
}

impl Record<'_> {
    /// Where it came from: the end that sent it.
    pub fn source(&self) -> &Endpoint {
        match self.lane.direction {
            Direction::Sent => &self.connection.local,
            Direction::Received => &self.connection.remote,
        }
    }

    /// Where it went.
    pub fn destination(&self) -> &Endpoint {
        match self.lane.direction {
            Direction::Sent => &self.connection.remote,
            Direction::Received => &self.connection.local,
        }
    }
}

/// `sent` or `received`.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    }
}
