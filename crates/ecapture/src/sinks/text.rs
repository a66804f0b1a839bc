//! Text in the shape of eCapture: a line that says who, where and what, then the payload.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Delivery, Output, Sink, command_text, hexdump};
use crate::escape;
use crate::record::{Command, Direction, Kind, Process, Record, direction_name};

/// How text looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Payload always as a hex dump; else only when it is binary.
    pub hex: bool,
    /// Most bytes of a message that are shown.
    pub limit: Option<u64>,
    /// Colours.
    pub colour: bool,
}

/// Writes text.
pub struct Text {
    output: Output,
    style: Style,
}

/// ANSI sequences, as eCapture uses them.
const GREEN: &str = "\x1b[32m";
const PURPLE: &str = "\x1b[35m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

impl Text {
    /// Text to `output`.
    pub fn new(output: Output, style: Style) -> Self {
        Self { output, style }
    }

    /// A sequence when colours are wanted.
    fn paint(&self, sequence: &'static str) -> &'static str {
        if self.style.colour { sequence } else { "" }
    }

    fn header(&mut self, record: &Record<'_>) -> io::Result<()> {
        let (address, reset) = (self.paint(YELLOW), self.paint(RESET));
        let colour = self.paint(match record.lane.direction {
            Direction::Received => GREEN,
            Direction::Sent => PURPLE,
        });
        let out = &mut self.output;
        let time = Timestamp::from_nanosecond(record.time.into()).unwrap_or_default();
        let Process { pid, comm, .. } = record.thread.process;
        write!(out, "{time:.9} PID:{pid}, Comm:{}", escape::name(comm))?;
        for (name, endpoint) in [("Src", record.source()), ("Dest", record.destination())] {
            write!(out, ", {name}:{address}{}{reset}", escape::name(&endpoint.to_string()))?;
        }
        write!(out, ", TID:{}, UID:{}", record.thread.tid, record.thread.process.uid)?;
        if let Some(fd) = record.connection.fd {
            write!(out, ", FD:{fd}")?;
        }
        write!(out, ", Dir:{colour}{}{reset}, Type:{}", direction_name(record.lane.direction), record.kind)?;
        if record.lane.stream != 0 {
            write!(out, ", Stream:{}", record.lane.stream)?;
        }
        if let Some(latency) = record.latency {
            write!(out, ", Latency:{}.{:03}ms", latency / 1_000_000, latency / 1000 % 1000)?;
        }
        if record.offset != 0 {
            write!(out, ", Offset:{}", record.offset)?;
        }
        let length = match record.kind {
            Kind::Gap(bytes) | Kind::File(bytes) => bytes,
            _ => record.payload.len() as u64,
        };
        write!(out, ", Length:{length}")?;
        if !record.note.is_empty() {
            write!(out, ", Note:{}", record.note)?;
        }
        out.write_all(b",\n")
    }

    fn payload(&mut self, record: &Record<'_>) -> io::Result<()> {
        let left = self.style.limit.map_or(u64::MAX, |limit| limit.saturating_sub(record.offset));
        let shown = record.payload.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (payload, cut) = record.payload.split_at(shown);
        if self.style.hex || !decode::is_text(payload) {
            hexdump::write(&mut self.output, payload, record.offset)?;
        } else {
            escape::write(&mut self.output, payload)?;
            if payload.last().is_some_and(|last| *last != b'\n') {
                self.output.write_all(b"\n")?;
            }
        }
        if !cut.is_empty() {
            // Of a long message only the first piece is here, and nobody knows yet how long it is.
            match (record.offset, record.last) {
                (0, true) => writeln!(self.output, "... {} more bytes", cut.len())?,
                _ => self.output.write_all(b"... more bytes\n")?,
            }
        }
        Ok(())
    }
}

impl Sink for Text {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        if record.offset != 0 && self.style.limit.is_some_and(|limit| record.offset >= limit) {
            return Ok(());
        }
        self.header(record)?;
        match record.kind {
            Kind::Gap(bytes) => writeln!(self.output, "--- {bytes} bytes were lost here ---"),
            Kind::File(bytes) => {
                writeln!(self.output, "--- {bytes} bytes of a file were sent by the kernel ---")
            }
            Kind::Message(_) | Kind::Data => self.payload(record),
        }?;
        self.output.write_all(b"\n")?;
        self.output.end_record()
    }

    fn write_command(&mut self, command: &Command<'_>) -> io::Result<()> {
        command_text::write(&mut self.output, self.style, command)?;
        self.output.end_record()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn drain(&mut self) -> (Option<Delivery>, io::Result<()>) {
        let (delivery, result) = self.output.finish();
        (Some(delivery), result)
    }

    fn delivery(&self) -> Option<Delivery> {
        Some(self.output.delivery())
    }

    fn set_shown(&mut self, hex: bool, limit: Option<u64>) {
        (self.style.hex, self.style.limit) = (hex, limit);
    }

    fn name(&self) -> &str {
        self.output.name()
    }
}
