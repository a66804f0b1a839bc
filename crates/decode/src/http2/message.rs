//! A message of one stream whose end is still to come.
use super::fields::Section;
use crate::coding::Codings;
use crate::connection::Limits;
use crate::content::{Content, Out, Tally, Units};
use crate::notes::{Note, Notes};
use crate::part::{End, Part};

pub(super) struct Message {
    content: Content,
    wire: u64,
    notes: Notes,
    status: Option<&'static str>,
    /// A CONNECT that waits for its answer.
    pub connect: Option<Connect>,
    /// Whether a decoder works on it.
    pub encoded: bool,
}

/// What a tunnel will carry.
#[derive(Clone, Copy)]
pub(super) enum Connect {
    /// Anything.
    Plain,
    WebSocket,
}

impl Message {
    /// The one that `section` is the head of. If it may not decode, an encoded body is passed on.
    pub fn new(section: &Section, may_decode: bool, limits: Limits) -> Self {
        let mut notes = section.notes;
        let encoded = !section.codings.is_empty();
        let codings = if encoded && !may_decode {
            notes.add(Note::Crowded);
            Codings::unknown()
        } else {
            section.codings
        };
        let units = Units::of(section.content_type(), section.grpc_codings, limits);
        let connect = match (section.is_connect(), section.is_websocket()) {
            (false, _) => None,
            (true, false) => Some(Connect::Plain),
            (true, true) => Some(Connect::WebSocket),
        };
        let content = Content::new(codings, units, limits);
        Self { content, wire: 0, notes, status: section.grpc_status, connect, encoded: encoded && may_decode }
    }

    /// One whose head was not seen.
    pub fn headless(note: Note, limits: Limits) -> Self {
        let mut section = Section::default();
        section.notes.add(note);
        Self::new(&section, false, limits)
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.content.memory()
    }

    /// So many bytes belong to it and are not content.
    pub fn framing(&mut self, bytes: u64) {
        self.wire += bytes;
    }

    pub fn data(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        self.wire += bytes.len() as u64;
        self.content.push(bytes, out);
    }

    pub fn gap(&mut self, lost: u64, out: &mut Out<'_>) {
        self.content.stop(lost, out);
        out(Part::Gap(lost));
        self.notes.add(Note::Gap);
    }

    /// Its last byte was seen.
    pub fn end(mut self, trailers: Option<&Section>, out: &mut Out<'_>) {
        let complete = [Note::Gap, Note::Headless].iter().all(|&note| !self.notes.contains(note));
        if let Some(section) = trailers {
            self.notes.extend(section.notes);
            self.status = section.grpc_status.or(self.status);
        }
        self.finish(complete, trailers.map_or(b"", |section| &section.text), out);
    }

    /// It ends here although more should come.
    pub fn cut(mut self, note: Note, out: &mut Out<'_>) {
        self.notes.add(note);
        self.finish(false, b"", out);
    }

    fn finish(mut self, complete: bool, trailers: &[u8], out: &mut Out<'_>) {
        let Tally { decoded, undecoded } = self.content.finish(complete, &mut self.notes, out);
        let Self { wire, notes, status, .. } = self;
        out(Part::End(End { trailers, status, wire, decoded, undecoded, complete, notes }));
    }
}
