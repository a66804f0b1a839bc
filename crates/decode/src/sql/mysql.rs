//! MySQL and MariaDB, protocol 10 as it goes on inside of TLS: the client's login comes first.
use std::collections::VecDeque;

use super::packet::{Packet, Packets, Reader, Shape, Step};
use super::secret::without_passwords;
use crate::connection::Limits;
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, Exchange, Part, Protocol, Whole};
use crate::session::{Flow, Next, Out, Session, framing, lane, raw};
use crate::sniff::Verdict;

const HEAD: usize = 4;
/// A packet of this length goes on in the next one.
const FULL: usize = 0xFF_FFFF;
/// Commands that wait for their replies.
const WAITING_MOST: usize = 1024;

/// Capabilities of the client; it names only those that the server has as well.
const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;
const ZSTD: u32 = 1 << 26;
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// Capabilities, largest packet, character set, filler; then the user.
const LOGIN_FIXED: usize = 4 + 4 + 1 + 23;
/// The filler is zero, but MariaDB has more capabilities in its last four bytes.
const FILLER: std::ops::Range<usize> = 9..28;

/// What the reply to a command is made of.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    None,
    /// OK or an error.
    Outcome,
    /// That, or columns and rows.
    Result,
    /// A statement's number, parameters and columns.
    Prepared,
    /// Something that we do not read.
    Other,
}

/// How a command's payload becomes text.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    Statement,
    Plain,
    /// The number of a prepared statement.
    Number,
    Nothing,
    Hidden,
}

/// Commands by their number.
const COMMANDS: [(u8, &str, Text, Reply); 17] = [
    (0x01, "MySQL quit", Text::Nothing, Reply::None),
    (0x02, "MySQL use", Text::Plain, Reply::Outcome),
    (0x03, "MySQL query", Text::Statement, Reply::Result),
    (0x04, "MySQL field list", Text::Plain, Reply::Other),
    (0x05, "MySQL create database", Text::Plain, Reply::Outcome),
    (0x06, "MySQL drop database", Text::Plain, Reply::Outcome),
    (0x08, "MySQL shutdown", Text::Nothing, Reply::Outcome),
    (0x09, "MySQL statistics", Text::Nothing, Reply::Other),
    (0x0E, "MySQL ping", Text::Nothing, Reply::Outcome),
    (0x11, "MySQL change user", Text::Hidden, Reply::Other),
    (0x16, "MySQL prepare", Text::Statement, Reply::Prepared),
    (0x17, "MySQL execute", Text::Number, Reply::Result),
    (0x18, "MySQL long data", Text::Number, Reply::None),
    (0x19, "MySQL close statement", Text::Number, Reply::None),
    (0x1A, "MySQL reset statement", Text::Number, Reply::Outcome),
    (0x1B, "MySQL set option", Text::Nothing, Reply::Other),
    (0x1F, "MySQL reset connection", Text::Nothing, Reply::Outcome),
];

/// What the server's next packet is.
#[derive(Clone, Copy)]
enum Stage {
    First,
    /// Definitions of columns, so many to come; then rows.
    Columns(u64),
    /// The mark behind definitions, for clients that need one.
    ColumnsEnd,
    Rows(u64),
    /// Definitions of a prepared statement, and their marks.
    Skip(u64),
    /// The file that the server asked for is on its way.
    File,
    /// Up to the next command.
    Unread,
}

/// Whether the first bytes are a login of a client that speaks TLS.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict<()> {
    let [a, b, c, sequence, ref login @ ..] = *bytes else {
        let possible = bytes.get(1).is_none_or(|&b| b < 0x80) && bytes.get(2).is_none_or(|&b| b == 0);
        return if possible { Verdict::Open } else { Verdict::No };
    };
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if sequence != 2 || !(LOGIN_FIXED + 2..=1 << 15).contains(&length) || login.len() > length {
        return Verdict::No;
    }
    let zero = login.iter().enumerate().all(|(n, &b)| b == 0 || !FILLER.contains(&n));
    match login.first_chunk() {
        _ if !zero => Verdict::No,
        None => Verdict::Open,
        Some(capabilities) => {
            let wanted = PROTOCOL_41 | SSL;
            match u32::from_le_bytes(*capabilities) & wanted == wanted {
                true if login.len() < LOGIN_FIXED => Verdict::Open,
                true => Verdict::Sure(()),
                false => Verdict::No,
            }
        }
    }
}

/// Both directions.
pub(crate) struct MySql {
    client: Direction,
    packets: [Packets; 2],
    limit: usize,
    capabilities: u32,
    phase: Phase,
    stage: Stage,
    waiting: VecDeque<(u64, Reply)>,
    count: u64,
    /// The packet before was full, so the next one goes on with it.
    goes_on: [bool; 2],
    is_lost: bool,
}

#[derive(PartialEq)]
enum Phase {
    Login,
    /// Up to the server's decision; what is said is secret.
    Authentication,
    Commands,
}

impl MySql {
    pub fn new(client: Direction, limits: Limits) -> Self {
        Self {
            client,
            packets: Default::default(),
            limit: limits.head,
            capabilities: 0,
            phase: Phase::Login,
            stage: Stage::First,
            waiting: VecDeque::new(),
            count: 0,
            goes_on: [false; 2],
            is_lost: false,
        }
    }

    fn packet(&mut self, dir: Direction, packet: &Packet, out: &mut Out<'_>) {
        let is_full = packet.wire as usize == HEAD + FULL;
        let goes_on = std::mem::replace(&mut self.goes_on[dir as usize], is_full);
        let shown = match (goes_on, dir == self.client) {
            (true, _) => None,
            (false, true) => self.client(packet),
            (false, false) => self.server(packet),
        };
        match shown {
            None => framing(dir, packet.wire as usize, out),
            Some((name, text, exchange)) => {
                let mut notes = Notes::default();
                if packet.is_cut || is_full {
                    notes.add(Note::Cut);
                }
                let whole = Whole { name, text: &text, wire: packet.wire, exchange, notes };
                out(lane(dir), Part::Whole(whole));
            }
        }
    }

    fn client(&mut self, packet: &Packet) -> Option<Shown> {
        let payload = packet.payload.as_slice();
        match self.phase {
            Phase::Login => {
                self.phase = Phase::Authentication;
                self.capabilities = payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                Some(("MySQL login", login(payload, self.capabilities)?, None))
            }
            Phase::Commands if packet.head[3] == 0 => self.command(payload),
            Phase::Authentication | Phase::Commands => {
                if let (Stage::File, []) = (self.stage, payload) {
                    self.stage = Stage::First;
                }
                None
            }
        }
    }

    fn command(&mut self, payload: &[u8]) -> Option<Shown> {
        let (&number, rest) = payload.split_first()?;
        let (name, text, reply) = COMMANDS
            .iter()
            .find(|(of, ..)| *of == number)
            .map_or(("MySQL command", Text::Hidden, Reply::Other), |&(_, name, text, reply)| {
                (name, text, reply)
            });
        self.count += 1;
        if let Stage::Unread = self.stage {
            // A client that waits for replies, and all but a few do, has had all of them.
            self.waiting.clear();
            self.stage = Stage::First;
        }
        if reply != Reply::None {
            if self.waiting.len() == WAITING_MOST {
                self.waiting.clear();
            }
            self.waiting.push_back((self.count, reply));
        }
        let text = match text {
            Text::Statement => without_passwords(self.statement(number, rest)?),
            Text::Plain => rest.to_vec(),
            Text::Number => format!("statement {}", u32::from_le_bytes(*rest.first_chunk()?)).into_bytes(),
            Text::Nothing => Vec::new(),
            Text::Hidden => b"(hidden)".to_vec(),
        };
        Some((name, text, Some(Exchange::Asks(self.count))))
    }

    /// The text of a statement, which attributes may come before; those are not read.
    fn statement<'a>(&self, number: u8, payload: &'a [u8]) -> Option<&'a [u8]> {
        if number != 0x03 || self.capabilities & QUERY_ATTRIBUTES == 0 {
            return Some(payload);
        }
        match payload {
            [0, 1, statement @ ..] => Some(statement),
            _ => Some(b"(a query with attributes)"),
        }
    }

    fn server(&mut self, packet: &Packet) -> Option<Shown> {
        let payload = packet.payload.as_slice();
        let first = payload.first().copied();
        if self.phase != Phase::Commands {
            let (name, text): (_, Vec<u8>) = match first {
                Some(0x00) => ("MySQL login accepted", Vec::new()),
                Some(0xFF) => ("MySQL error", error(payload)?),
                _ => return None,
            };
            self.phase = Phase::Commands;
            return Some((name, text, None));
        }
        let &(number, reply) = self.waiting.front()?;
        if first == Some(0xFF) && !matches!(self.stage, Stage::Skip(_) | Stage::Columns(_) | Stage::Unread) {
            return self.outcome("MySQL error", error(payload)?, number, 0);
        }
        let is_end = first == Some(0xFE) && packet.wire < (HEAD + FULL) as u64;
        match self.stage {
            Stage::First => self.first(payload, number, reply),
            Stage::Columns(left) => {
                self.stage = match left {
                    2.. => Stage::Columns(left - 1),
                    _ if self.capabilities & DEPRECATE_EOF == 0 => Stage::ColumnsEnd,
                    _ => Stage::Rows(0),
                };
                None
            }
            Stage::ColumnsEnd => {
                self.stage = if is_end { Stage::Rows(0) } else { Stage::Unread };
                None
            }
            Stage::Rows(rows) if is_end => {
                let status = if self.capabilities & DEPRECATE_EOF == 0 {
                    u16::from_le_bytes(*payload.get(3..)?.first_chunk()?)
                } else {
                    ok(payload)?.1
                };
                let plural = if rows == 1 { "" } else { "s" };
                self.outcome("MySQL result", format!("{rows} row{plural}").into_bytes(), number, status)
            }
            Stage::Rows(rows) => {
                self.stage = Stage::Rows(rows + 1);
                None
            }
            Stage::Skip(left) => {
                self.stage = Stage::Skip(left - 1);
                if left == 1 {
                    self.stage = Stage::First;
                    self.waiting.pop_front();
                }
                None
            }
            Stage::File | Stage::Unread => None,
        }
    }

    /// The first packet of a reply, which is no error.
    fn first(&mut self, payload: &[u8], number: u64, reply: Reply) -> Option<Shown> {
        match (reply, payload.first()?) {
            (Reply::Prepared, 0) => return self.prepared(payload, number),
            (Reply::Outcome | Reply::Result, 0) => {
                let (text, status) = ok(payload)?;
                return self.outcome("MySQL result", text, number, status);
            }
            (Reply::Result, 0xFB) => self.stage = Stage::File,
            (Reply::Result, _) => {
                let mut reader = Reader(payload);
                let columns = integer(&mut reader)?;
                // MariaDB may leave out definitions that the client has already.
                let follow = reader.array::<1>().is_none_or(|[follow]| follow != 0);
                self.stage = match (follow, self.capabilities & DEPRECATE_EOF) {
                    (true, _) => Stage::Columns(columns),
                    (false, 0) => Stage::ColumnsEnd,
                    (false, _) => Stage::Rows(0),
                };
            }
            _ => self.stage = Stage::Unread,
        }
        None
    }

    /// The answer to a statement that was prepared; definitions of parameters and columns follow.
    fn prepared(&mut self, payload: &[u8], number: u64) -> Option<Shown> {
        let mut reader = Reader(payload.get(1..)?);
        let id = u32::from_le_bytes(reader.array()?);
        let columns = u16::from_le_bytes(reader.array()?);
        let parameters = u16::from_le_bytes(reader.array()?);
        let marks = u64::from(self.capabilities & DEPRECATE_EOF == 0);
        let list = |count: u16| if count == 0 { 0 } else { u64::from(count) + marks };
        let text = format!("statement {id}, {parameters} parameters").into_bytes();
        let shown = self.outcome("MySQL result", text, number, 0);
        if list(columns) + list(parameters) > 0 {
            self.waiting.push_front((number, Reply::Prepared));
            self.stage = Stage::Skip(list(columns) + list(parameters));
        }
        shown
    }

    /// A result is over; the status tells whether the same command has another.
    fn outcome(&mut self, name: &'static str, text: Vec<u8>, number: u64, status: u16) -> Option<Shown> {
        const MORE_RESULTS: u16 = 8;
        self.stage = Stage::First;
        if status & MORE_RESULTS != 0 {
            return Some((name, text, Some(Exchange::Interim(number))));
        }
        self.waiting.pop_front();
        Some((name, text, Some(Exchange::Answers(number))))
    }
}

/// Name, text and exchange of what is shown.
type Shown = (&'static str, Vec<u8>, Option<Exchange>);

impl Session for MySql {
    fn protocol(&self) -> Protocol {
        Protocol::MySql
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], _: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // Compressed packets begin with the first command.
            let is_opaque = self.phase == Phase::Commands && self.capabilities & (COMPRESS | ZSTD) != 0;
            if self.is_lost || is_opaque {
                return Flow::Switch(rest, Next::Unknown);
            }
            let is_row = dir != self.client
                && matches!(self.stage, Stage::Rows(_) | Stage::Columns(_) | Stage::Skip(_));
            let limit = self.limit;
            let shape = |head: &[u8]| {
                let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
                // Of a row only its beginning tells something: whether it is one.
                Some(Shape { length, keep: if is_row { length.min(512) } else { length } })
            };
            match self.packets[dir as usize].read(rest, HEAD, limit, shape) {
                Step::More => return Flow::Done,
                Step::Packet(packet, after) => {
                    self.packet(dir, &packet, out);
                    rest = after;
                }
                Step::Bad => {
                    raw(dir, rest, out);
                    return Flow::Switch(&[], Next::Unknown);
                }
            }
        }
        Flow::Done
    }

    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        self.close(dir, out);
        out(lane(dir), Part::Gap(lost));
        self.is_lost = true;
    }

    fn close(&mut self, dir: Direction, out: &mut Out<'_>) {
        let (head, rest) = self.packets[dir as usize].give_up();
        framing(dir, head.len() + rest, out);
    }

    fn memory(&self) -> usize {
        let packets: usize = self.packets.iter().map(Packets::memory).sum();
        packets + self.waiting.capacity() * size_of::<(u64, Reply)>()
    }
}

/// `user lab, database shop`; what lies between them is the proof of the password.
fn login(payload: &[u8], capabilities: u32) -> Option<Vec<u8>> {
    let mut reader = Reader(payload.get(LOGIN_FIXED..)?);
    let user = reader.string()?;
    let mut text = [b"user ", user].concat();
    let proof = match capabilities {
        c if c & PLUGIN_AUTH_LENENC != 0 => integer(&mut reader).and_then(|n| usize::try_from(n).ok()),
        c if c & SECURE_CONNECTION != 0 => reader.array::<1>().map(|[n]| n.into()),
        _ => None,
    };
    if capabilities & CONNECT_WITH_DB != 0
        && proof.is_some_and(|length| reader.bytes(length).is_some())
        && let Some(database) = reader.string()
    {
        text.extend([b", database ", database].concat());
    }
    Some(text)
}

/// Text and status of an OK packet.
fn ok(payload: &[u8]) -> Option<(Vec<u8>, u16)> {
    let mut reader = Reader(payload.get(1..)?);
    let rows = integer(&mut reader)?;
    let id = integer(&mut reader)?;
    let status = u16::from_le_bytes(reader.array()?);
    let plural = if rows == 1 { "" } else { "s" };
    let id = if id == 0 { String::new() } else { format!(", id {id}") };
    Some((format!("OK, {rows} row{plural} affected{id}").into_bytes(), status))
}

/// `1064 (42000): You have an error …`
fn error(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(payload.get(1..)?);
    let code = u16::from_le_bytes(reader.array()?).to_string();
    let (state, message): (Vec<u8>, _) = match reader.0 {
        [b'#', rest @ ..] if rest.len() >= 5 => ([b" (", &rest[..5], b")"].concat(), &rest[5..]),
        message => (Vec::new(), message),
    };
    Some([code.as_bytes(), &state, b": ", message].concat())
}

/// An integer in as many bytes as it needs.
fn integer(reader: &mut Reader<'_>) -> Option<u64> {
    let [first] = reader.array()?;
    let length = match first {
        0..=0xFA => return Some(first.into()),
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        _ => return None,
    };
    Some(reader.bytes(length)?.iter().rev().fold(0, |sum, &b| sum << 8 | u64::from(b)))
}
