//! Puts the parts of a message together until they are worth showing.

use decode::{Direction, Kind as HeadKind, Part};

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

/// The message that one direction of a connection is in the middle of.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Name of the message; `None` between messages.
    name: Option<String>,
    /// What was not shown yet.
    held: Vec<u8>,
    /// Bytes of the message that were shown.
    shown: u64,
    /// When and by whom the first held byte was moved.
    since: i64,
    tid: u32,
    /// Complete messages so far.
    pub messages: u64,
}

impl Assembly {
    /// Takes one part.
    pub fn accept(&mut self, context: &Context<'_>, direction: Direction, part: Part<'_>, sinks: &mut Sinks) {
        match part {
            Part::Start(head) => {
                self.show(context, direction, false, "", sinks);
                self.name = Some(match head.kind {
                    HeadKind::Request { version, .. } => format!("{version} request"),
                    HeadKind::Response { version, .. } => format!("{version} response"),
                });
                self.shown = head.shown as u64;
                self.hold(context, &head.raw[head.shown..]);
            }
            Part::Body(bytes) | Part::Undecoded(bytes) => {
                self.hold(context, bytes);
                if self.held.len() >= PIECE {
                    self.show(context, direction, false, "", sinks);
                }
            }
            Part::End(end) => {
                self.hold(context, end.trailers);
                let mut note = end.notes.to_string();
                if end.undecoded != 0 {
                    let comma = if note.is_empty() { "" } else { ", " };
                    note = format!("{note}{comma}{} encoded bytes not decoded", end.undecoded);
                }
                self.show(context, direction, true, &note, sinks);
                self.messages += 1;
                self.name = None;
                self.held = Vec::new();
            }
            Part::Raw(bytes) => {
                self.show(context, direction, false, "", sinks);
                self.emit(context, direction, Kind::Data, bytes, sinks);
            }
            Part::Gap(bytes) => {
                self.show(context, direction, false, "", sinks);
                self.emit(context, direction, Kind::Gap(bytes), &[], sinks);
            }
        }
    }

    /// Shows what is held. An ended message shows in any case, so that its end is seen.
    pub fn show(
        &mut self,
        context: &Context<'_>,
        direction: Direction,
        last: bool,
        note: &str,
        sinks: &mut Sinks,
    ) {
        let Some(name) = &self.name else { return };
        if self.held.is_empty() && !(last && (self.shown == 0 || !note.is_empty())) {
            return;
        }
        sinks.write(&Record {
            time: self.since,
            thread: Thread { tid: self.tid, process: context.process },
            connection: context.connection,
            direction,
            kind: Kind::Message(name),
            offset: self.shown,
            last,
            note,
            payload: &self.held,
        });
        self.shown += self.held.len() as u64;
        self.held.clear();
    }

    /// Something that is complete by itself.
    pub fn emit(
        &self,
        context: &Context<'_>,
        direction: Direction,
        kind: Kind<'_>,
        payload: &[u8],
        sinks: &mut Sinks,
    ) {
        sinks.write(&Record {
            time: context.time,
            thread: Thread { tid: context.tid, process: context.process },
            connection: context.connection,
            direction,
            kind,
            offset: 0,
            last: true,
            note: "",
            payload,
        });
    }

    fn hold(&mut self, context: &Context<'_>, bytes: &[u8]) {
        if self.held.is_empty() {
            (self.since, self.tid) = (context.time, context.tid);
        }
        self.held.extend_from_slice(bytes);
    }
}
