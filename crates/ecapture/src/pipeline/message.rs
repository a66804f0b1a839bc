//! Puts the parts of a message together until they are worth showing.

use decode::{End, Kind as HeadKind, Lane, Part};

use super::FilteredSinks;
use crate::filter::Facts;
use crate::record::{Connection, Kind, Process, Record, Thread};

/// Bytes of a message that are held before a piece is shown. A message that is longer shows in pieces:
/// nothing holds a whole body.
const PIECE: usize = 64 << 10;

/// Bytes of a piece that is left out which are searched again with the next one.
const OVERLAP: usize = 1 << 10;

/// The context in which parts arrive: constant for one event.
pub struct Context<'a> {
    /// Whose.
    pub process: &'a Process,
    /// Where.
    pub connection: &'a Connection,
    /// Thread that made the call.
    pub tid: u32,
    /// Wall time of the call, ns.
    pub time: i64,
}

/// The message that one lane of a connection is in the middle of.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Name of the message; `None` between messages.
    name: Option<String>,
    /// Name of the unit of its body that what is held belongs to.
    unit: Option<&'static str>,
    /// The unit was not shown at all yet; it may be empty.
    is_new_unit: bool,
    /// Which exchange it belongs to.
    exchange: Paired,
    /// Whether it is selected.
    facts: Facts,
    /// What was not shown yet.
    held: Vec<u8>,
    /// Bytes of the message that were shown.
    shown: u64,
    /// When and by whom the first held byte was moved.
    since: i64,
    tid: u32,
    /// Bytes between messages in which a secret may have begun.
    raw: Vec<u8>,
}

/// How much of what is held is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// What no secret can reach into.
    Safe,
}

/// The number of an exchange, and how long a response took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Paired {
    /// Number within the connection.
    pub number: Option<u64>,
    /// ns.
    pub latency: Option<u64>,
}

impl Assembly {
    /// Whether it is between messages.
    pub fn is_idle(&self) -> bool {
        self.name.is_none()
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.held.capacity() + self.raw.capacity() + self.name.as_ref().map_or(0, String::capacity)
    }

    /// Gives back the room of what was shown.
    pub fn shrink(&mut self) {
        for bytes in [&mut self.held, &mut self.raw] {
            if bytes.is_empty() {
                *bytes = Vec::new();
            }
        }
    }

    /// Takes one part, with what was judged of it. Answers the exchange if its contents are what is looked for.
    pub fn accept(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        part: Part<'_>,
        (exchange, facts): (Paired, Facts),
        sinks: &mut FilteredSinks,
    ) -> Option<u64> {
        if !matches!(part, Part::Raw(_)) {
            self.show_raw(context, lane, Extent::All, sinks);
        }
        match part {
            Part::Start(head) => {
                self.show_held(context, lane, Extent::All, sinks);
                self.held.clear();
                self.name = Some(match head.kind {
                    HeadKind::Request { version, .. } => format!("{version} request"),
                    HeadKind::Response { version, .. } => format!("{version} response"),
                    HeadKind::Other(name) => name.to_owned(),
                });
                (self.unit, self.is_new_unit) = (None, false);
                (self.exchange, self.facts) = (exchange, facts);
                self.shown = head.shown as u64;
                self.hold(context, &head.raw[head.shown..]);
            }
            Part::Unit(_) | Part::Body(_) | Part::Undecoded(_) if sinks.filter().selection.drops_bodies() => {
            }
            // Who knows what an encoded body says; the end tells how long it was.
            Part::Undecoded(_) if sinks.filter().redaction.is_some() => {}
            Part::Unit(unit) => {
                self.end_unit(context, lane, sinks);
                (self.unit, self.is_new_unit) = (Some(unit.name()), true);
                (self.since, self.tid) = (context.time, context.tid);
            }
            Part::Body(bytes) | Part::Undecoded(bytes) => {
                self.hold(context, bytes);
                if self.held.len() >= PIECE {
                    return self.show(context, lane, Extent::Safe, sinks);
                }
            }
            Part::End(end) => return self.end(context, lane, &end, sinks),
            Part::Whole(whole) => {
                if !is_selected(facts, whole.text, sinks) {
                    return None;
                }
                let record = complete(context, lane, Kind::Message(whole.name), whole.text);
                let (note, Paired { number, latency }) = (whole.notes.to_string(), exchange);
                sinks.write(&Record { exchange: number, latency, note: &note, ..record });
                return number;
            }
            Part::Framing(_) => {}
            Part::Raw(bytes) => {
                self.show_held(context, lane, Extent::All, sinks);
                self.take_raw(context, lane, (bytes, facts), sinks);
            }
            Part::Gap(bytes) => self.interrupt(context, lane, Kind::Gap(bytes), facts, sinks),
        }
        None
    }

    /// Shows what is held, then that bytes are not here. In a message they are selected as it is.
    pub fn interrupt(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        kind: Kind<'_>,
        facts: Facts,
        sinks: &mut FilteredSinks,
    ) {
        self.show(context, lane, Extent::All, sinks);
        let facts = if self.is_idle() { facts } else { self.facts };
        if facts.fits && facts.matches {
            sinks.write(&complete(context, lane, kind, &[]));
        } else {
            sinks.left_out += 1;
        }
    }

    /// Shows what is held. Answers the exchange if that is what is looked for.
    pub fn show(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        extent: Extent,
        sinks: &mut FilteredSinks,
    ) -> Option<u64> {
        self.show_raw(context, lane, extent, sinks);
        self.show_held(context, lane, extent, sinks);
        self.exchange.number.filter(|_| self.facts.matches)
    }

    fn end(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        end: &End<'_>,
        sinks: &mut FilteredSinks,
    ) -> Option<u64> {
        if self.unit.is_some() && !end.trailers.is_empty() {
            self.end_unit(context, lane, sinks);
            self.unit = None;
        }
        self.hold(context, end.trailers);
        let note = note(end);
        // An ended message shows in any case, so that its end is seen.
        if !self.held.is_empty() || self.shown == 0 || self.is_new_unit || !note.is_empty() {
            self.write(context, lane, Extent::All, Some(&note), sinks);
        }
        sinks.left_out += u64::from(!(self.facts.fits && self.facts.matches));
        self.name = None;
        self.held = Vec::new();
        self.exchange.number.filter(|_| self.facts.matches)
    }

    /// Shows the rest of a unit, and an empty one as well.
    fn end_unit(&mut self, context: &Context<'_>, lane: Lane, sinks: &mut FilteredSinks) {
        if !self.held.is_empty() || self.is_new_unit {
            self.write(context, lane, Extent::All, None, sinks);
        }
    }

    fn show_held(&mut self, context: &Context<'_>, lane: Lane, extent: Extent, sinks: &mut FilteredSinks) {
        if !self.held.is_empty() {
            self.write(context, lane, extent, None, sinks);
        }
    }

    /// Writes what is held if it is selected. `last`: the message ends here, and what is to be said of it.
    fn write(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        extent: Extent,
        last: Option<&str>,
        sinks: &mut FilteredSinks,
    ) {
        let Some(name) = &self.name else { return };
        self.facts.matches |= self.facts.fits && sinks.filter().selection.finds(&self.held);
        if !self.facts.fits || !self.facts.matches {
            // What is looked for may begin here and end in the next piece.
            let kept = match (self.facts.fits, self.held.len()) {
                (true, length) if length < PIECE => length,
                (true, _) => OVERLAP,
                (false, _) => 0,
            };
            return self.forget(self.held.len() - kept);
        }
        let length = match (&sinks.filter().redaction, extent) {
            (Some(redaction), Extent::Safe) => redaction.safe_length(&self.held),
            _ => self.held.len(),
        };
        if length == 0 && !self.held.is_empty() {
            return;
        }
        sinks.write(&Record {
            time: self.since,
            thread: Thread { tid: self.tid, process: context.process },
            connection: context.connection,
            lane,
            exchange: self.exchange.number,
            latency: self.exchange.latency.take(), // in the first record of the message
            kind: Kind::Message(self.unit.unwrap_or(name)),
            offset: self.shown,
            last: last.is_some(),
            note: last.unwrap_or_default(),
            payload: &self.held[..length],
        });
        self.forget(length);
        self.is_new_unit = false;
    }

    /// Goes on behind the first `length` bytes that are held.
    fn forget(&mut self, length: usize) {
        self.shown += length as u64;
        self.held.drain(..length);
    }

    /// Takes bytes that belong to no message.
    fn take_raw(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        (bytes, facts): (&[u8], Facts),
        sinks: &mut FilteredSinks,
    ) {
        if !facts.fits {
            sinks.left_out += 1;
        } else if sinks.filter().redaction.is_some() {
            self.raw.extend_from_slice(bytes);
            self.show_raw(context, lane, Extent::Safe, sinks);
        } else if is_selected(facts, bytes, sinks) {
            sinks.write(&complete(context, lane, Kind::Data, bytes));
        }
    }

    fn show_raw(&mut self, context: &Context<'_>, lane: Lane, extent: Extent, sinks: &mut FilteredSinks) {
        let length = match (&sinks.filter().redaction, extent) {
            (Some(redaction), Extent::Safe) => redaction.safe_length(&self.raw),
            _ => self.raw.len(),
        };
        if length == 0 {
            return;
        }
        let raw: Vec<u8> = self.raw.drain(..length).collect();
        if is_selected(Facts { fits: true, matches: false }, &raw, sinks) {
            sinks.write(&complete(context, lane, Kind::Data, &raw));
        }
    }

    fn hold(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if self.held.is_empty() {
            (self.since, self.tid) = (context.time, context.tid);
        }
        self.held.extend_from_slice(bytes);
    }
}

/// Whether bytes that are complete by themselves are selected; they are counted if not.
fn is_selected(facts: Facts, bytes: &[u8], sinks: &mut FilteredSinks) -> bool {
    let is_selected = facts.fits && (facts.matches || sinks.filter().selection.finds(bytes));
    sinks.left_out += u64::from(!is_selected);
    is_selected
}

/// Something that is complete by itself.
pub fn complete<'a>(context: &Context<'a>, lane: Lane, kind: Kind<'a>, payload: &'a [u8]) -> Record<'a> {
    Record {
        time: context.time,
        thread: Thread { tid: context.tid, process: context.process },
        connection: context.connection,
        lane,
        exchange: None,
        latency: None,
        kind,
        offset: 0,
        last: true,
        note: "",
        payload,
    }
}

/// What is to be said of a message that ended.
fn note(end: &End<'_>) -> String {
    let notes = (!end.notes.is_empty()).then(|| end.notes.to_string());
    let undecoded = (end.undecoded != 0).then(|| format!("{} encoded bytes not decoded", end.undecoded));
    let status = end.status.map(|status| format!("gRPC status {status}"));
    [notes, undecoded, status].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
