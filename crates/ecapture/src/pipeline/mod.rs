//! Event -> stream -> message -> record, on a thread of its own.

mod account;
mod clock;
mod commands;
mod containers;
mod departed;
mod filtered;
mod keys;
mod lanes;
mod live;
mod message;
mod packets;
mod plaintext;
mod stream;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustc_hash::FxHashMap;

use crate::bpf::{Block, Body, Data, Event, Interface, Source, events, lend};
use crate::filter::Filter;
use crate::record::Direction;
use crate::sinks::Sinks;
pub use account::Account;
use clock::Clock;
pub use commands::{Commands, Totals};
use containers::Containers;
use departed::Departed;
use filtered::FilteredSinks;
use keys::Keys;
pub use live::{Adjustment, Exchange, Live};
use packets::Packets;
use plaintext::Plaintexts;
use stream::{Piece, Stream};

/// What came of a message is shown when nothing more comes for this long, ns.
const PATIENCE: u64 = 100_000_000;

/// And, while it goes on coming, this often.
const TRICKLE: u64 = 1_000_000_000;

/// Bytes of a stream after which it is weighed again, at the latest when it is quiet.
const UNWEIGHED: usize = 16 << 10;

/// Most bytes that a stream usually takes between messages.
const IDLE: usize = 4 << 10;

/// What all streams take, as of the last time that each was weighed, and may take. In bytes.
struct Memory {
    used: usize,
    limit: usize,
}

impl Memory {
    fn weigh(&mut self, stream: &mut Stream) {
        self.used -= stream.memory;
        stream.weigh();
        self.used += stream.memory;
    }
}

/// The state of every stream.
pub struct Pipeline {
    streams: FxHashMap<u64, Stream>,
    by_process: FxHashMap<u32, Vec<u64>>,
    /// Streams that may hold something, with the time at which to look.
    waiting: VecDeque<(u64, u64)>,
    departed: Departed,
    clock: Clock,
    /// Monotonic ns, as of the last look at the clock.
    now: u64,
    keys: Keys,
    packets: Packets,
    plaintexts: Option<Plaintexts>,
    containers: Containers,
    memory: Memory,
    sinks: FilteredSinks,
    account: Account,
    live: Live,
}

impl Pipeline {
    /// A pipeline that writes to `sinks` what `filter` leaves; streams may take `memory` bytes. `interfaces` describes
    /// each interface before its first packet comes; `with_plaintext`: captures of packets want plaintext, too. `live`
    /// changes what is written while it goes on.
    pub fn new(
        sinks: Sinks,
        filter: Filter,
        memory: usize,
        interfaces: Receiver<Interface>,
        with_plaintext: bool,
        live: Live,
    ) -> Self {
        Self {
            streams: FxHashMap::default(),
            by_process: FxHashMap::default(),
            waiting: VecDeque::new(),
            departed: Departed::default(),
            clock: Clock::new(),
            now: Clock::now(),
            keys: Keys::default(),
            packets: Packets::new(interfaces),
            plaintexts: with_plaintext.then(Plaintexts::default),
            containers: Containers::default(),
            memory: Memory { used: 0, limit: memory },
            sinks: FilteredSinks::new(sinks, filter),
            account: Account::default(),
            live,
        }
    }

    /// Works until no more blocks can come; then ends every stream. `over` names processes that
    /// ended. Used blocks go back through `used`.
    pub fn run(
        mut self,
        blocks: &Receiver<Block>,
        over: &Receiver<u32>,
        used: &Sender<Block>,
    ) -> (Account, Sinks) {
        let tick = Duration::from_nanos(PATIENCE / 4);
        let mut idle = 0;
        loop {
            match blocks.recv_timeout(tick) {
                Ok(block) => {
                    idle = 0;
                    let block = lend(block, used);
                    for record in events(&block) {
                        self.take(record, &block);
                    }
                }
                Err(RecvTimeoutError::Timeout) => idle += 1,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tend();
            self.forget_ended(idle >= 4);
            self.departed.heard(over.try_iter());
            let (account, keys) = (&mut self.account, &self.keys);
            (account.keys, account.left_out) = (keys.lines, self.sinks.left_out);
            self.live.tend(&mut self.sinks, || account.figures(self.streams.len()));
        }
        let all: Vec<u64> = self.streams.keys().copied().collect();
        all.into_iter().for_each(|id| self.end(id, None));
        self.sinks.flush();
        (self.account.keys, self.account.keys_refused) = (self.keys.lines, self.keys.refused);
        self.account.left_out = self.sinks.left_out;
        self.live.finish();
        (self.account, self.sinks.into_sinks())
    }

    fn take(&mut self, record: &[u8], block: &Bytes) {
        let Ok(event) = Event::parse(record) else {
            self.account.malformed += 1;
            return;
        };
        self.departed.saw(event.time);
        match event.body {
            Body::Stream(info) => {
                self.account.processes.insert(info.pid);
                self.account.connections += 1;
                self.by_process.entry(info.pid).or_default().push(event.stream);
                let container = self.containers.of(info.pid);
                let mut stream = Stream::new(event.stream, info, container);
                self.memory.weigh(&mut stream);
                self.streams.insert(event.stream, stream);
            }
            Body::Peer(peer) => {
                if let Some(stream) = self.streams.get_mut(&event.stream) {
                    stream.tie(&peer, &mut self.sinks);
                }
            }
            Body::Data(data) => self.data(event.stream, event.tid, event.time, &data),
            Body::Secret(secret) => {
                if self.keys.take(&secret, &mut self.sinks) {
                    self.note_keys(event.stream, true);
                }
            }
            Body::Object(object) => {
                let seen = self.keys.take_object(&object, &mut self.sinks);
                self.note_keys(event.stream, seen);
            }
            Body::Packet(packet) => {
                self.account.packets += 1;
                self.packets.take(&packet, block, self.clock.wall(event.time), &mut self.sinks);
            }
            Body::Close { received, sent } => self.end(event.stream, Some((received, sent))),
        }
    }

    fn data(&mut self, id: u64, tid: u32, time: u64, data: &Data<'_>) {
        self.account.events += 1;
        let stream = self.streams.get_mut(&id);
        let kept;
        let (file_bytes, payload) = match data.source {
            Source::Payload(payload) => (0, payload),
            Source::File(bytes) => (bytes, &[][..]),
            Source::Keep(payload) => {
                if let Some(stream) = stream {
                    stream.keep(data.position, payload);
                }
                return;
            }
            Source::Kept(bytes) => {
                kept =
                    stream.as_ref().and_then(|stream| stream.kept(data.position, bytes)).map(<[u8]>::to_vec);
                // If they did not come, they are a gap before the next ones.
                let Some(kept) = &kept else { return };
                (0, kept.as_slice())
            }
        };
        self.account.bytes += payload.len() as u64;
        let Some(stream) = stream else {
            self.account.orphan_bytes += payload.len() as u64;
            return;
        };
        let piece = Piece {
            tid,
            time: self.clock.wall(time),
            direction: if data.sent { Direction::Sent } else { Direction::Received },
            position: data.position,
            file_bytes,
            payload,
        };
        let lost = stream.push(&piece, &mut self.sinks);
        if stream.unweighed >= UNWEIGHED {
            self.memory.weigh(stream);
        }
        self.account.gaps += u64::from(lost != 0);
        self.account.gap_bytes += lost;
        if let Some(plaintexts) = &mut self.plaintexts {
            plaintexts.take(stream, &piece, lost, &mut self.sinks);
        }
        stream.touched = self.now;
        if stream.listed.is_none() {
            stream.listed = Some(self.now);
            self.waiting.push_back((self.now + PATIENCE, id));
        }
    }

    /// Whether secrets of the stream were seen.
    fn note_keys(&mut self, id: u64, seen: bool) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.keys_not_seen = !seen;
        }
    }

    fn end(&mut self, id: u64, finals: Option<(u64, u64)>) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        self.memory.used -= stream.memory;
        if let Some(plaintexts) = &mut self.plaintexts {
            plaintexts.end(&stream, &mut self.sinks);
        }
        let lost = stream.finish(finals, &mut self.sinks);
        self.account.gaps += u64::from(lost != 0);
        self.account.gap_bytes += lost;
        self.account.messages += stream.messages();
        self.account.keys_not_seen += u64::from(stream.keys_not_seen);
        if let Some(ids) = self.by_process.get_mut(&stream.process().pid) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_process.remove(&stream.process().pid);
            }
        }
    }

    /// What time brings: late messages are shown, sinks flushed.
    fn tend(&mut self) {
        self.now = Clock::now();
        let now = self.now;
        self.clock.refresh(now);
        while let Some((_, id)) = self.waiting.pop_front_if(|(at, _)| *at <= now) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if now - stream.touched >= PATIENCE {
                if let Some(plaintexts) = &mut self.plaintexts {
                    plaintexts.flush(stream, &mut self.sinks);
                }
                stream.flush(&mut self.sinks);
                self.memory.weigh(stream);
                stream.listed = None;
                continue;
            }
            if stream.listed.is_some_and(|since| now - since >= TRICKLE) {
                stream.show(&mut self.sinks);
                stream.listed = Some(now);
            }
            self.waiting.push_back((now + PATIENCE, id));
        }
        if self.memory.used > self.memory.limit {
            self.make_room();
        }
        self.sinks.flush();
    }

    /// Gives up streams until some memory is free, those first that were quiet for longest: what they are in the middle
    /// of, then what is known of those between messages, at last all. With redaction all at once: what follows could be
    /// the rest of a secret, so it is counted and not shown.
    fn make_room(&mut self) {
        let enough = self.memory.limit / 4 * 3;
        let redacts = self.sinks.filter().redaction.is_some();
        let mut by_age: Vec<(u64, u64)> =
            self.streams.iter().map(|(id, stream)| (stream.touched, *id)).collect();
        by_age.sort_unstable();
        for least in [IDLE, size_of::<Stream>(), 0] {
            for (_, id) in &by_age {
                if self.memory.used <= enough {
                    return;
                }
                let stream = self.streams.get_mut(id).filter(|stream| stream.memory > least);
                let Some(stream) = stream else { continue };
                self.account.given_up += 1;
                if redacts || least == 0 {
                    self.end(*id, None);
                } else {
                    stream.give_up(&mut self.sinks);
                    self.memory.weigh(stream);
                }
            }
        }
    }

    /// Ends the streams of processes of which nothing more can come.
    fn forget_ended(&mut self, is_idle: bool) {
        for pid in self.departed.gone(is_idle) {
            self.containers.forget(pid);
            for id in self.by_process.remove(&pid).unwrap_or_default() {
                self.end(id, None);
            }
        }
    }
}
