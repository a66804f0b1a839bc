//! Server-Sent Events: where one ends and the next begins.
use memchr::memchr2;

use crate::content::Out;
use crate::part::{Part, Unit};

/// A blank line ends an event; a line ends with CR LF, LF or CR.
#[derive(Default)]
pub(crate) struct Events {
    place: Place,
    /// The byte before was a CR: a LF belongs to the same line end.
    after_cr: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    /// Between events; blank lines here mean nothing.
    #[default]
    Between,
    LineStart,
    InLine,
}

impl Events {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (event, after) = rest.split_at(self.event(rest, out));
            if !event.is_empty() {
                out(Part::Body(event));
            }
            rest = after;
        }
    }

    /// Bytes are missing: what comes until the next blank line is the rest of an event.
    pub fn gap(&mut self) {
        *self = Self { place: Place::InLine, after_cr: false };
    }

    /// How many bytes go with the event that is begun or, if there is none, how many line ends come first.
    fn event(&mut self, bytes: &[u8], out: &mut Out<'_>) -> usize {
        let mut at = 0;
        while let Some(&b) = bytes.get(at) {
            match (b, self.place) {
                (b'\n', _) if self.after_cr => self.after_cr = false,
                (b'\r' | b'\n', place) => {
                    self.after_cr = b == b'\r';
                    self.place = if place == Place::InLine { Place::LineStart } else { Place::Between };
                }
                (_, Place::Between) if at > 0 => return at,
                (_, place) => {
                    if place == Place::Between {
                        out(Part::Unit(Unit::Event));
                    }
                    (self.place, self.after_cr) = (Place::InLine, false);
                    at += memchr2(b'\r', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
                    continue;
                }
            }
            at += 1;
        }
        at
    }
}
