//! What sinks receive: a message, or a piece of one, with everything that is known about it; TLS secrets; commands.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

pub use decode::{Direction, Lane, Protocol};

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
    /// A VLAN tag that belongs behind the two addresses of the bytes.
    pub tag: Option<[u8; 4]>,
    /// The bytes that were captured.
    pub bytes: Bytes,
}

/// What a program sent or received by one call or several, as it was before it was encrypted: a message or a piece of one.
#[derive(Debug)]
pub struct Plaintext<'a> {
    /// When the process made the first of the calls, ns since 1970.
    pub time: i64,
    /// Whose.
    pub process: &'a Process,
    /// Where.
    pub connection: &'a Connection,
    /// Which way.
    pub direction: Direction,
    /// What the bytes are, from the first one on; `None`: not known.
    pub protocol: Option<Protocol>,
    /// Bytes before these that were not seen.
    pub missing: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A network interface.
#[derive(Debug)]
pub struct Interface {
    /// Its index in the kernel; 0: it is none of the kernel's.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `LINKTYPE_*` of libpcap: what its packets begin with.
    pub link_type: u16,
    /// In words.
    pub description: String,
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
    /// Its number in IP headers, TCP or UDP; 0: plaintext.
    pub protocol: u8,
    /// The ends, in the order of their numbers.
    pub ends: [SocketAddr; 2],
}

impl Flow {
    /// Of any two ends.
    pub fn new(protocol: u8, a: SocketAddr, b: SocketAddr) -> Self {
        Self { protocol, ends: [a.min(b), a.max(b)] }
    }
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

impl Connection {
    /// Its addresses, if they are known.
    pub fn flow(&self) -> Option<Flow> {
        match (&self.local, &self.remote) {
            (Endpoint::Inet(local), Endpoint::Inet(remote)) => Some(Flow::new(0, *local, *remote)),
            _ => None,
        }
    }

    /// Where bytes come from that go this way, and where to.
    pub fn ends(&self, direction: Direction) -> [&Endpoint; 2] {
        match direction {
            Direction::Sent => [&self.local, &self.remote],
            Direction::Received => [&self.remote, &self.local],
        }
    }
}

impl Record<'_> {
    /// Where it came from: the end that sent it.
    pub fn source(&self) -> &Endpoint {
        self.connection.ends(self.lane.direction)[0]
    }

    /// Where it went.
    pub fn destination(&self) -> &Endpoint {
        self.connection.ends(self.lane.direction)[1]
    }
}

/// `sent` or `received`.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    }
}

/// A command that a person typed, or a statement that a client sent.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Ties the records of one command; unique within a run.
    pub id: u64,
    /// What is known of it by now.
    pub stage: Stage,
    /// When it began, ns since 1970.
    pub time: i64,
    /// How long it took, ns; `None` while it runs, or if its end was not seen.
    pub duration: Option<u64>,
    /// The thread that reads or runs it.
    pub thread: Thread<'a>,
    /// Where the process belongs.
    pub origin: &'a Origin,
    /// On whose behalf; for servers.
    pub session: Option<&'a Session>,
    /// What reads it, and what it is: `bash command`, `postgres query`.
    pub kind: &'static str,
    /// Its text, with passwords masked in SQL.
    pub text: &'a [u8],
    /// Values of a prepared statement, in order.
    pub parameters: &'a [Parameter],
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome<'a>>,
    /// Rows that were returned or changed, if that is known.
    pub rows: Option<u64>,
    /// What is odd about it; empty when nothing is.
    pub note: &'a str,
}

/// What is known of a command by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It begins.
    Start,
    /// It is over, and its start was told.
    End,
    /// It is over, and this is all that is told.
    Whole,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// With this exit status.
    Status(i32),
    /// Without an error; of statements.
    Done,
    /// The shell could not read it; the status that it set.
    SyntaxError(i32),
    /// It was abandoned before it was complete.
    Discarded,
    /// The shell ended with it, with this status.
    Exit(i32),
    /// Another program took the place of the shell.
    Exec,
    /// The process ended in the middle of it.
    Ended,
    /// A server refused it or failed.
    Error(&'a Failure),
    /// Its end was not seen.
    Unknown,
}

/// The error of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// The server's number; `None` where it has none.
    pub number: Option<u32>,
    /// SQLSTATE, five characters.
    pub state: String,
    /// In words.
    pub message: Vec<u8>,
}

/// A value of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// As text.
    Text(Vec<u8>),
    /// In the binary format of its type.
    Binary(Vec<u8>),
}

/// Where a process belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who logged in, whatever became of the user id since; `None`: nobody did.
    pub login_uid: Option<u32>,
    /// Its terminal: `pts/3`.
    pub terminal: Option<String>,
}

/// A client's session with a server. What is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The server's user.
    pub user: Option<String>,
    /// Where the client is, as the server names it.
    pub client: Option<String>,
    /// The database that it is in.
    pub database: Option<String>,
    /// What the client calls itself.
    pub application: Option<String>,
}

impl Stage {
    /// `start`, `end` or `whole`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::Whole => "whole",
        }
    }
}

impl Outcome<'_> {
    /// One or two words with `_` between them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(_) | Self::Done => "done",
            Self::SyntaxError(_) => "syntax_error",
            Self::Discarded => "discarded",
            Self::Exit(_) => "exit",
            Self::Exec => "exec",
            Self::Ended => "killed",
            Self::Error(_) => "error",
            Self::Unknown => "unknown",
        }
    }

    /// The exit status, where there is one.
    pub fn status(self) -> Option<i32> {
        match self {
            Self::Status(status) | Self::SyntaxError(status) | Self::Exit(status) => Some(status),
            _ => None,
        }
    }
}
