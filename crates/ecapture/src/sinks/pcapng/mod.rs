//! Packets and the secrets that decrypt them, in one pcapng file for Wireshark.
//!
//! Wireshark reads a file from front to back, so secrets must come before the packets that need them. But they are
//! known only after the first of these packets have passed: packets of a handshake are held back for a moment, and
//! all that follow them.

mod batch;
mod blocks;
mod exported;
mod handshakes;
mod rotation;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::direct::Direct;
use super::{Sink, keylog};
use crate::escape;
use crate::record::{Flow, Interface, Packet, Plaintext, Process, Record, Secret, Traffic};
use batch::Batch;
use blocks::Description;
use handshakes::Handshakes;
use rotation::Files;
pub use rotation::{PcapTarget, Rotation};

/// How long packets wait for secrets at most. A library has them within the time of a few signatures.
const HOLD: Duration = Duration::from_millis(200);

/// Bytes of key log lines that each further file begins with: those of about 1,000 connections.
const REPEATED: usize = 1 << 20;

/// Connections that are remembered as commented.
const MOST_COMMENTED: usize = 1 << 16;

/// Which packets say whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// The first of each connection.
    Once,
    /// Each.
    Each,
}

/// Writes a capture.
pub struct Pcapng {
    files: Files,
    output: Direct,
    comments: Comments,
    snaplen: u32,
    filter: String,
    /// Lines that are in no file yet.
    new_keys: Vec<u8>,
    /// Lines for the next file.
    old_keys: VecDeque<u8>,
    handshakes: Handshakes,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When they are more, the oldest packets go, secrets or not.
    most_held: usize,
    /// The file's interfaces, in their order.
    interfaces: Vec<Arc<Interface>>,
    /// Connections, with each of their processes, that have a comment in the file. Hashed with a random key: peers
    /// choose the ports.
    commented: HashSet<(Flow, u32)>,
    /// Whether the file explains what a super-frame is.
    explained: bool,
    /// Where plaintext is.
    plaintext: Arc<Interface>,
    batch: Batch,
}

/// A packet that waits.
struct Held {
    /// When it is written in any case.
    until: Instant,
    interface: Arc<Interface>,
    about: Description,
    segments: u32,
    flow: Option<Flow>,
    process: Option<Process>,
    /// Bytes of plaintext before it that were not seen.
    missing: u64,
    bytes: Bytes,
}

impl Pcapng {
    /// A capture with at most `snaplen` bytes of each packet, chosen by `filter`.
    ///
    /// # Errors
    /// The file can not be opened.
    pub fn new(
        target: PcapTarget,
        comments: Comments,
        snaplen: u32,
        filter: String,
        most_held: usize,
    ) -> io::Result<Self> {
        let mut files = Files::new(target);
        let output = files.next()?;
        let mut capture = Self {
            files,
            output,
            comments,
            snaplen,
            filter,
            new_keys: Vec::new(),
            old_keys: VecDeque::new(),
            handshakes: Handshakes::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            most_held,
            interfaces: Vec::new(),
            commented: HashSet::new(),
            explained: false,
            plaintext: Arc::new(exported::interface()),
            batch: Batch::default(),
        };
        blocks::section(&mut capture.batch.text);
        capture.put()?;
        Ok(capture)
    }

    /// Writes the blocks that are ready.
    fn put(&mut self) -> io::Result<()> {
        self.files.grow(self.batch.len());
        self.batch.write_to(&mut self.output)
    }

    fn take_keys(&mut self) {
        if self.new_keys.is_empty() {
            return;
        }
        blocks::secrets(&mut self.batch.text, &self.new_keys);
        if self.files.are_many() {
            self.old_keys.extend(&self.new_keys);
            while self.old_keys.len() > REPEATED {
                let line = self.old_keys.iter().position(|byte| *byte == b'\n');
                self.old_keys.drain(..line.map_or(self.old_keys.len(), |end| end + 1));
            }
        }
        self.new_keys.clear();
    }

    fn put_packet(&mut self, packet: &Held) -> io::Result<()> {
        if self.files.is_over(self.batch.len()) {
            self.begin_next()?;
        }
        let interface = self.interface(&packet.interface);
        let comments = self.comments_of(packet);
        blocks::packet(&mut self.batch, interface, packet.about, &packet.bytes, &comments);
        if self.batch.is_full() { self.put() } else { Ok(()) }
    }

    fn begin_next(&mut self) -> io::Result<()> {
        self.put()?;
        self.output = self.files.next()?;
        self.interfaces.clear();
        self.commented.clear();
        self.explained = false;
        blocks::section(&mut self.batch.text);
        if !self.old_keys.is_empty() {
            blocks::secrets(&mut self.batch.text, self.old_keys.make_contiguous());
        }
        Ok(())
    }

    /// The number of an interface in the file.
    fn interface(&mut self, interface: &Arc<Interface>) -> u32 {
        let known = self.interfaces.iter().position(|known| Arc::ptr_eq(known, interface));
        let number = known.unwrap_or_else(|| {
            blocks::interface(&mut self.batch.text, interface, self.snaplen, &self.filter);
            self.interfaces.push(Arc::clone(interface));
            self.interfaces.len() - 1
        });
        number as u32
    }

    fn comments_of(&mut self, packet: &Held) -> Vec<String> {
        let mut comments = Vec::new();
        if let Some(Process { pid, uid, comm, .. }) = &packet.process {
            if self.commented.len() >= MOST_COMMENTED {
                self.commented.clear();
            }
            let is_first = packet.flow.is_none_or(|flow| self.commented.insert((flow, *pid)));
            if is_first || self.comments == Comments::Each {
                comments.push(format!("pid={pid} comm={} uid={uid}", escape::name(comm)));
            }
        }
        if packet.missing != 0 {
            comments.push(format!("{} bytes before these were not seen", packet.missing));
        }
        if packet.segments > 1 && !mem::replace(&mut self.explained, true) {
            comments.push(format!(
                "{} packets of the wire, which the kernel handles as one (GRO, GSO), as others in this file",
                packet.segments
            ));
        }
        comments
    }

    fn hold(&mut self, packet: Held) {
        self.held_bytes += packet.bytes.len();
        self.held.push_back(packet);
    }

    /// Writes packets that have waited; all of them if `is_end`.
    fn release(&mut self, is_end: bool) -> io::Result<()> {
        self.take_keys();
        let now = Instant::now();
        while let Some(packet) = self.held.pop_front_if(|packet| {
            let is_late = packet.until <= now || self.held_bytes > self.most_held;
            is_end || is_late || !self.handshakes.is_open(packet.flow)
        }) {
            self.held_bytes -= packet.bytes.len();
            self.put_packet(&packet)?;
        }
        self.put()
    }
}

impl Sink for Pcapng {
    fn write(&mut self, _record: &Record<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        self.handshakes.take(secret);
        keylog::write_line(&mut self.new_keys, secret)
    }

    fn write_packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let now = Instant::now();
        let needs_secrets = self.handshakes.concern(packet.flow, &packet.bytes, now);
        self.hold(Held {
            until: if needs_secrets { now + HOLD } else { now },
            interface: Arc::clone(packet.interface),
            about: packet.into(),
            segments: packet.segments,
            flow: packet.flow,
            process: packet.process.cloned(),
            missing: 0,
            bytes: packet.bytes.clone(),
        });
        Ok(())
    }

    fn write_plaintext(&mut self, plaintext: &Plaintext<'_>) -> io::Result<()> {
        let bytes = exported::packet(plaintext);
        let Plaintext { time, direction, missing, process, .. } = *plaintext;
        self.hold(Held {
            until: Instant::now(),
            interface: Arc::clone(&self.plaintext),
            about: Description { time, direction: Some(direction), original: bytes.len() as u32, tag: None },
            segments: 1,
            flow: plaintext.connection.flow(),
            process: Some(process.clone()),
            missing,
            bytes: bytes.into(),
        });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.release(false)
    }

    fn finish(&mut self, traffic: &dyn Fn(u32) -> Traffic) -> io::Result<()> {
        self.release(true)?;
        let now = jiff::Timestamp::now().as_nanosecond() as i64;
        for (number, interface) in (0..).zip(&self.interfaces).filter(|(_, interface)| interface.index != 0) {
            blocks::statistics(&mut self.batch.text, number, now, traffic(interface.index));
        }
        self.put()
    }

    fn name(&self) -> &str {
        self.output.name()
    }
}
