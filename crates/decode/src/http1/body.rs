//! A body on its way: framing off, encodings off.
use super::chunked::{Chunked, Step};
use super::fields::blank_line;
use super::framing::Framing;
use crate::connection::Limits;
use crate::content::{Content, Out, Tally};
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{End, Part};

pub(super) struct Body {
    place: Place,
    content: Content,
    limits: Limits,
    /// What `End` will say.
    wire: u64,
    notes: Notes,
}

/// What the next byte belongs to.
enum Place {
    Length { left: u64 },
    Chunked(Chunked),
    Trailers(Held),
    UntilClose,
}

/// Where a direction stands after a gap in a body.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum AfterGap {
    /// In the body still: its length tells so.
    Inside,
    /// Exactly at its end.
    Boundary,
    /// Nobody knows.
    Lost,
}

/// How far a push has come.
pub(super) enum Progress<'b> {
    /// All bytes belonged to the body, and it goes on.
    More,
    /// The message is over; these bytes follow it.
    Over(&'b [u8]),
    /// The message is over because nobody can tell where it ends; these bytes follow.
    Lost(&'b [u8]),
}

impl Place {
    fn skip(&mut self, lost: u64) -> AfterGap {
        match self {
            Self::UntilClose => AfterGap::Inside,
            Self::Length { left } if *left > lost => {
                *left -= lost;
                AfterGap::Inside
            }
            Self::Length { left } if *left == lost => AfterGap::Boundary,
            Self::Chunked(chunked) => match chunked.skip(lost) {
                true => AfterGap::Inside,
                false => AfterGap::Lost,
            },
            Self::Length { .. } | Self::Trailers(_) => AfterGap::Lost,
        }
    }
}

impl Body {
    /// The body of a message; `None` if there is none.
    pub fn new(framing: Framing, content: Content, limits: Limits) -> Option<Self> {
        let place = match framing {
            Framing::Length(0) | Framing::Bad | Framing::Switch => return None,
            Framing::Length(left) => Place::Length { left },
            Framing::Chunked => Place::Chunked(Chunked::START),
            Framing::UntilClose => Place::UntilClose,
        };
        Some(Self { place, content, limits, wire: 0, notes: Notes::default() })
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        let trailers = match &self.place {
            Place::Trailers(held) => held.memory(),
            Place::Length { .. } | Place::Chunked(_) | Place::UntilClose => 0,
        };
        trailers + self.content.memory()
    }

    /// Whether no byte of it has come yet.
    pub fn is_untouched(&self) -> bool {
        self.wire == 0
    }

    pub fn push<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> Progress<'b> {
        let mut rest = bytes;
        loop {
            let (data, after) = match &mut self.place {
                Place::Trailers(_) => return self.trailers(rest, out),
                Place::UntilClose => (rest, &rest[rest.len()..]),
                Place::Length { left } => {
                    let cut = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= cut as u64;
                    rest.split_at(cut)
                }
                Place::Chunked(chunked) => {
                    let (step, after) = chunked.step(rest);
                    let data = match step {
                        Step::Data(data) => data,
                        Step::More => &[],
                        Step::Trailers => {
                            self.place = Place::Trailers(Held::default());
                            &[]
                        }
                        Step::Bad => {
                            self.wire += (rest.len() - after.len()) as u64;
                            self.end_early(&[], Note::BadFraming, out);
                            return Progress::Lost(after);
                        }
                    };
                    (data, after)
                }
            };
            self.wire += (rest.len() - after.len()) as u64;
            self.content.push(data, out);
            rest = after;
            if matches!(self.place, Place::Length { left: 0 }) {
                self.end(self.is_whole(), &[], out);
                return Progress::Over(rest);
            }
            if rest.is_empty() {
                return Progress::More;
            }
        }
    }

    /// Collects trailers up to their blank line, which most often comes first and at once.
    fn trailers<'b>(&mut self, bytes: &'b [u8], out: &mut Out<'_>) -> Progress<'b> {
        let Place::Trailers(held) = &mut self.place else { return Progress::More };
        let mut held = std::mem::take(held);
        let (before, from) = (held.len(), held.scanned());
        let joined = held.joined(bytes, self.limits.head);
        match blank_line(joined, from) {
            Ok((blank, end)) => {
                self.wire += (end - before) as u64;
                self.end(self.is_whole(), &joined[..blank], out);
                Progress::Over(&bytes[end - before..])
            }
            Err(from) if joined.len() < self.limits.head => {
                held.restore(before);
                held.hold(bytes, from);
                self.wire += bytes.len() as u64;
                self.place = Place::Trailers(held);
                Progress::More
            }
            Err(_) => {
                // They were counted when they were held, and are given out now.
                held.restore(before);
                self.end_early(held.bytes(), Note::BadFraming, out);
                Progress::Lost(bytes)
            }
        }
    }

    /// `lost` bytes are missing.
    pub fn gap(&mut self, lost: u64, out: &mut Out<'_>) -> AfterGap {
        self.content.stop(lost, out);
        out(Part::Gap(lost));
        self.notes.add(Note::Gap);
        let after = self.place.skip(lost);
        match after {
            AfterGap::Inside => {}
            AfterGap::Boundary => self.end(false, &[], out),
            AfterGap::Lost => self.cut(out),
        }
        after
    }

    /// Whether nothing was lost so far.
    fn is_whole(&self) -> bool {
        !self.notes.contains(Note::Gap)
    }

    /// The connection was closed.
    pub fn close(&mut self, out: &mut Out<'_>) {
        match self.place {
            Place::UntilClose => self.end(self.is_whole(), &[], out),
            Place::Length { .. } | Place::Chunked(_) | Place::Trailers(_) => self.cut(out),
        }
    }

    /// The message ends here although more should come.
    pub fn cut(&mut self, out: &mut Out<'_>) {
        let held = match &mut self.place {
            Place::Trailers(held) => std::mem::take(held),
            Place::Length { .. } | Place::Chunked(_) | Place::UntilClose => Held::default(),
        };
        self.end_early(held.bytes(), Note::Truncated, out);
    }

    fn end_early(&mut self, trailers: &[u8], note: Note, out: &mut Out<'_>) {
        self.notes.add(note);
        self.end(false, trailers, out);
    }

    fn end(&mut self, complete: bool, trailers: &[u8], out: &mut Out<'_>) {
        let Tally { decoded, undecoded } = self.content.finish(complete, &mut self.notes, out);
        out(Part::End(End {
            trailers,
            wire: self.wire,
            decoded,
            undecoded,
            complete,
            notes: self.notes,
            ..End::default()
        }));
    }
}
