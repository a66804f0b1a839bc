//! The streams of a connection: which message each of them is in, and tunnels.
use std::collections::{BTreeMap, VecDeque};

use super::fields::Section;
use super::frame::{self, Frame};
use super::message::{Connect, Message};
use crate::connection::{Connection, Limits};
use crate::notes::{Note, Notes};
use crate::part::{Direction, Exchange, Head, Kind, Lane, Part, Whole};
use crate::session::{Next, Out, framing};
use crate::websocket::Handshake;

/// Open messages in each direction; when there are more, those of the oldest streams are given up. Servers
/// allow 100 to 250 at once.
const OPEN_MOST: usize = 1024;
/// Bodies that are decoded at once: a decoder keeps a window.
const DECODERS_MOST: usize = 128;
/// Tunnels at once.
const TUNNELS_MOST: usize = 256;
/// Streams that are remembered after a reset, as frames of theirs may be on their way.
const RESET_MOST: usize = 64;

pub(super) struct Streams {
    limits: Limits,
    open: [BTreeMap<u32, Message>; 2],
    /// What goes on in streams after CONNECT.
    tunnels: BTreeMap<u32, Tunnel>,
    reset: VecDeque<u32>,
    decoders: usize,
}

struct Tunnel {
    inside: Connection,
    /// Directions that have ended.
    ended: [bool; 2],
}

impl Streams {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Default::default(),
            tunnels: BTreeMap::new(),
            reset: VecDeque::new(),
            decoders: 0,
        }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        let message = |message: &Message| size_of::<Message>() + message.memory();
        let tunnel = |tunnel: &Tunnel| size_of::<Tunnel>() + tunnel.inside.memory();
        self.open.iter().flat_map(BTreeMap::values).map(message).sum::<usize>()
            + self.tunnels.values().map(tunnel).sum::<usize>()
            + self.reset.capacity() * size_of::<u32>()
    }

    /// A header block: a head, or the trailers of what is open.
    pub fn section(
        &mut self,
        dir: Direction,
        stream: u32,
        mut section: Section,
        ends: bool,
        wire: u64,
        out: &mut Out<'_>,
    ) {
        let lane = Lane { direction: dir, stream };
        if self.tunnels.contains_key(&stream) {
            framing(dir, wire as usize, out);
            if ends {
                self.end(dir, stream, out);
            }
            return;
        }
        if let Some(mut message) = self.take(dir, stream) {
            message.framing(wire);
            return message.end(Some(&section), &mut |part| out(lane, part));
        }
        section.text.extend_from_slice(b"\r\n");
        let kind = section.kind().unwrap_or(Kind::Other("HTTP/2 headers"));
        let number = stream.into();
        let (exchange, interim) = match kind {
            Kind::Request { .. } => (Some(Exchange::Asks(number)), false),
            Kind::Response { status: 100..200, .. } => (Some(Exchange::Interim(number)), true),
            Kind::Response { .. } => (Some(Exchange::Answers(number)), false),
            Kind::Other(_) => (None, false),
        };
        out(
            lane,
            Part::Start(Head {
                raw: &section.text,
                wire,
                exchange,
                length: section.length,
                codings: section.codings,
                ..Head::of(kind)
            }),
        );
        let message = Message::new(&section, self.decoders < DECODERS_MOST, self.limits);
        if interim || ends {
            return message.end(None, &mut |part| out(lane, part));
        }
        self.insert(dir, stream, message, out);
        if matches!(kind, Kind::Response { status: 200..300, .. }) {
            self.tunnel(dir, stream, &section, out);
        }
    }

    /// If this successful response is one to CONNECT, both messages are over and a tunnel begins.
    fn tunnel(&mut self, dir: Direction, stream: u32, response: &Section, out: &mut Out<'_>) {
        let request = self.open[dir.other() as usize].get(&stream);
        let Some(connect) = request.and_then(|request| request.connect) else { return };
        if self.tunnels.len() >= TUNNELS_MOST {
            return;
        }
        for dir in Direction::BOTH {
            self.end(dir, stream, out);
        }
        let next = match connect {
            Connect::Plain => Next::Unknown,
            Connect::WebSocket => {
                Next::WebSocket(Handshake { client: dir.other(), extensions: response.extensions })
            }
        };
        let inside = Connection::inside(next, self.limits);
        self.tunnels.insert(stream, Tunnel { inside, ended: [false; 2] });
    }

    /// A DATA frame begins; its head and length of padding took `head` bytes.
    pub fn data_frame(&mut self, dir: Direction, frame: &Frame, head: usize, out: &mut Out<'_>) {
        let stream = frame.stream;
        if self.tunnels.contains_key(&stream) {
            return framing(dir, head, out);
        }
        self.ensure_open(dir, stream, out);
        if let Some(message) = self.open[dir as usize].get_mut(&stream) {
            message.framing(head as u64);
        }
    }

    /// Content without a head is a message of its own: the head was not seen, or the stream was reset.
    fn ensure_open(&mut self, dir: Direction, stream: u32, out: &mut Out<'_>) {
        if !self.open[dir as usize].contains_key(&stream) {
            let note = if self.reset.contains(&stream) { Note::Reset } else { Note::Headless };
            out(Lane { direction: dir, stream }, Part::Start(Head::of(Kind::Other("HTTP/2 data"))));
            self.insert(dir, stream, Message::headless(note, self.limits), out);
        }
    }

    /// Content of a DATA frame, and padding behind it.
    pub fn data(&mut self, dir: Direction, stream: u32, bytes: &[u8], padding: usize, out: &mut Out<'_>) {
        if let Some(tunnel) = self.tunnels.get_mut(&stream) {
            tunnel.inside.push(dir, bytes, &mut |inner, part| out(Lane { stream, ..inner }, part));
            return framing(dir, padding, out);
        }
        // The other side may have reset the stream in the middle of the frame.
        self.ensure_open(dir, stream, out);
        if let Some(message) = self.open[dir as usize].get_mut(&stream) {
            message.data(bytes, &mut |part| out(Lane { direction: dir, stream }, part));
            message.framing(padding as u64);
        }
    }

    /// Content of a DATA frame is missing.
    pub fn gap(&mut self, dir: Direction, stream: u32, lost: u64, out: &mut Out<'_>) {
        let lane = Lane { direction: dir, stream };
        if let Some(message) = self.open[dir as usize].get_mut(&stream) {
            message.gap(lost, &mut |part| out(lane, part));
        } else if let Some(tunnel) = self.tunnels.get_mut(&stream) {
            tunnel.inside.gap(dir, lost, &mut |inner, part| out(Lane { stream, ..inner }, part));
        } else {
            out(lane, Part::Gap(lost));
        }
    }

    /// The last frame of a direction of a stream is over.
    pub fn end(&mut self, dir: Direction, stream: u32, out: &mut Out<'_>) {
        if let Some(message) = self.take(dir, stream) {
            message.end(None, &mut |part| out(Lane { direction: dir, stream }, part));
        } else if let Some(tunnel) = self.tunnels.get_mut(&stream) {
            tunnel.ended[dir as usize] = true;
            if tunnel.ended == [true; 2] {
                self.close_tunnel(stream, out);
            }
        }
    }

    /// RST_STREAM: neither direction goes on.
    pub fn reset(&mut self, dir: Direction, stream: u32, payload: &[u8], wire: u64, out: &mut Out<'_>) {
        for direction in Direction::BOTH {
            if let Some(message) = self.take(direction, stream) {
                message.cut(Note::Reset, &mut |part| out(Lane { direction, stream }, part));
            }
        }
        self.close_tunnel(stream, out);
        if self.reset.len() == RESET_MOST {
            self.reset.pop_front();
        }
        self.reset.push_back(stream);
        let text = frame::error(payload.try_into().unwrap_or_default());
        let whole = Whole {
            name: "HTTP/2 RST_STREAM",
            text: text.as_bytes(),
            wire,
            exchange: None,
            notes: Notes::default(),
        };
        out(Lane { direction: dir, stream }, Part::Whole(whole));
    }

    /// Everything that is open in a direction ends early, and tunnels in both.
    pub fn cut(&mut self, dir: Direction, note: Note, out: &mut Out<'_>) {
        while let Some((&stream, _)) = self.open[dir as usize].first_key_value() {
            if let Some(message) = self.take(dir, stream) {
                message.cut(note, &mut |part| out(Lane { direction: dir, stream }, part));
            }
        }
        while let Some((&stream, _)) = self.tunnels.first_key_value() {
            self.close_tunnel(stream, out);
        }
    }

    fn close_tunnel(&mut self, stream: u32, out: &mut Out<'_>) {
        if let Some(mut tunnel) = self.tunnels.remove(&stream) {
            tunnel.inside.finish(&mut |inner, part| out(Lane { stream, ..inner }, part));
        }
    }

    fn insert(&mut self, dir: Direction, stream: u32, message: Message, out: &mut Out<'_>) {
        let open = &self.open[dir as usize];
        if let (true, Some((&oldest, _))) = (open.len() >= OPEN_MOST, open.first_key_value())
            && let Some(message) = self.take(dir, oldest)
        {
            message.cut(Note::Crowded, &mut |part| out(Lane { direction: dir, stream: oldest }, part));
        }
        self.decoders += usize::from(message.encoded);
        self.open[dir as usize].insert(stream, message);
    }

    fn take(&mut self, dir: Direction, stream: u32) -> Option<Message> {
        let message = self.open[dir as usize].remove(&stream)?;
        self.decoders -= usize::from(message.encoded);
        Some(message)
    }
}
