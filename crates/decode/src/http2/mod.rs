//! HTTP/2 (RFC 9113) on both directions of a connection, from its start or from the middle.
mod fields;
mod frame;
mod hpack;
mod message;
mod streams;

use std::mem;

use self::fields::Section;
use self::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEAD, HEADERS, PADDED, PREFACE, PUSH_PROMISE,
    RST_STREAM, unpadded,
};
use self::hpack::Hpack;
use self::streams::Streams;
use crate::connection::Limits;
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, Part, Protocol, Whole};
use crate::session::{Flow, Next, Out, Session, framing, lane, raw, recognised, release};
use crate::sniff::Verdict;

/// Both directions.
pub(crate) struct Http2 {
    sides: [Side; 2],
    streams: Streams,
    limits: Limits,
}

struct Side {
    place: Place,
    hpack: Hpack,
    /// A header block that goes on in CONTINUATION frames.
    block: Option<Block>,
    /// No frame was seen yet.
    fresh: bool,
}

/// What the next byte belongs to.
enum Place {
    /// The start of a frame.
    Frame,
    /// The payload of a DATA frame: bytes of content and of padding to come.
    Data { frame: Frame, left: usize, padding: usize },
    /// A payload that says nothing to a reader.
    Skip { left: usize },
    /// A payload that can not be understood.
    Raw { left: usize },
    /// Nobody knows: a push that begins with sure frames will tell.
    Lost,
}

/// The beginning of a header block.
struct Block {
    opener: Frame,
    bytes: Vec<u8>,
    wire: u64,
}

/// What the bytes at the start of a frame are.
enum Look {
    More,
    Preface,
    Frame(Frame),
    Bad,
}

/// Whether a direction begins with, or goes on with, HTTP/2: the preface, frames whose heads chance does not
/// make, a header block with a pseudo-field, or two frames one after the other.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict<()> {
    if bytes.iter().zip(PREFACE).all(|(a, b)| a == b) {
        return if bytes.len() < PREFACE.len() { Verdict::Open } else { Verdict::Sure(()) };
    }
    let mut rest = bytes;
    for seen in 0.. {
        let Some(head) = rest.first_chunk() else { break };
        let frame = Frame::parse(head);
        if frame.length >> 16 != 0 || frame.stream >> 24 != 0 || !frame.is_usual() {
            return Verdict::No;
        }
        if frame.is_telling() || seen > 0 {
            return Verdict::Sure(());
        }
        let Some((payload, after)) = rest[HEAD..].split_at_checked(frame.length) else {
            return Verdict::Open;
        };
        if frame.kind == HEADERS {
            let is_pseudo = |field: hpack::Field<'_>| field.name.is_some_and(|name| name.starts_with(b":"));
            let mut pseudo = false;
            let whole = unpadded(&frame, payload)
                .and_then(|block| Hpack::joined().block(block, |field| pseudo |= is_pseudo(field)));
            match whole {
                Some(()) if pseudo => return Verdict::Sure(()),
                None if frame.has(END_HEADERS) => return Verdict::No,
                _ => {}
            }
        }
        rest = after;
    }
    // A length below 64 KiB, a known type.
    let possible = |n: usize, b: u8| match n {
        0 => b == 0,
        3 => b <= CONTINUATION,
        _ => true,
    };
    if rest.iter().enumerate().all(|(n, &b)| possible(n, b)) { Verdict::Open } else { Verdict::No }
}

impl Http2 {
    pub fn new(limits: Limits) -> Self {
        let side = |_| Side { place: Place::Frame, hpack: Hpack::joined(), block: None, fresh: true };
        Self { sides: Direction::BOTH.map(side), streams: Streams::new(limits), limits }
    }

    /// Looks at the start of a frame. Answers how many of `bytes` that took, `None` if all and more are needed.
    fn frame(&mut self, dir: Direction, bytes: &[u8], out: &mut Out<'_>) -> Option<usize> {
        match self.sides[dir as usize].look(bytes) {
            Look::More => None,
            Look::Preface => {
                self.begin(dir);
                framing(dir, PREFACE.len(), out);
                Some(PREFACE.len())
            }
            Look::Bad => {
                self.lose(dir, Note::BadFraming, out);
                Some(0)
            }
            Look::Frame(frame) => self.enter(dir, frame, bytes, out),
        }
    }

    /// A legal frame begins at the start of `bytes`; the answer is that of [`Self::frame`].
    fn enter(&mut self, dir: Direction, frame: Frame, bytes: &[u8], out: &mut Out<'_>) -> Option<usize> {
        let (place, used) = match frame.kind {
            DATA => {
                let padding = if frame.has(PADDED) { Some(usize::from(*bytes.get(HEAD)?)) } else { None };
                let head = HEAD + usize::from(padding.is_some());
                let padding = padding.unwrap_or(0);
                let Some(left) = (HEAD + frame.length - head).checked_sub(padding) else {
                    self.lose(dir, Note::BadFraming, out);
                    return Some(0);
                };
                self.streams.data_frame(dir, &frame, head, out);
                (Place::Data { frame, left, padding }, head)
            }
            HEADERS | PUSH_PROMISE | CONTINUATION | RST_STREAM | GOAWAY
                if frame.length <= self.limits.head =>
            {
                let used = HEAD + frame.length;
                self.whole(dir, &frame, bytes.get(HEAD..used)?, out);
                (Place::Frame, used)
            }
            HEADERS | PUSH_PROMISE | CONTINUATION | RST_STREAM | GOAWAY => {
                framing(dir, HEAD, out);
                self.sides[dir as usize].hpack = Hpack::joined();
                (Place::Raw { left: frame.length }, HEAD)
            }
            _ => {
                framing(dir, HEAD, out);
                (Place::Skip { left: frame.length }, HEAD)
            }
        };
        let side = &mut self.sides[dir as usize];
        (side.place, side.fresh) = (place, false);
        self.payload_done(dir, out);
        Some(used)
    }

    /// The client's preface: all header blocks will be seen.
    fn begin(&mut self, client: Direction) {
        self.sides[client as usize].fresh = false;
        for side in self.sides.iter_mut().filter(|side| !side.hpack.is_used()) {
            side.hpack = Hpack::new();
        }
    }

    /// A frame that is understood as a whole.
    fn whole(&mut self, dir: Direction, frame: &Frame, payload: &[u8], out: &mut Out<'_>) {
        let wire = (HEAD + payload.len()) as u64;
        let side = &mut self.sides[dir as usize];
        match frame.kind {
            RST_STREAM => self.streams.reset(dir, frame.stream, payload, wire, out),
            GOAWAY => goaway(dir, payload, wire, out),
            CONTINUATION => match side.block.take() {
                Some(mut block) if block.bytes.len() + payload.len() <= 4 * self.limits.head => {
                    block.bytes.extend_from_slice(payload);
                    block.wire += wire;
                    if frame.has(END_HEADERS) {
                        self.block(dir, &block.opener, &block.bytes, block.wire, out);
                    } else {
                        side.block = Some(block);
                    }
                }
                block => {
                    // Its beginning was not seen, or it never ends.
                    side.hpack = Hpack::joined();
                    block.into_iter().for_each(|block| block.give_up(dir, out));
                    framing(dir, HEAD, out);
                    raw(dir, payload, out);
                }
            },
            _ => match unpadded(frame, payload) {
                Some(block) if frame.has(END_HEADERS) => self.block(dir, frame, block, wire, out),
                Some(block) => side.block = Some(Block { opener: *frame, bytes: block.to_vec(), wire }),
                None => {
                    framing(dir, HEAD, out);
                    raw(dir, payload, out);
                    side.hpack = Hpack::joined();
                }
            },
        }
    }

    /// A complete header block, of a HEADERS or PUSH_PROMISE frame.
    fn block(&mut self, dir: Direction, frame: &Frame, block: &[u8], wire: u64, out: &mut Out<'_>) {
        let side = &mut self.sides[dir as usize];
        let (stream, block) = match (frame.kind, block.split_first_chunk()) {
            (PUSH_PROMISE, Some((promised, block))) => (u32::from_be_bytes(*promised) & 0x7FFF_FFFF, block),
            _ => (frame.stream, block),
        };
        let mut section = Section::default();
        if side.hpack.block(block, |field| section.add(field, self.limits.head)).is_none() {
            side.hpack = Hpack::joined();
            framing(dir, (wire as usize).saturating_sub(block.len()), out);
            return raw(dir, block, out);
        }
        // A promised request has no body.
        let ends = frame.kind == PUSH_PROMISE || frame.has(END_STREAM);
        self.streams.section(dir, stream, section, ends, wire, out);
    }

    /// Goes on to the next frame when the payload of this one is over.
    fn payload_done(&mut self, dir: Direction, out: &mut Out<'_>) {
        let place = &mut self.sides[dir as usize].place;
        match *place {
            Place::Data { frame, left: 0, padding: 0 } => {
                *place = Place::Frame;
                if frame.has(END_STREAM) {
                    self.streams.end(dir, frame.stream, out);
                }
            }
            Place::Skip { left: 0 } | Place::Raw { left: 0 } => *place = Place::Frame,
            _ => {}
        }
    }

    /// Out of step: what was open is incomplete, and what later header blocks refer to is not known.
    fn lose(&mut self, dir: Direction, note: Note, out: &mut Out<'_>) {
        let side = &mut self.sides[dir as usize];
        side.block.take().into_iter().for_each(|block| block.give_up(dir, out));
        side.hpack = Hpack::joined();
        side.place = Place::Lost;
        self.streams.cut(dir, note, out);
    }

    /// Takes bytes of the payload that the direction is in.
    fn payload<'b>(&mut self, dir: Direction, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        let after = match &mut self.sides[dir as usize].place {
            Place::Data { frame, left, padding } => {
                let (piece, after) = bytes.split_at(bytes.len().min(*left));
                *left -= piece.len();
                let (pad, after) = after.split_at(after.len().min(if *left == 0 { *padding } else { 0 }));
                *padding -= pad.len();
                self.streams.data(dir, frame.stream, piece, pad.len(), out);
                after
            }
            Place::Skip { left } => {
                let (skipped, after) = bytes.split_at(bytes.len().min(*left));
                *left -= skipped.len();
                framing(dir, skipped.len(), out);
                after
            }
            Place::Raw { left } => {
                let (piece, after) = bytes.split_at(bytes.len().min(*left));
                *left -= piece.len();
                raw(dir, piece, out);
                after
            }
            Place::Frame | Place::Lost => bytes,
        };
        self.payload_done(dir, out);
        after
    }

    /// Whether what the other direction does is no reason to stay.
    fn is_hopeless(&self) -> bool {
        let is_lost = |side: &Side| matches!(side.place, Place::Lost);
        self.sides.iter().any(is_lost) && self.sides.iter().all(|side| side.fresh || is_lost(side))
    }
}

impl Session for Http2 {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], held: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        if let Place::Lost = self.sides[dir as usize].place {
            if recognised(dir, bytes, held, self.limits.head, out, sniff).is_none() {
                return Flow::Done;
            }
            self.sides[dir as usize].place = Place::Frame;
            let start = mem::take(held);
            if let Flow::Switch(_, next) = self.push(dir, start.bytes(), held, out) {
                return Flow::Switch(bytes, next);
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.sides[dir as usize].place {
                Place::Frame => {
                    let mut kept = mem::take(held);
                    let before = kept.len();
                    let joined = kept.joined(rest, HEAD + self.limits.head);
                    match self.frame(dir, joined, out) {
                        Some(used) if used > before => &rest[used - before..],
                        Some(_) => {
                            // Lost: all of it is raw.
                            kept.restore(before);
                            release(dir, &mut kept, out);
                            raw(dir, rest, out);
                            &[]
                        }
                        None => {
                            kept.restore(before);
                            kept.hold(rest, 0);
                            *held = kept;
                            return Flow::Done;
                        }
                    }
                }
                Place::Lost => {
                    raw(dir, rest, out);
                    &[]
                }
                Place::Data { .. } | Place::Skip { .. } | Place::Raw { .. } => self.payload(dir, rest, out),
            };
        }
        if self.is_hopeless() { Flow::Switch(&[], Next::Unknown) } else { Flow::Done }
    }

    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        let bytes = usize::try_from(lost).unwrap_or(usize::MAX);
        match &mut self.sides[dir as usize].place {
            Place::Data { frame, left, .. } if *left >= bytes => {
                *left -= bytes;
                self.streams.gap(dir, frame.stream, lost, out);
                self.payload_done(dir, out);
            }
            Place::Skip { left } | Place::Raw { left } if *left >= bytes => {
                *left -= bytes;
                out(lane(dir), Part::Gap(lost));
                self.payload_done(dir, out);
            }
            _ => {
                self.lose(dir, Note::Gap, out);
                out(lane(dir), Part::Gap(lost));
            }
        }
    }

    fn close(&mut self, dir: Direction, out: &mut Out<'_>) {
        self.lose(dir, Note::Truncated, out);
    }

    fn memory(&self) -> usize {
        let side =
            |side: &Side| side.hpack.memory() + side.block.as_ref().map_or(0, |block| block.bytes.capacity());
        self.sides.iter().map(side).sum::<usize>() + self.streams.memory()
    }
}

impl Side {
    fn look(&self, bytes: &[u8]) -> Look {
        if self.fresh && bytes.iter().zip(PREFACE).all(|(a, b)| a == b) {
            return if bytes.len() < PREFACE.len() { Look::More } else { Look::Preface };
        }
        let Some(head) = bytes.first_chunk() else { return Look::More };
        let frame = Frame::parse(head);
        let damaged = self.fresh && bytes.starts_with(&PREFACE[..3]);
        let expected = !damaged
            && match &self.block {
                Some(Block { opener, .. }) => frame.kind == CONTINUATION && frame.stream == opener.stream,
                None => true,
            };
        if expected && frame.is_legal() { Look::Frame(frame) } else { Look::Bad }
    }
}

impl Block {
    fn give_up(self, dir: Direction, out: &mut Out<'_>) {
        framing(dir, self.wire as usize - self.bytes.len(), out);
        raw(dir, &self.bytes, out);
    }
}

/// GOAWAY: the last stream that will be answered, why, and what else the sender says.
fn goaway(dir: Direction, payload: &[u8], wire: u64, out: &mut Out<'_>) {
    let Some((stream, rest)) = payload.split_first_chunk() else { return };
    let Some((code, debug)) = rest.split_first_chunk() else { return };
    let last = u32::from_be_bytes(*stream) & 0x7FFF_FFFF;
    let text = format!("{}, last stream {last}", frame::error(*code));
    let colon: &[u8] = if debug.is_empty() { b"" } else { b": " };
    let text = [text.as_bytes(), colon, debug].concat();
    out(
        lane(dir),
        Part::Whole(Whole {
            name: "HTTP/2 GOAWAY",
            text: &text,
            wire,
            exchange: None,
            notes: Notes::default(),
        }),
    );
}
