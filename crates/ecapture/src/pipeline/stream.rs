//! One TLS object: what is known of it and how far each direction has come.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use decode::{Direction, Lane, Limits, Part, Protocol};

use super::FilteredSinks;
use super::lanes::Lanes;
use super::message::{Context, Extent};
use crate::bpf::{Peer, StreamInfo};
use crate::record::{Connection, Endpoint, Process};

/// Address families of `linux/socket.h`.
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// A stream of plaintext in both directions.
pub struct Stream {
    process: Process,
    connection: Connection,
    /// Its socket was told before.
    had_socket: bool,
    decoder: decode::Connection,
    lanes: Lanes,
    /// Position that the next byte of each direction should have.
    expected: [u64; 2],
    /// Bytes that the library keeps, and their position among those sent: how many count is not known yet.
    kept: (u64, Vec<u8>),
    /// Wall time and thread of the last call, for what is shown later.
    last: (i64, u32),
    /// When it was put on the list of streams that may hold something, monotonic ns.
    pub listed: Option<u64>,
    /// When the last plaintext came, monotonic ns.
    pub touched: u64,
    /// Bytes that it took when it was weighed last.
    pub memory: usize,
    /// Bytes of plaintext since then.
    pub unweighed: usize,
    /// It was open before its secrets could be seen, and its object does not have them.
    pub keys_not_seen: bool,
}

/// One call's plaintext, or a chunk of it.
pub struct Piece<'a> {
    /// Thread.
    pub tid: u32,
    /// Wall time of the call, ns.
    pub time: i64,
    /// Which way.
    pub direction: Direction,
    /// Bytes of this direction before it.
    pub position: u64,
    /// Bytes sent from a file, in place of a payload.
    pub file_bytes: u32,
    /// The bytes.
    pub payload: &'a [u8],
}

impl Stream {
    /// A stream of which nothing was seen.
    pub fn new(id: u64, info: StreamInfo, container: Option<Arc<str>>) -> Self {
        Self {
            process: Process { pid: info.pid, uid: info.uid, comm: info.comm, container },
            connection: Connection { id, ..Connection::default() },
            had_socket: false,
            decoder: decode::Connection::new(Limits::default()),
            lanes: Lanes::default(),
            expected: [0; 2],
            kept: (0, Vec::new()),
            last: (0, 0),
            listed: None,
            touched: 0,
            memory: 0,
            unweighed: 0,
            keys_not_seen: false,
        }
    }

    /// Unique within a run.
    pub fn id(&self) -> u64 {
        self.connection.id
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What is known of its socket.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What it speaks, if that is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.decoder.protocol()
    }

    /// Whether the last byte of a direction was the end of a message.
    pub fn is_between_messages(&self, direction: Direction) -> bool {
        self.lanes.is_between_messages(direction) && !self.decoder.holds_back()
    }

    /// Messages that were complete.
    pub fn messages(&self) -> u64 {
        self.lanes.messages
    }

    /// Learns the socket. What came through another one is shown before.
    pub fn tie(&mut self, peer: &Peer, sinks: &mut FilteredSinks) {
        if mem::replace(&mut self.had_socket, true) {
            self.flush(sinks);
        }
        let (local, remote) = endpoints(peer);
        self.connection = Connection { id: self.connection.id, fd: peer.fd, local, remote };
    }

    /// Takes bytes of which the library says later how many count.
    pub fn keep(&mut self, position: u64, bytes: &[u8]) {
        self.kept = (position, bytes.to_vec());
    }

    /// So many of them; `None` if they did not come.
    pub fn kept(&self, position: u64, count: u32) -> Option<&[u8]> {
        self.kept.1.get(..count as usize).filter(|_| self.kept.0 == position)
    }

    /// Takes plaintext; answers how many bytes were missing before it.
    pub fn push(&mut self, piece: &Piece<'_>, sinks: &mut FilteredSinks) -> u64 {
        let Self { process, connection, decoder, lanes, expected, last, .. } = self;
        if !sinks.filter().is_active() {
            let earlier = Context { process, connection, time: last.0, tid: last.1 };
            decoder.keep_order(piece.direction, &mut |lane, part| lanes.accept(&earlier, lane, part, sinks));
        }
        let context = Context { process, connection, tid: piece.tid, time: piece.time };
        let expected = &mut expected[piece.direction as usize];
        let lost = piece.position.saturating_sub(*expected);
        let mut out = |lane: Lane, part: Part<'_>| lanes.accept(&context, lane, part, sinks);
        decoder.gap(piece.direction, lost, &mut out);
        if piece.file_bytes != 0 {
            decoder.gap(piece.direction, piece.file_bytes.into(), &mut |lane, part| match part {
                Part::Gap(bytes) => lanes.accept_file(&context, lane, bytes, sinks),
                part => lanes.accept(&context, lane, part, sinks),
            });
        } else {
            decoder.push(piece.direction, piece.payload, &mut out);
        }
        *expected = piece.position + piece.payload.len() as u64 + u64::from(piece.file_bytes);
        self.last = (piece.time, piece.tid);
        self.unweighed += piece.payload.len();
        lost
    }

    /// Shows the whole parts of unfinished messages.
    pub fn show(&mut self, sinks: &mut FilteredSinks) {
        self.each_part(sinks, Extent::Safe, |_, _| {});
    }

    /// Shows everything, also a head that is not complete: no more came for a while. With a filter it waits, as the
    /// rest of the head may say that it is left out or that a secret began.
    pub fn flush(&mut self, sinks: &mut FilteredSinks) {
        if sinks.filter().is_active() {
            return self.show(sinks);
        }
        self.each_part(sinks, Extent::All, |decoder, out| decoder.flush(out));
    }

    /// Finds out how much memory it takes.
    pub fn weigh(&mut self) {
        let heap = self.decoder.memory() + self.lanes.memory() + self.kept.1.capacity();
        (self.memory, self.unweighed) = (size_of::<Self>() + heap, 0);
    }

    /// Shows everything and forgets what it is in the middle of.
    pub fn give_up(&mut self, sinks: &mut FilteredSinks) {
        self.each_part(sinks, Extent::All, |decoder, out| decoder.give_up(out));
        self.lanes.forget();
    }

    /// The object is gone. Bytes up to the final positions (received, sent) that did not arrive are lost.
    pub fn finish(&mut self, finals: Option<(u64, u64)>, sinks: &mut FilteredSinks) -> u64 {
        let mut lost = [0; 2];
        if let Some((received, sent)) = finals {
            for (direction, end) in [(Direction::Received, received), (Direction::Sent, sent)] {
                lost[direction as usize] = end.saturating_sub(self.expected[direction as usize]);
            }
        }
        self.each_part(sinks, Extent::All, |decoder, out| {
            for direction in Direction::BOTH {
                decoder.gap(direction, lost[direction as usize], out);
            }
            decoder.finish(out);
        });
        lost.iter().sum()
    }

    fn each_part(
        &mut self,
        sinks: &mut FilteredSinks,
        extent: Extent,
        run: impl FnOnce(&mut decode::Connection, &mut dyn FnMut(Lane, Part<'_>)),
    ) {
        let Self { process, connection, decoder, lanes, last, .. } = self;
        let context = Context { process, connection, time: last.0, tid: last.1 };
        run(decoder, &mut |lane, part| lanes.accept(&context, lane, part, sinks));
        lanes.show(&context, extent, sinks);
    }
}

fn endpoints(peer: &Peer) -> (Endpoint, Endpoint) {
    let inet = |address: &[u8; 16], port| {
        let ip = if peer.family == AF_INET {
            IpAddr::from(Ipv4Addr::new(address[0], address[1], address[2], address[3]))
        } else {
            Ipv6Addr::from(*address).to_canonical()
        };
        Endpoint::Inet(SocketAddr::new(ip, port))
    };
    match peer.family {
        AF_INET | AF_INET6 => (inet(&peer.local, peer.local_port), inet(&peer.remote, peer.remote_port)),
        AF_UNIX => {
            let name = unix_name(&peer.path);
            (Endpoint::Unix(name.clone()), Endpoint::Unix(name))
        }
        _ => Default::default(),
    }
}

/// A path ends at its NUL; an abstract name begins with one, shown as `@`.
fn unix_name(path: &[u8]) -> String {
    match path {
        [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name)),
        path => {
            String::from_utf8_lossy(path.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
        }
    }
}
