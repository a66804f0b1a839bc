//! What was captured and what was lost, for the summary.

use std::fmt;

use rustc_hash::FxHashSet;

use crate::bpf::{Counter, Counters};
use crate::status::Figure;

/// Totals of a run.
#[derive(Debug, Default)]
pub struct Account {
    /// Whether secrets were captured.
    pub with_keys: bool,
    /// Processes with plaintext or secrets.
    pub processes: FxHashSet<u32>,
    /// TLS objects with plaintext or secrets.
    pub connections: u64,
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Data records of the kernel.
    pub events: u64,
    /// Complete messages of known protocols.
    pub messages: u64,
    /// Gaps in streams.
    pub gaps: u64,
    /// Their bytes.
    pub gap_bytes: u64,
    /// Bytes whose stream is not known, because its announcement was lost.
    pub orphan_bytes: u64,
    /// Records of ours that we could not read: defects.
    pub malformed: u64,
    /// Lines of the key log.
    pub keys: u64,
    /// Connections of which none was had.
    pub keys_not_seen: u64,
    /// Secrets that can not be right.
    pub keys_refused: u64,
    /// Whether packets were captured.
    pub with_packets: bool,
    /// Packets that came here.
    pub packets: u64,
    /// Packets that found the buffer full.
    pub packets_lost: u64,
    /// Messages, raw bytes of one call and gaps that were not selected.
    pub left_out: u64,
    /// Connections that were given up to make room: what they were in the middle of, or all that was known.
    pub given_up: u64,
    /// The kernel's counters at the end.
    pub kernel: Counters,
}

impl Account {
    /// Every byte that went through a hooked call and did not reach a sink.
    pub fn lost_bytes(&self) -> u64 {
        self.kernel_lost_bytes() + self.orphan_bytes
    }

    /// What was counted so far in user space; `open`: TLS objects that are not gone yet.
    pub fn figures(&self, open: usize) -> Vec<Figure> {
        let total = |name, help, value| Figure { name, help, value, is_level: false };
        let level = |name, help, value| Figure { name, help, value, is_level: true };
        vec![
            total("processes", "Processes with plaintext or secrets.", self.processes.len() as u64),
            total("connections", "TLS objects with plaintext or secrets.", self.connections),
            level("open_connections", "TLS objects that are followed now.", open as u64),
            total("messages", "Messages of connections that are over.", self.messages),
            total("events", "Data records of the kernel.", self.events),
            total("bytes", "Bytes of plaintext.", self.bytes),
            total("gaps", "Gaps in streams.", self.gaps),
            total("gap_bytes", "Bytes of gaps in streams.", self.gap_bytes),
            total("orphan_bytes", "Bytes whose stream is not known.", self.orphan_bytes),
            total("malformed", "Records of the kernel part that could not be read.", self.malformed),
            total("keys", "Lines of the key log.", self.keys),
            total("packets", "Packets.", self.packets),
            total("left_out", "Messages, pieces and gaps that were not selected.", self.left_out),
        ]
    }

    fn kernel_lost_bytes(&self) -> u64 {
        [Counter::RingFull, Counter::Unreadable, Counter::TooLong, Counter::NoState]
            .into_iter()
            .map(|counter| self.kernel.get(counter).bytes)
            .sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter| self.kernel.get(counter);
        let (full, unreadable) = (count(Counter::RingFull), count(Counter::Unreadable));
        write!(
            f,
            "processes={} connections={} messages={} events={} bytes={} lost={}",
            self.processes.len(),
            self.connections,
            self.messages,
            self.events,
            self.bytes,
            self.lost_bytes(),
        )?;
        write!(f, " (buffer full: {} events, {} bytes", full.events, full.bytes)?;
        write!(f, "; unreadable memory: {} events, {} bytes", unreadable.events, unreadable.bytes)?;
        write!(f, "; calls too long: {} bytes", count(Counter::TooLong).bytes)?;
        write!(f, "; calls without state: {}", count(Counter::NoState).events)?;
        write!(f, "; calls on foreign stacks: {}", count(Counter::Foreign).events)?;
        write!(f, "; stream not announced: {} bytes; malformed: {})", self.orphan_bytes, self.malformed)?;
        write!(f, " gaps={} gap_bytes={}", self.gaps, self.gap_bytes)?;
        if self.left_out != 0 {
            write!(f, " left_out={}", self.left_out)?;
        }
        if self.given_up != 0 {
            write!(f, " given_up={}", self.given_up)?;
        }
        if self.with_keys {
            write!(f, " keys={} keys_not_seen={}", self.keys, self.keys_not_seen)?;
            write!(f, " keys_refused={} keys_lost={}", self.keys_refused, count(Counter::NoSecret).events)?;
        }
        if self.with_packets {
            write!(f, " packets={} packets_lost={}", self.packets, self.packets_lost)?;
        }
        Ok(())
    }
}
