//! Puts the parts of a message together until they are worth showing.

use decode::{End, Kind as HeadKind, Lane, Part};

use crate::record::{Connection, Kind, Process, Record, Thread};
use crate::sinks::Sinks;

/// Bytes of a message that are held before a piece is shown. A message that is longer shows in pieces:
/// nothing holds a whole body.
const PIECE: usize = 64 << 10;

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
    /// What was not shown yet.
    held: Vec<u8>,
    /// Bytes of the message that were shown.
    shown: u64,
    /// When and by whom the first held byte was moved.
    since: i64,
    tid: u32,
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

    /// Takes one part.
    pub fn accept(
        &mut self,
        context: &Context<'_>,
        lane: Lane,
        part: Part<'_>,
        exchange: Paired,
        sinks: &mut Sinks,
    ) {
        match part {
            Part::Start(head) => {
                self.show(context, lane, false, "", sinks);
                self.name = Some(match head.kind {
                    HeadKind::Request { version, .. } => format!("{version} request"),
                    HeadKind::Response { version, .. } => format!("{version} response"),
                    HeadKind::Other(name) => name.to_owned(),
                });
                (self.unit, self.is_new_unit, self.exchange) = (None, false, exchange);
                self.shown = head.shown as u64;
                self.hold(context, &head.raw[head.shown..]);
            }
            Part::Unit(unit) => {
                self.end_unit(context, lane, sinks);
                (self.unit, self.is_new_unit) = (Some(unit.name()), true);
                (self.since, self.tid) = (context.time, context.tid);
            }
            Part::Body(bytes) | Part::Undecoded(bytes) => {
                self.hold(context, bytes);
                if self.held.len() >= PIECE {
                    self.show(context, lane, false, "", sinks);
                }
            }
            Part::End(end) => {
                if self.unit.is_some() && !end.trailers.is_empty() {
                    self.end_unit(context, lane, sinks);
                    self.unit = None;
                }
                self.hold(context, end.trailers);
                self.show(context, lane, true, &note(&end), sinks);
                self.name = None;
                self.held = Vec::new();
            }
            Part::Whole(whole) => {
                let record = complete(context, lane, Kind::Message(whole.name), whole.text);
                let (note, Paired { number, latency }) = (whole.notes.to_string(), exchange);
                sinks.write(&Record { exchange: number, latency, note: &note, ..record });
            }
            Part::Framing(_) => {}
            Part::Raw(bytes) => {
                self.show(context, lane, false, "", sinks);
                sinks.write(&complete(context, lane, Kind::Data, bytes));
            }
            Part::Gap(bytes) => {
                self.show(context, lane, false, "", sinks);
                sinks.write(&complete(context, lane, Kind::Gap(bytes), &[]));
            }
        }
    }

    /// Shows what is held. An ended message shows in any case, so that its end is seen.
    pub fn show(&mut self, context: &Context<'_>, lane: Lane, last: bool, note: &str, sinks: &mut Sinks) {
        if !self.held.is_empty() || (last && (self.shown == 0 || self.is_new_unit || !note.is_empty())) {
            self.write(context, lane, last, note, sinks);
        }
    }

    /// Shows the rest of a unit, and an empty one as well.
    fn end_unit(&mut self, context: &Context<'_>, lane: Lane, sinks: &mut Sinks) {
        if !self.held.is_empty() || self.is_new_unit {
            self.write(context, lane, false, "", sinks);
        }
    }

    fn write(&mut self, context: &Context<'_>, lane: Lane, last: bool, note: &str, sinks: &mut Sinks) {
        let Some(name) = &self.name else { return };
        sinks.write(&Record {
            time: self.since,
            thread: Thread { tid: self.tid, process: context.process },
            connection: context.connection,
            lane,
            exchange: self.exchange.number,
            latency: self.exchange.latency.take(), // in the first record of the message
            kind: Kind::Message(self.unit.unwrap_or(name)),
            offset: self.shown,
            last,
            note,
            payload: &self.held,
        });
        self.shown += self.held.len() as u64;
        self.held.clear();
        self.is_new_unit = false;
    }

    fn hold(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if self.held.is_empty() {
            (self.since, self.tid) = (context.time, context.tid);
        }
        self.held.extend_from_slice(bytes);
    }
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
