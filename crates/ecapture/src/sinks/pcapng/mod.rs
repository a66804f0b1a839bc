//! Packets and the secrets that decrypt them, in one pcapng file for Wireshark.
//!
//! Wireshark reads a file from front to back, so secrets must come before the packets that need them. But they are
//! known only after the first of these packets have passed: packets are held back for a moment.

mod blocks;
mod rotation;

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::direct::Direct;
use super::{Sink, keylog};
use crate::escape;
use crate::record::{Flow, Interface, Packet, Record, Secret, Traffic};
use blocks::Description;
use rotation::Files;
pub use rotation::{PcapTarget, Rotation};

/// How long packets are held back. A library has its secrets within the time of a few signatures.
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
    scratch: Vec<u8>,
}

/// A packet that waits.
struct Held {
    until: Instant,
    interface: Arc<Interface>,
    about: Description,
    segments: u32,
    flow: Option<Flow>,
    /// Process id, and the comment that names the process.
    process: Option<(u32, String)>,
    bytes: Vec<u8>,
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
            held: VecDeque::new(),
            held_bytes: 0,
            most_held,
            interfaces: Vec::new(),
            commented: HashSet::new(),
            explained: false,
            scratch: Vec::new(),
        };
        blocks::section(&mut capture.scratch);
        capture.put()?;
        capture.output.flush()?;
        Ok(capture)
    }

    /// Writes the blocks of the scratch buffer.
    fn put(&mut self) -> io::Result<()> {
        self.files.grow(self.scratch.len());
        self.output.write_all(&self.scratch)?;
        self.scratch.clear();
        Ok(())
    }

    fn put_keys(&mut self) -> io::Result<()> {
        if self.new_keys.is_empty() {
            return Ok(());
        }
        blocks::secrets(&mut self.scratch, &self.new_keys);
        if self.files.are_many() {
            self.old_keys.extend(&self.new_keys);
            while self.old_keys.len() > REPEATED {
                let line = self.old_keys.iter().position(|byte| *byte == b'\n');
                self.old_keys.drain(..line.map_or(self.old_keys.len(), |end| end + 1));
            }
        }
        self.new_keys.clear();
        self.put()
    }

    fn put_packet(&mut self, packet: &Held) -> io::Result<()> {
        if self.files.is_over() {
            self.begin_next()?;
        }
        let interface = self.interface(&packet.interface);
        let comments = self.comments_of(packet);
        blocks::packet(&mut self.scratch, interface, packet.about, &packet.bytes, &comments);
        self.put()
    }

    fn begin_next(&mut self) -> io::Result<()> {
        self.output.flush()?;
        self.output = self.files.next()?;
        self.interfaces.clear();
        self.commented.clear();
        self.explained = false;
        blocks::section(&mut self.scratch);
        if !self.old_keys.is_empty() {
            blocks::secrets(&mut self.scratch, self.old_keys.make_contiguous());
        }
        self.put()
    }

    /// The number of an interface in the file.
    fn interface(&mut self, interface: &Arc<Interface>) -> u32 {
        let known = self.interfaces.iter().position(|known| Arc::ptr_eq(known, interface));
        let number = known.unwrap_or_else(|| {
            blocks::interface(&mut self.scratch, interface, self.snaplen, &self.filter);
            self.interfaces.push(Arc::clone(interface));
            self.interfaces.len() - 1
        });
        number as u32
    }

    fn comments_of(&mut self, packet: &Held) -> Vec<String> {
        let mut comments = Vec::new();
        if let Some((pid, comment)) = &packet.process {
            if self.commented.len() >= MOST_COMMENTED {
                self.commented.clear();
            }
            let is_first = packet.flow.is_none_or(|flow| self.commented.insert((flow, *pid)));
            if is_first || self.comments == Comments::Each {
                comments.push(comment.clone());
            }
        }
        if packet.segments > 1 && !mem::replace(&mut self.explained, true) {
            comments.push(format!(
                "{} packets of the wire, which the kernel handles as one (GRO, GSO), as others in this file",
                packet.segments
            ));
        }
        comments
    }

    /// Writes packets that have waited; all of them if `is_end`.
    fn release(&mut self, is_end: bool) -> io::Result<()> {
        self.put_keys()?;
        let now = Instant::now();
        while let Some(packet) =
            self.held.pop_front_if(|packet| is_end || packet.until <= now || self.held_bytes > self.most_held)
        {
            self.held_bytes -= packet.bytes.len();
            self.put_packet(&packet)?;
        }
        self.output.flush()
    }
}

impl Sink for Pcapng {
    fn write(&mut self, _record: &Record<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        keylog::write_line(&mut self.new_keys, secret)
    }

    fn write_packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.held_bytes += packet.bytes.len();
        self.held.push_back(Held {
            until: Instant::now() + HOLD,
            interface: Arc::clone(packet.interface),
            about: packet.into(),
            segments: packet.segments,
            flow: packet.flow,
            process: packet.process.map(|process| {
                let comment =
                    format!("pid={} comm={} uid={}", process.pid, escape::name(&process.comm), process.uid);
                (process.pid, comment)
            }),
            bytes: packet.bytes.to_vec(),
        });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.release(false)
    }

    fn finish(&mut self, traffic: &dyn Fn(u32) -> Traffic) -> io::Result<()> {
        self.release(true)?;
        let now = jiff::Timestamp::now().as_nanosecond() as i64;
        for (number, interface) in self.interfaces.iter().enumerate() {
            blocks::statistics(&mut self.scratch, number as u32, now, traffic(interface.index));
        }
        self.put()?;
        self.output.flush()
    }

    fn name(&self) -> &str {
        self.output.name()
    }
}
