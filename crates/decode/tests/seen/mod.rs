//! What came out of a connection, kept as text lines and as totals; shared by the tests.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]
pub mod streams;

use decode::{Connection, Direction, Kind, Limits, Part};

/// Everything that came out, in order; adjacent pieces of one sort are joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub items: Vec<(Direction, Item)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Start { line: String, raw: Vec<u8>, shown: usize },
    Body(Vec<u8>),
    Undecoded(Vec<u8>),
    End { text: String, wire: u64, undecoded: u64 },
    Raw(Vec<u8>),
    Gap(u64),
}

impl Seen {
    pub fn add(&mut self, dir: Direction, part: Part<'_>) {
        let item = match part {
            Part::Start(head) => Item::Start { line: line(&head), raw: head.raw.to_vec(), shown: head.shown },
            Part::Body(b) => Item::Body(b.to_vec()),
            Part::Undecoded(b) => Item::Undecoded(b.to_vec()),
            Part::End(end) => Item::End { text: text(&end), wire: end.wire, undecoded: end.undecoded },
            Part::Raw(b) => Item::Raw(b.to_vec()),
            Part::Gap(n) => Item::Gap(n),
        };
        assert!(!matches!(&item, Item::Body(b) | Item::Undecoded(b) | Item::Raw(b) if b.is_empty()));
        match (self.items.iter_mut().rev().find(|(d, _)| *d == dir).map(|(_, i)| i), item) {
            (Some(Item::Body(old)), Item::Body(new))
            | (Some(Item::Undecoded(old)), Item::Undecoded(new))
            | (Some(Item::Raw(old)), Item::Raw(new)) => old.extend(new),
            (_, item) => self.items.push((dir, item)),
        }
    }

    /// One direction.
    pub fn of(&self, dir: Direction) -> Vec<Item> {
        self.items.iter().filter(|(d, _)| *d == dir).map(|(_, i)| i.clone()).collect()
    }

    /// All bytes pushed that are accounted for.
    pub fn bytes(&self, dir: Direction) -> u64 {
        let bytes = |item: &Item| match item {
            Item::Start { raw, shown, .. } => (raw.len() - shown) as u64,
            Item::End { wire, .. } => *wire,
            Item::Raw(b) => b.len() as u64,
            Item::Body(_) | Item::Undecoded(_) | Item::Gap(_) => 0,
        };
        self.items.iter().filter(|(d, _)| *d == dir).map(|(_, i)| bytes(i)).sum()
    }

    /// One line per item, `>` sent and `<` received.
    pub fn lines(&self) -> String {
        self.items.iter().fold(String::new(), |mut all, (dir, item)| {
            let arrow = if *dir == Direction::Sent { '>' } else { '<' };
            let line = match item {
                Item::Start { line, shown: 0, .. } => line.clone(),
                Item::Start { line, shown, .. } => format!("{line} ({shown} shown)"),
                Item::Body(b) => format!("body {}", b.escape_ascii()),
                Item::Undecoded(b) => format!("undecoded {}", b.escape_ascii()),
                Item::End { text, .. } => text.clone(),
                Item::Raw(b) => format!("raw {}", b.escape_ascii()),
                Item::Gap(n) => format!("gap {n}"),
            };
            all.push_str(&format!("{arrow} {line}\n"));
            all
        })
    }
}

fn line(head: &decode::Head<'_>) -> String {
    let first = match head.kind {
        Kind::Request { method, target, version } => format!("{method} {} {version}", target.escape_ascii()),
        Kind::Response { status, reason, version } => format!("{version} {status} {}", reason.escape_ascii()),
    };
    let length = head.length.map(|n| format!(" length={n}")).unwrap_or_default();
    let chunked = if head.chunked { " chunked" } else { "" };
    let codings = if head.codings.is_empty() { String::new() } else { format!(" {:?}", head.codings) };
    format!("{}{length}{chunked}{codings}", first.trim_end())
}

fn text(end: &decode::End<'_>) -> String {
    let mut text = format!("end {}", end.wire);
    if end.decoded != end.wire {
        text += &format!(" decoded {}", end.decoded);
    }
    if end.undecoded != 0 {
        text += &format!(" undecoded {}", end.undecoded);
    }
    if !end.trailers.is_empty() {
        text += &format!(" trailers {}", end.trailers.escape_ascii());
    }
    if !end.complete {
        text += " incomplete";
    }
    if !end.notes.is_empty() {
        text += &format!(": {}", end.notes);
    }
    text
}

/// A connection that writes down what comes out.
pub struct Tap {
    pub connection: Connection,
    pub seen: Seen,
}

impl Tap {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self { connection: Connection::new(limits), seen: Seen::default() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.push(Direction::Sent, bytes.as_ref())
    }

    pub fn receive(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.push(Direction::Received, bytes.as_ref())
    }

    pub fn push(&mut self, dir: Direction, bytes: &[u8]) -> &mut Self {
        self.connection.push(dir, bytes, &mut |dir, part| self.seen.add(dir, part));
        self
    }

    pub fn gap(&mut self, dir: Direction, lost: u64) -> &mut Self {
        self.connection.gap(dir, lost, &mut |dir, part| self.seen.add(dir, part));
        self
    }

    pub fn flush(&mut self) -> &mut Self {
        self.connection.flush(&mut |dir, part| self.seen.add(dir, part));
        self
    }

    pub fn finish(&mut self) -> &mut Self {
        self.connection.finish(&mut |dir, part| self.seen.add(dir, part));
        self
    }

    pub fn lines(&self) -> String {
        self.seen.lines()
    }
}
