//! Messages of WebSocket (RFC 6455), after the handshake.
mod frame;
mod inflate;

use self::frame::{CONTROL_MAX, Frame, HEAD_MAX, Opcode, head_len};
use self::inflate::Inflate;
use crate::connection::Limits;
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, End, Head, Kind, Part, Protocol, Whole};
use crate::session::{Flow, Next, Out, Session, lane, raw};

/// What both sides agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    /// What the client sends is masked.
    pub client: Direction,
    pub extensions: Extensions,
}

/// What `Sec-WebSocket-Extensions` of the response says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions {
    deflate: bool,
    /// The client, and the server, begin each message anew.
    client_forgets: bool,
    server_forgets: bool,
}

impl Extensions {
    /// Takes one field. What we do not know changes frames in ways that we do not know; those that it changes
    /// have a reserved bit set and are refused.
    pub fn add(&mut self, value: &[u8]) {
        for extension in value.split(|&b| b == b',') {
            let mut words = extension.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            if words.next().is_some_and(|name| name.eq_ignore_ascii_case(b"permessage-deflate")) {
                self.deflate = true;
                for word in words {
                    self.client_forgets |= word.eq_ignore_ascii_case(b"client_no_context_takeover");
                    self.server_forgets |= word.eq_ignore_ascii_case(b"server_no_context_takeover");
                }
            }
        }
    }
}

/// Both directions.
pub(crate) struct WebSocket {
    sides: [Side; 2],
}

struct Side {
    masked: bool,
    place: Place,
    message: Option<Message>,
    inflate: Option<Box<Inflate>>,
}

enum Place {
    /// In the head of a frame; bytes of it so far.
    Head([u8; HEAD_MAX], usize),
    Data(Frame),
    /// In a control frame: its head's length, its payload so far.
    Control(Frame, usize, Vec<u8>),
    Lost,
}

/// A message of which not all was seen.
#[derive(Default)]
struct Message {
    compressed: bool,
    wire: u64,
    decoded: u64,
    undecoded: u64,
    notes: Notes,
}

const START: Place = Place::Head([0; HEAD_MAX], 0);

impl WebSocket {
    pub fn new(handshake: Handshake, limits: Limits) -> Self {
        let Handshake { client, extensions } = handshake;
        let side = |dir| {
            let masked = dir == client;
            let forgets = if masked { extensions.client_forgets } else { extensions.server_forgets };
            let inflate = extensions.deflate.then(|| Box::new(Inflate::new(forgets, limits.decoded)));
            Side { masked, place: START, message: None, inflate }
        };
        Self { sides: Direction::BOTH.map(side) }
    }
}

impl Session for WebSocket {
    fn protocol(&self) -> Protocol {
        Protocol::WebSocket
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], _: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        let side = &mut self.sides[dir as usize];
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = side.step(dir, rest, out);
        }
        match &self.sides {
            [Side { place: Place::Lost, .. }, Side { place: Place::Lost, .. }] => {
                Flow::Switch(&[], Next::Unknown)
            }
            _ => Flow::Done,
        }
    }

    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        let side = &mut self.sides[dir as usize];
        match (&mut side.place, &mut side.message) {
            (Place::Data(frame), Some(message)) if frame.left >= lost => {
                out(lane(dir), Part::Gap(lost));
                frame.skip(lost);
                message.notes.add(Note::Gap);
                if let (true, Some(inflate)) = (message.compressed, &mut side.inflate) {
                    inflate.lose();
                }
                side.frame_done(dir, out);
            }
            _ => {
                side.lose(dir, Note::Gap, out);
                out(lane(dir), Part::Gap(lost));
            }
        }
    }

    fn close(&mut self, dir: Direction, out: &mut Out<'_>) {
        self.sides[dir as usize].lose(dir, Note::Truncated, out);
    }

    fn memory(&self) -> usize {
        let inflate = |inflate: &Inflate| size_of::<Inflate>() + inflate.memory();
        self.sides.iter().filter_map(|side| side.inflate.as_deref()).map(inflate).sum()
    }
}

impl Side {
    /// Takes bytes up to the end of a head or payload; answers what follows.
    fn step<'b>(&mut self, dir: Direction, bytes: &'b [u8], out: &mut Out<'_>) -> &'b [u8] {
        match &mut self.place {
            Place::Head(head, have) => {
                let need = head_len(&head[..*have]);
                let (taken, after) = bytes.split_at(bytes.len().min(need - *have));
                head[*have..*have + taken.len()].copy_from_slice(taken);
                *have += taken.len();
                if *have >= 2 && *have == head_len(&head[..*have]) {
                    let (head, have) = (*head, *have);
                    self.begin(dir, &head[..have], out);
                }
                after
            }
            Place::Data(frame) => {
                let mut plain = [0; 4096];
                let cut = bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
                let cut = if frame.is_masked() { cut.min(plain.len()) } else { cut };
                let (piece, after) = bytes.split_at(cut);
                let piece = frame.payload(piece, &mut plain);
                if let Some(message) = &mut self.message {
                    message.data(dir, piece, self.inflate.as_deref_mut(), out);
                }
                self.frame_done(dir, out);
                after
            }
            Place::Control(frame, _, payload) => {
                let cut = bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
                let (piece, after) = bytes.split_at(cut);
                payload.extend_from_slice(frame.payload(piece, &mut [0; CONTROL_MAX as usize]));
                self.frame_done(dir, out);
                after
            }
            Place::Lost => {
                raw(dir, bytes, out);
                &[]
            }
        }
    }

    /// A head is complete.
    fn begin(&mut self, dir: Direction, head: &[u8], out: &mut Out<'_>) {
        let frame = Frame::parse(head).filter(|frame| {
            let starts = matches!(frame.opcode, Opcode::Text | Opcode::Binary);
            frame.is_masked() == self.masked
                && (frame.opcode.is_control() || starts == self.message.is_none())
                && (!frame.compressed || (starts && self.inflate.is_some()))
        });
        let Some(frame) = frame else {
            self.place = START;
            self.lose(dir, Note::BadFraming, out);
            return raw(dir, head, out);
        };
        if frame.opcode.is_control() {
            self.place = Place::Control(frame, head.len(), Vec::new());
        } else {
            if frame.opcode != Opcode::Continuation {
                let name = if frame.opcode == Opcode::Text { "WebSocket text" } else { "WebSocket binary" };
                out(lane(dir), Part::Start(Head::of(Kind::Other(name))));
                self.message = Some(Message { compressed: frame.compressed, ..Message::default() });
                if let (true, Some(inflate)) = (frame.compressed, &mut self.inflate) {
                    inflate.begin();
                }
            }
            if let Some(message) = &mut self.message {
                message.wire += head.len() as u64;
            }
            self.place = Place::Data(frame);
        }
        self.frame_done(dir, out);
    }

    /// Ends the frame, and the message, if nothing of it is left.
    fn frame_done(&mut self, dir: Direction, out: &mut Out<'_>) {
        match &self.place {
            Place::Data(Frame { left: 0, last, .. }) => {
                if let Some(message) = self.message.take_if(|_| *last) {
                    message.end(dir, self.inflate.as_deref_mut(), out);
                }
            }
            Place::Control(frame @ Frame { left: 0, .. }, head, payload) => {
                control(dir, frame.opcode, (head + payload.len()) as u64, payload, out);
            }
            _ => return,
        }
        self.place = START;
    }

    /// Out of step, for good: nothing marks the start of a frame.
    fn lose(&mut self, dir: Direction, note: Note, out: &mut Out<'_>) {
        if let Some(mut message) = self.message.take() {
            message.notes.add(note);
            message.end(dir, None, out);
        }
        match std::mem::replace(&mut self.place, Place::Lost) {
            Place::Head(head, have) => raw(dir, &head[..have], out),
            Place::Control(_, head, payload) => {
                out(lane(dir), Part::Framing(head as u64));
                raw(dir, &payload, out);
            }
            Place::Data(_) | Place::Lost => {}
        }
    }
}

impl Message {
    fn data(&mut self, dir: Direction, piece: &[u8], inflate: Option<&mut Inflate>, out: &mut Out<'_>) {
        self.wire += piece.len() as u64;
        let mut body = |bytes: &[u8]| {
            self.decoded += bytes.len() as u64;
            out(lane(dir), Part::Body(bytes));
        };
        let left = match inflate {
            Some(inflate) if self.compressed => inflate.push(piece, &mut self.notes, &mut body),
            _ => {
                if !piece.is_empty() {
                    body(piece);
                }
                0
            }
        };
        self.undecoded += left as u64;
        if left > 0 && !self.notes.contains(Note::Capped) {
            out(lane(dir), Part::Undecoded(&piece[piece.len() - left..]));
        }
    }

    fn end(mut self, dir: Direction, inflate: Option<&mut Inflate>, out: &mut Out<'_>) {
        if let (true, Some(inflate)) = (self.compressed, inflate) {
            inflate.end(&mut self.notes, &mut |bytes| {
                self.decoded += bytes.len() as u64;
                out(lane(dir), Part::Body(bytes));
            });
        }
        let broken =
            [Note::Gap, Note::Truncated, Note::BadFraming].iter().any(|&note| self.notes.contains(note));
        if self.undecoded > 0 && !self.notes.contains(Note::Capped) {
            self.notes.add(Note::BadCoding);
        }
        let Self { wire, decoded, undecoded, notes, .. } = self;
        out(
            lane(dir),
            Part::End(End { wire, decoded, undecoded, complete: !broken, notes, ..End::default() }),
        );
    }
}

/// Shows a control frame. A close frame has a number and a reason.
fn control(dir: Direction, opcode: Opcode, wire: u64, payload: &[u8], out: &mut Out<'_>) {
    let (name, text) = match (opcode, payload.split_first_chunk()) {
        (Opcode::Close, Some((code, reason))) => {
            let code = u16::from_be_bytes(*code).to_string();
            let space: &[u8] = if reason.is_empty() { b"" } else { b" " };
            ("WebSocket close", [code.as_bytes(), space, reason].concat())
        }
        (Opcode::Close, None) => ("WebSocket close", payload.to_vec()),
        (Opcode::Ping, _) => ("WebSocket ping", payload.to_vec()),
        _ => ("WebSocket pong", payload.to_vec()),
    };
    out(lane(dir), Part::Whole(Whole { name, text: &text, wire, exchange: None, notes: Notes::default() }));
}
