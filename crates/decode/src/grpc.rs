//! gRPC: messages in the body of a request or response, and how a call ended.
use crate::coding::{Codings, Decoder};
use crate::connection::Limits;
use crate::content::Out;
use crate::notes::{Note, Notes};
use crate::part::{Part, Unit};

/// A flag and the length of the message.
const PREFIX: usize = 5;

/// Names of the status codes in their order.
const STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of the status in a `grpc-status` field.
pub(crate) fn status(value: &[u8]) -> Option<&'static str> {
    std::str::from_utf8(value).ok()?.parse::<usize>().ok().and_then(|code| STATUS.get(code).copied())
}

/// Takes messages out of their prefixes.
pub(crate) struct Grpc {
    /// What `grpc-encoding` says.
    codings: Codings,
    limits: Limits,
    place: Place,
    notes: Notes,
}

enum Place {
    /// In a prefix; bytes of it so far.
    Prefix([u8; PREFIX], usize),
    /// In a message of which so many bytes are left.
    Message { left: u64, coding: Coding },
    /// Nobody knows.
    Lost,
}

/// How one message is encoded.
enum Coding {
    Plain,
    Unknown,
    Encoded(Decoder),
}

const START: Place = Place::Prefix([0; PREFIX], 0);

impl Grpc {
    pub fn new(codings: Codings, limits: Limits) -> Self {
        Self { codings, limits, place: START, notes: Notes::default() }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        match &self.place {
            Place::Message { coding: Coding::Encoded(decoder), .. } => decoder.memory(),
            Place::Prefix(..) | Place::Message { .. } | Place::Lost => 0,
        }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.place {
                Place::Prefix(prefix, have) => {
                    let (taken, after) = rest.split_at(rest.len().min(PREFIX - *have));
                    prefix[*have..*have + taken.len()].copy_from_slice(taken);
                    *have += taken.len();
                    rest = after;
                    if *have == PREFIX {
                        let prefix = *prefix;
                        self.begin(prefix, out);
                    }
                }
                Place::Message { left, coding } => {
                    let cut = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (piece, after) = rest.split_at(cut);
                    *left -= cut as u64;
                    match coding {
                        Coding::Plain => out(Part::Body(piece)),
                        Coding::Unknown => out(Part::Undecoded(piece)),
                        Coding::Encoded(decoder) => decoder.push(piece, out),
                    }
                    rest = after;
                    if *left == 0 {
                        self.end(true, out);
                    }
                }
                Place::Lost => return out(Part::Undecoded(rest)),
            }
        }
    }

    /// `lost` bytes are missing.
    pub fn gap(&mut self, lost: u64, out: &mut Out<'_>) {
        match &mut self.place {
            Place::Message { left, coding } if *left > lost => {
                *left -= lost;
                if let Coding::Encoded(decoder) = coding {
                    decoder.stop(out);
                }
            }
            Place::Message { left, .. } if *left == lost => self.end(false, out),
            _ => {
                self.end(false, out);
                self.place = Place::Lost;
            }
        }
    }

    /// The body is over.
    pub fn finish(&mut self, complete: bool, notes: &mut Notes, out: &mut Out<'_>) {
        match self.place {
            Place::Prefix(_, 0) => {}
            Place::Prefix(prefix, have) => {
                self.notes.add(if complete { Note::BadFraming } else { Note::Truncated });
                out(Part::Undecoded(&prefix[..have]));
            }
            Place::Message { .. } if complete => self.notes.add(Note::BadFraming),
            Place::Message { .. } | Place::Lost => {}
        }
        self.end(false, out);
        notes.extend(self.notes);
    }

    fn begin(&mut self, prefix: [u8; PREFIX], out: &mut Out<'_>) {
        let [flag, length @ ..] = prefix;
        let coding = match flag {
            0 => Coding::Plain,
            1 => match Decoder::new(self.codings, self.limits.decoded) {
                Some(decoder) if !self.codings.is_empty() => Coding::Encoded(decoder),
                _ => {
                    self.notes.add(Note::UnknownCoding);
                    Coding::Unknown
                }
            },
            _ => {
                self.notes.add(Note::BadFraming);
                self.place = Place::Lost;
                return out(Part::Undecoded(&prefix));
            }
        };
        out(Part::Unit(Unit::Grpc));
        let left = u32::from_be_bytes(length).into();
        self.place = if left == 0 { START } else { Place::Message { left, coding } };
    }

    fn end(&mut self, complete: bool, out: &mut Out<'_>) {
        if let Place::Message { coding: Coding::Encoded(decoder), .. } = &mut self.place {
            decoder.finish(out).remark(&mut self.notes, complete);
        }
        self.place = START;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_statuses() {
        assert_eq!(super::status(b"0"), Some("OK"));
        assert_eq!(super::status(b"16"), Some("UNAUTHENTICATED"));
        assert_eq!(super::status(b"17"), None);
        assert_eq!(super::status(b"x"), None);
    }
}
