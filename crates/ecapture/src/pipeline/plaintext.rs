//! Plaintext for captures of packets: the bytes of calls, joined to messages, so that each can be read by itself.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use decode::{Direction, Protocol};
use rustc_hash::FxHashMap;

use super::filtered::FilteredSinks;
use super::stream::{Piece, Stream};
use crate::record::{Connection, Endpoint, Flow, Plaintext};

/// Most bytes that are told at once: less than Wireshark's limit for a packet.
const MOST: usize = 128 << 10;

/// What begins a connection of HTTP/2: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Plaintext that was not told yet.
#[derive(Default)]
pub struct Plaintexts {
    streams: FxHashMap<u64, [Side; 2]>,
    /// Which of two ends is told, where both are on this machine: their bytes are the same.
    told: FxHashMap<Flow, SocketAddr>,
    /// Connections that ended, and when.
    over: VecDeque<(Instant, Flow)>,
}

/// How long the end that is told is remembered, as all that the other end said may come later.
const LINGER: Duration = Duration::from_secs(1);

/// One direction.
#[derive(Default)]
struct Side {
    held: Vec<u8>,
    /// When its first byte was moved, ns since 1970.
    since: i64,
    missing: u64,
    /// Something was lost, or does not fit: what follows does not begin with a whole unit.
    out_of_step: bool,
}

impl Plaintexts {
    /// Takes a piece that the stream has taken; `lost` bytes were missing before it.
    pub fn take(&mut self, stream: &Stream, piece: &Piece<'_>, lost: u64, sinks: &mut FilteredSinks) {
        let missing = lost + u64::from(piece.file_bytes);
        if missing != 0 {
            self.flush_one(stream, piece.direction, sinks);
        }
        let side = &mut self.streams.entry(stream.id()).or_default()[piece.direction as usize];
        side.missing += missing;
        side.out_of_step |= missing != 0;
        if side.held.is_empty() {
            side.since = piece.time;
        }
        side.held.extend_from_slice(piece.payload);
        let is_whole = stream.is_between_messages(piece.direction);
        loop {
            let Some(length) = self.side(stream, piece.direction).ready(stream.protocol(), is_whole) else {
                return;
            };
            self.tell(stream, piece.direction, length, sinks);
            self.side(stream, piece.direction).since = piece.time;
        }
    }

    /// Tells what is held: no more came for a while.
    pub fn flush(&mut self, stream: &Stream, sinks: &mut FilteredSinks) {
        for direction in Direction::BOTH {
            // A frame of HTTP/2 waits for its end.
            if stream.protocol() != Some(Protocol::Http2) {
                self.flush_one(stream, direction, sinks);
            }
        }
    }

    /// Tells what is left of a stream that ended.
    pub fn end(&mut self, stream: &Stream, sinks: &mut FilteredSinks) {
        for direction in Direction::BOTH {
            self.flush_one(stream, direction, sinks);
        }
        self.streams.remove(&stream.id());
        self.over.extend(stream.connection().flow().map(|flow| (Instant::now(), flow)));
        while let Some((_, flow)) = self.over.pop_front_if(|(at, _)| at.elapsed() > LINGER) {
            self.told.remove(&flow);
        }
    }

    /// Whether the other end of the connection is told.
    fn is_other_end(&mut self, connection: &Connection) -> bool {
        let (Some(flow), Endpoint::Inet(local)) = (connection.flow(), &connection.local) else {
            return false;
        };
        self.told.entry(flow).or_insert(*local) != local
    }

    fn side(&mut self, stream: &Stream, direction: Direction) -> &mut Side {
        &mut self.streams.entry(stream.id()).or_default()[direction as usize]
    }

    fn flush_one(&mut self, stream: &Stream, direction: Direction, sinks: &mut FilteredSinks) {
        let length = self.side(stream, direction).held.len();
        if length != 0 {
            self.tell(stream, direction, length, sinks);
        }
    }

    /// Tells the first bytes that are held.
    fn tell(&mut self, stream: &Stream, direction: Direction, length: usize, sinks: &mut FilteredSinks) {
        let is_other_end = self.is_other_end(stream.connection());
        let side = self.side(stream, direction);
        let rest = side.held.split_off(length);
        let bytes = mem::replace(&mut side.held, rest);
        let protocol = stream.protocol();
        let is_cut = protocol == Some(Protocol::Http2) && frames(&bytes) != length;
        side.out_of_step |= is_cut;
        let is_unclear = side.out_of_step && protocol == Some(Protocol::Http2);
        let missing = mem::take(&mut side.missing);
        if is_other_end {
            return;
        }
        sinks.write_plaintext(&Plaintext {
            time: side.since,
            process: stream.process(),
            connection: stream.connection(),
            direction,
            protocol: protocol.filter(|_| !is_unclear),
            missing,
            bytes: &bytes,
        });
    }
}

impl Side {
    /// How many bytes can be told.
    fn ready(&self, protocol: Option<Protocol>, is_whole: bool) -> Option<usize> {
        let held = self.held.len();
        let length = match protocol {
            Some(Protocol::Http2) if !self.out_of_step => frames(&self.held),
            _ if is_whole || self.out_of_step => held.min(MOST),
            _ => 0,
        };
        match length {
            0 => (held >= MOST).then_some(MOST),
            length => Some(length),
        }
    }
}

/// Bytes of the whole frames of HTTP/2 at the start, up to [`MOST`].
fn frames(bytes: &[u8]) -> usize {
    let mut length = if bytes.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    while let Some([a, b, c]) = bytes.get(length..).and_then(|rest| rest.first_chunk()) {
        let next = length + 9 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if next > bytes.len().min(MOST) {
            break;
        }
        length = next;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::{MOST, PREFACE, frames};

    #[test]
    fn only_whole_frames_count() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let data = [&[0, 0, 3, 0, 0, 0, 0, 0, 1][..], b"abc"].concat();
        let all = [PREFACE, &settings, &data].concat();
        for length in 0..=all.len() {
            let expected = match length {
                0..24 => 0,
                24..33 => 24,
                33..45 => 33,
                _ => 45,
            };
            assert_eq!(frames(&all[..length]), expected, "{length}");
        }
        let long = [&[2, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 1 << 17]].concat();
        assert_eq!((frames(&long), long.len() > MOST), (0, true));
    }
}
