//! The content of a message, its framing gone already: encodings are removed, units told apart.
use crate::coding::{Codings, Decoder};
use crate::connection::Limits;
use crate::events::Events;
use crate::grpc::Grpc;
use crate::notes::{Note, Notes};
use crate::part::Part;

/// Where the parts of one message go.
pub(crate) type Out<'o> = dyn FnMut(Part<'_>) + 'o;

pub(crate) struct Content {
    coding: Coding,
    units: Units,
    tally: Tally,
}

/// What became of the bytes of a content.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Bytes given out as `Body`.
    pub decoded: u64,
    /// Bytes given out as `Undecoded`, or dropped beyond the cap.
    pub undecoded: u64,
}

enum Coding {
    Plain,
    /// Has an encoding that we do not know.
    Unknown,
    Encoded(Box<Decoder>),
}

/// How the decoded bytes fall into units.
#[derive(Default)]
pub(crate) enum Units {
    /// They do not.
    #[default]
    None,
    Events(Events),
    Grpc(Box<Grpc>),
}

impl Units {
    /// What a content type says; messages of gRPC have encodings of their own.
    pub fn of(content_type: &[u8], grpc: Codings, limits: Limits) -> Self {
        let is = |prefix: &[u8]| {
            content_type.len() >= prefix.len() && content_type[..prefix.len()].eq_ignore_ascii_case(prefix)
        };
        if is(b"text/event-stream") {
            Self::Events(Events::default())
        } else if is(b"application/grpc") && !is(b"application/grpc-web") {
            Self::Grpc(Box::new(Grpc::new(grpc, limits)))
        } else {
            Self::None
        }
    }

    /// Takes decoded bytes.
    fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        match self {
            Self::None => out(Part::Body(bytes)),
            Self::Events(events) => events.push(bytes, out),
            Self::Grpc(grpc) => grpc.push(bytes, out),
        }
    }

    /// Takes what a decoder gave out.
    fn pass(&mut self, part: Part<'_>, out: &mut Out<'_>) {
        match part {
            Part::Body(bytes) => self.push(bytes, out),
            other => out(other),
        }
    }

    fn gap(&mut self, lost: u64, out: &mut Out<'_>) {
        match self {
            Self::None => {}
            Self::Events(events) => events.gap(),
            Self::Grpc(grpc) => grpc.gap(lost, out),
        }
    }

    fn finish(&mut self, complete: bool, notes: &mut Notes, out: &mut Out<'_>) {
        if let Self::Grpc(grpc) = self {
            grpc.finish(complete, notes, out);
        }
    }
}

impl Content {
    pub fn new(codings: Codings, units: Units, limits: Limits) -> Self {
        let coding = match Decoder::new(codings, limits.decoded) {
            _ if codings.is_empty() => Coding::Plain,
            Some(decoder) => Coding::Encoded(Box::new(decoder)),
            None => Coding::Unknown,
        };
        Self { coding, units, tally: Tally::default() }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        let coding = match &self.coding {
            Coding::Plain | Coding::Unknown => 0,
            Coding::Encoded(decoder) => decoder.memory(),
        };
        let units = match &self.units {
            Units::None | Units::Events(_) => 0,
            Units::Grpc(grpc) => size_of::<Grpc>() + grpc.memory(),
        };
        coding + units
    }

    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        if bytes.is_empty() {
            return;
        }
        let Self { coding, units, tally } = self;
        let mut count = |part: Part<'_>| tally.give(part, out);
        match coding {
            Coding::Plain => units.push(bytes, &mut count),
            Coding::Unknown => count(Part::Undecoded(bytes)),
            Coding::Encoded(decoder) => decoder.push(bytes, &mut |part| units.pass(part, &mut count)),
        }
    }

    /// Bytes are missing here: gives out what can be had.
    pub fn stop(&mut self, lost: u64, out: &mut Out<'_>) {
        let Self { coding, units, tally } = self;
        let mut count = |part: Part<'_>| tally.give(part, out);
        match coding {
            Coding::Plain | Coding::Unknown => units.gap(lost, &mut count),
            Coding::Encoded(decoder) => decoder.stop(&mut |part| units.pass(part, &mut count)),
        }
    }

    /// The message is over; says what is odd about its content.
    pub fn finish(&mut self, complete: bool, notes: &mut Notes, out: &mut Out<'_>) -> Tally {
        let Self { coding, units, tally } = self;
        let mut count = |part: Part<'_>| tally.give(part, out);
        let outcome = match coding {
            Coding::Plain => None,
            Coding::Unknown => {
                notes.add(Note::UnknownCoding);
                None
            }
            Coding::Encoded(decoder) => Some(decoder.finish(&mut |part| units.pass(part, &mut count))),
        };
        units.finish(complete, notes, &mut count);
        if let Some(outcome) = outcome {
            outcome.remark(notes, complete);
            tally.undecoded += outcome.dropped;
        }
        *tally
    }
}

impl Tally {
    fn give(&mut self, part: Part<'_>, out: &mut Out<'_>) {
        match part {
            Part::Body(bytes) => self.decoded += bytes.len() as u64,
            Part::Undecoded(bytes) => self.undecoded += bytes.len() as u64,
            _ => {}
        }
        out(part);
    }
}
