//! PostgreSQL, protocol 3: statements and what became of them, as lines.
use std::collections::VecDeque;

use super::packet::{Packet, Packets, Reader, Shape, Step};
use super::secret::without_passwords;
use crate::connection::Limits;
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, Exchange, Part, Protocol, Whole};
use crate::session::{Flow, Next, Out, Session, framing, lane, raw};
use crate::sniff::Verdict;

/// Version 3.0, and those with small changes after it.
const VERSION: u16 = 3;
/// Longest startup message that a server takes.
const STARTUP_MOST: usize = 10_000;
/// Units of work that wait for their end.
const WAITING_MOST: usize = 1024;

/// How a message of the client, and of the server, becomes text; those that are missing say nothing to a reader.
type Show = fn(&[u8]) -> Option<Vec<u8>>;
const CLIENT: [(u8, &str, Show); 6] = [
    (b'Q', "PostgreSQL query", |payload| {
        Some(without_passwords(Reader(payload).string().unwrap_or(payload)))
    }),
    (b'P', "PostgreSQL parse", |payload| {
        let mut reader = Reader(payload);
        reader.string()?;
        Some(without_passwords(reader.string()?))
    }),
    (b'B', "PostgreSQL bind", bind),
    (b'p', "PostgreSQL password", |_| Some(b"(hidden)".to_vec())),
    (b'f', "PostgreSQL copy failed", |payload| Some(Reader(payload).string()?.to_vec())),
    (b'X', "PostgreSQL end", |_| Some(Vec::new())),
];
const SERVER: [(u8, &str, Show); 5] = [
    (b'C', "PostgreSQL result", |payload| Some(Reader(payload).string()?.to_vec())),
    (b'I', "PostgreSQL result", |_| Some(b"nothing to do".to_vec())),
    (b'E', "PostgreSQL error", error),
    (b'N', "PostgreSQL notice", error),
    (b'A', "PostgreSQL notification", |payload| {
        let mut reader = Reader(payload.get(4..)?);
        Some([reader.string()?, b": ", reader.string()?].concat())
    }),
];
/// Types of messages that are not in the tables, by direction: client, server.
const OTHERS: [&[u8]; 2] = [b"EDCSHFdc", b"RKSZTD123nstGHWdcVv"];

/// Whether a client's first bytes are a startup message, or a whole call is one query.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict<()> {
    match bytes {
        [b'Q', ..] => query(bytes),
        [0, ..] | [] => startup(bytes),
        _ => Verdict::No,
    }
}

fn startup(bytes: &[u8]) -> Verdict<()> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return if bytes.iter().take(2).all(|&b| b == 0) { Verdict::Open } else { Verdict::No };
    };
    let length = u32::from_be_bytes(*length) as usize;
    let version = VERSION.to_be_bytes();
    if !(9..=STARTUP_MOST).contains(&length) || !rest.iter().zip(version).all(|(a, b)| *a == b) {
        return Verdict::No;
    }
    match rest.get(..length - 4) {
        None => Verdict::Open,
        Some([_, _, _, _, parameters @ .., 0]) if memchr::memmem::find(parameters, b"user\0").is_some() => {
            Verdict::Sure(())
        }
        Some(_) => Verdict::No,
    }
}

/// A query that fills the call exactly: text, and one NUL at its end.
fn query(bytes: &[u8]) -> Verdict<()> {
    let Some(length) = bytes.get(1..5) else { return Verdict::Open };
    let length = length.iter().fold(0, |sum, &b| sum << 8 | usize::from(b));
    match bytes.get(5..) {
        Some([text @ .., 0]) if text.len() + 5 == length && !text.is_empty() => {
            let fine = std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0'));
            if fine { Verdict::Sure(()) } else { Verdict::No }
        }
        Some(text) if text.len() + 4 < length && length < 1 << 20 && memchr::memchr(0, text).is_none() => {
            Verdict::Open
        }
        _ => Verdict::No,
    }
}

/// Both directions.
pub(crate) struct Postgres {
    client: Direction,
    packets: [Packets; 2],
    limit: usize,
    /// The client's first message has no type.
    starts: bool,
    /// Numbers of units of work that end with ReadyForQuery.
    waiting: VecDeque<u64>,
    count: u64,
    /// A unit of the extended protocol goes on until Sync.
    in_unit: bool,
    /// Columns and rows of the result that the server is sending.
    columns: Vec<u8>,
    is_lost: bool,
}

impl Postgres {
    pub fn new(client: Direction, limits: Limits) -> Self {
        Self {
            client,
            packets: Default::default(),
            limit: limits.head,
            starts: true,
            waiting: VecDeque::new(),
            count: 0,
            in_unit: false,
            columns: Vec::new(),
            is_lost: false,
        }
    }

    fn packet(&mut self, dir: Direction, packet: &Packet, out: &mut Out<'_>) {
        let kind = packet.head[0];
        let is_client = dir == self.client;
        if is_client && self.starts {
            self.starts = false;
            return show(dir, "PostgreSQL startup", &startup_text(packet), packet, None, out);
        }
        let exchange = if is_client { self.asks(kind) } else { self.answers(kind) };
        if !is_client && kind == b'T' {
            self.columns = columns(&packet.payload).unwrap_or_default();
        }
        let table: &[_] = if is_client { &CLIENT } else { &SERVER };
        let text = table
            .iter()
            .find(|(of, ..)| *of == kind)
            .and_then(|(_, name, text)| Some((*name, text(&packet.payload)?)));
        let Some((name, mut text)) = text else { return framing(dir, packet.wire as usize, out) };
        if !is_client && kind == b'C' && !self.columns.is_empty() {
            text.extend_from_slice(b", columns ");
            text.append(&mut self.columns);
        }
        show(dir, name, &text, packet, exchange, out);
    }

    /// Which exchange a message of the client belongs to; the first of each asks.
    fn asks(&mut self, kind: u8) -> Option<Exchange> {
        let begins = !self.in_unit && matches!(kind, b'Q' | b'P' | b'B' | b'E' | b'D' | b'C' | b'F');
        self.count += u64::from(begins);
        self.in_unit = kind != b'S' && kind != b'Q' && (self.in_unit || begins);
        if matches!(kind, b'Q' | b'S' | b'F') {
            if self.waiting.len() == WAITING_MOST {
                self.waiting.clear();
            }
            self.waiting.push_back(self.count);
        }
        begins.then_some(Exchange::Asks(self.count))
    }

    fn answers(&mut self, kind: u8) -> Option<Exchange> {
        if kind == b'Z' {
            self.waiting.pop_front();
            return None;
        }
        let number = self.waiting.front().copied().or(self.in_unit.then_some(self.count))?;
        Some(Exchange::Interim(number))
    }
}

impl Session for Postgres {
    fn protocol(&self) -> Protocol {
        Protocol::Postgres
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], _: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_lost {
                return Flow::Switch(rest, Next::Unknown);
            }
            let is_client = dir == self.client;
            // A connection that begins with a query was joined in the middle.
            self.starts &= !(is_client && self.packets[dir as usize].have() == 0 && rest[0] != 0);
            let head = if is_client && self.starts { 4 } else { 5 };
            let before = self.packets[dir as usize].have();
            match self.packets[dir as usize].read(rest, head, self.limit, |head| shape(is_client, head)) {
                Step::More => return Flow::Done,
                Step::Packet(packet, after) => {
                    self.packet(dir, &packet, out);
                    rest = after;
                }
                Step::Bad => {
                    let (head, _) = self.packets[dir as usize].give_up();
                    raw(dir, &head[..before], out);
                    raw(dir, rest, out);
                    self.is_lost = true;
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
        packets + self.columns.capacity() + self.waiting.capacity() * size_of::<u64>()
    }
}

fn shape(is_client: bool, head: &[u8]) -> Option<Shape> {
    let (kind, length) = match head {
        [a, b, c, d] => (None, [*a, *b, *c, *d]),
        [kind, a, b, c, d] => (Some(*kind), [*a, *b, *c, *d]),
        _ => return None,
    };
    let length = (u32::from_be_bytes(length) as usize).checked_sub(4).filter(|length| *length < 1 << 30)?;
    let Some(kind) = kind else { return Some(Shape { length, keep: length }) };
    let table: &[_] = if is_client { &CLIENT } else { &SERVER };
    let is_shown = table.iter().any(|(of, ..)| *of == kind) || (kind == b'T' && !is_client);
    let is_known = is_shown || OTHERS[usize::from(!is_client)].contains(&kind);
    is_known.then_some(Shape { length, keep: if is_shown { length } else { 0 } })
}

fn show(
    dir: Direction,
    name: &'static str,
    text: &[u8],
    packet: &Packet,
    exchange: Option<Exchange>,
    out: &mut Out<'_>,
) {
    let mut notes = Notes::default();
    if packet.is_cut {
        notes.add(Note::Cut);
    }
    out(lane(dir), Part::Whole(Whole { name, text, wire: packet.wire, exchange, notes }));
}

/// `user postgres, database lab, …`
fn startup_text(packet: &Packet) -> Vec<u8> {
    let mut reader = Reader(packet.payload.get(4..).unwrap_or_default());
    let mut text = Vec::new();
    while let (Some(name @ [_, ..]), Some(value)) = (reader.string(), reader.string()) {
        let comma: &[u8] = if text.is_empty() { b"" } else { b", " };
        text.extend([comma, name, b" ", value].concat());
    }
    text
}

/// The statement and how many values it gets.
fn bind(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(payload);
    reader.string()?;
    let statement = reader.string()?;
    let formats = u16::from_be_bytes(reader.array()?);
    reader.bytes(2 * usize::from(formats))?;
    let values = u16::from_be_bytes(reader.array()?);
    let space: &[u8] = if statement.is_empty() { b"" } else { b" " };
    let plural = if values == 1 { "" } else { "s" };
    Some([statement, space, format!("{values} parameter{plural}").as_bytes()].concat())
}

/// `ERROR 42703: column "x" does not exist`
fn error(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(payload);
    let (mut severity, mut code, mut message) = (&b""[..], &b""[..], &b""[..]);
    while let Some([field]) = reader.array().filter(|field| *field != [0]) {
        let value = reader.string()?;
        match field {
            b'V' => severity = value,
            b'C' => code = value,
            b'M' => message = value,
            _ => {}
        }
    }
    Some([severity, b" ", code, b": ", message].concat())
}

/// Names of the columns of a RowDescription.
fn columns(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(payload);
    let count = u16::from_be_bytes(reader.array()?);
    let mut names = Vec::new();
    for n in 0..count {
        let comma: &[u8] = if n == 0 { b"" } else { b", " };
        names.extend([comma, reader.string()?].concat());
        // Table, column, type, its size, modifier, format.
        reader.bytes(18)?;
    }
    Some(names)
}
