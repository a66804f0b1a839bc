//! What came out of a connection, kept as text lines and as totals; shared by the tests.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]
pub mod frames;
pub mod streams;

use std::collections::BTreeMap;

use decode::{Connection, Direction, Exchange, Kind, Lane, Limits, Part};

/// Everything that came out, in order; adjacent pieces of one sort are joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub items: Vec<(Lane, Item)>,
    /// Bytes of framing in each direction.
    pub framing: [u64; 2],
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Start { line: String, raw: Vec<u8>, wire: u64, shown: usize },
    Unit(&'static str),
    Body(Vec<u8>),
    Undecoded(Vec<u8>),
    End { text: String, wire: u64, undecoded: u64 },
    Whole { line: String, wire: u64 },
    Raw(Vec<u8>),
    Gap(u64),
}

impl Seen {
    pub fn add(&mut self, lane: Lane, part: Part<'_>) {
        let item = match part {
            Part::Start(head) => {
                Item::Start { line: line(&head), raw: head.raw.to_vec(), wire: head.wire, shown: head.shown }
            }
            Part::Unit(unit) => Item::Unit(unit.name()),
            Part::Body(b) => Item::Body(b.to_vec()),
            Part::Undecoded(b) => Item::Undecoded(b.to_vec()),
            Part::End(end) => Item::End { text: text(&end), wire: end.wire, undecoded: end.undecoded },
            Part::Whole(whole) => {
                let note = if whole.notes.is_empty() { String::new() } else { format!(": {}", whole.notes) };
                let pair = whole.exchange.map(pair).unwrap_or_default();
                let line = format!("{}{pair} {}{note}", whole.name, whole.text.escape_ascii());
                Item::Whole { line, wire: whole.wire }
            }
            Part::Framing(bytes) => {
                assert_ne!(bytes, 0);
                self.framing[lane.direction as usize] += bytes;
                return;
            }
            Part::Raw(b) => Item::Raw(b.to_vec()),
            Part::Gap(n) => Item::Gap(n),
        };
        assert!(!matches!(&item, Item::Body(b) | Item::Undecoded(b) | Item::Raw(b) if b.is_empty()));
        match (self.items.iter_mut().rev().find(|(l, _)| *l == lane).map(|(_, i)| i), item) {
            (Some(Item::Body(old)), Item::Body(new))
            | (Some(Item::Undecoded(old)), Item::Undecoded(new))
            | (Some(Item::Raw(old)), Item::Raw(new)) => old.extend(new),
            (_, item) => self.items.push((lane, item)),
        }
    }

    /// One direction.
    pub fn of(&self, dir: Direction) -> Vec<Item> {
        self.items.iter().filter(|(l, _)| l.direction == dir).map(|(_, i)| i.clone()).collect()
    }

    /// What came out in each lane, in order.
    pub fn lanes(&self) -> BTreeMap<(bool, u32), Vec<Item>> {
        let mut lanes: BTreeMap<_, Vec<Item>> = BTreeMap::new();
        for (lane, item) in &self.items {
            let lane = (lane.direction == Direction::Received, lane.stream);
            lanes.entry(lane).or_default().push(item.clone());
        }
        lanes
    }

    /// All bytes pushed that are accounted for.
    pub fn bytes(&self, dir: Direction) -> u64 {
        let bytes = |item: &Item| match item {
            Item::Start { wire, shown, .. } => wire - *shown as u64,
            Item::End { wire, .. } | Item::Whole { wire, .. } => *wire,
            Item::Raw(b) => b.len() as u64,
            Item::Unit(_) | Item::Body(_) | Item::Undecoded(_) | Item::Gap(_) => 0,
        };
        let items = self.items.iter().filter(|(l, _)| l.direction == dir);
        self.framing[dir as usize] + items.map(|(_, i)| bytes(i)).sum::<u64>()
    }

    /// One line per item, `>` sent and `<` received, with the stream.
    pub fn lines(&self) -> String {
        self.items.iter().fold(String::new(), |mut all, (lane, item)| {
            let arrow = if lane.direction == Direction::Sent { '>' } else { '<' };
            let stream = if lane.stream == 0 { String::new() } else { format!("{} ", lane.stream) };
            let line = match item {
                Item::Start { line, shown: 0, .. } => line.clone(),
                Item::Start { line, shown, .. } => format!("{line} ({shown} shown)"),
                Item::Unit(name) => format!("unit {name}"),
                Item::Whole { line, .. } => line.clone(),
                Item::Body(b) => format!("body {}", b.escape_ascii()),
                Item::Undecoded(b) => format!("undecoded {}", b.escape_ascii()),
                Item::End { text, .. } => text.clone(),
                Item::Raw(b) => format!("raw {}", b.escape_ascii()),
                Item::Gap(n) => format!("gap {n}"),
            };
            all.push_str(&format!("{arrow} {stream}{line}\n"));
            all
        })
    }
}

fn line(head: &decode::Head<'_>) -> String {
    let first = match head.kind {
        Kind::Request { method, target, version } => format!("{method} {} {version}", target.escape_ascii()),
        Kind::Response { status, reason, version } => format!("{version} {status} {}", reason.escape_ascii()),
        Kind::Other(name) => name.to_owned(),
    };
    let length = head.length.map(|n| format!(" length={n}")).unwrap_or_default();
    let chunked = if head.chunked { " chunked" } else { "" };
    let codings = if head.codings.is_empty() { String::new() } else { format!(" {:?}", head.codings) };
    format!("{}{length}{chunked}{codings}", first.trim_end())
}

fn pair(exchange: Exchange) -> String {
    match exchange {
        Exchange::Asks(number) => format!(" #{number}?"),
        Exchange::Interim(number) => format!(" #{number}+"),
        Exchange::Answers(number) => format!(" #{number}!"),
    }
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
    if let Some(status) = end.status {
        text += &format!(" status {status}");
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
        self.connection.push(dir, bytes, &mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn gap(&mut self, dir: Direction, lost: u64) -> &mut Self {
        self.connection.gap(dir, lost, &mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn flush(&mut self) -> &mut Self {
        self.connection.flush(&mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn keep_order(&mut self, dir: Direction) -> &mut Self {
        self.connection.keep_order(dir, &mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn give_up(&mut self) -> &mut Self {
        self.connection.give_up(&mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn finish(&mut self) -> &mut Self {
        self.connection.finish(&mut |lane, part| self.seen.add(lane, part));
        self
    }

    pub fn lines(&self) -> String {
        self.seen.lines()
    }
}
