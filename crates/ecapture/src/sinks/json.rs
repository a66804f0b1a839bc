//! JSON lines: one object for each record, with the exact bytes.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use super::{Output, Sink, command_json};
use crate::record::{Command, Endpoint, Kind, Record, direction_name};

/// Writes JSON lines.
pub struct Json {
    output: Output,
}

/// The object of a line. Fields that do not apply are left out.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    pid: u32,
    tid: u32,
    uid: u32,
    comm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
    /// Identity of the TLS object within a run.
    conn: u64,
    dir: &'static str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<String>,
    /// Stream of HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    /// The same for a request and its responses on a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<u64>,
    /// From the request to this response.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<u64>,
    /// Bytes of the message in earlier lines.
    offset: u64,
    /// Whether the message ends with this line.
    last: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    /// Bytes that are missing, or that the kernel sent from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The payload when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// The payload in base64 otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_b64: Option<String>,
}

impl Json {
    /// JSON lines to `output`.
    pub fn new(output: Output) -> Self {
        Self { output }
    }
}

fn address(endpoint: &Endpoint) -> Option<String> {
    (*endpoint != Endpoint::Unknown).then(|| endpoint.to_string())
}

impl<'a> Line<'a> {
    fn of(record: &'a Record<'_>) -> Self {
        let bytes = match record.kind {
            Kind::Gap(bytes) | Kind::File(bytes) => Some(bytes),
            Kind::Message(_) | Kind::Data => None,
        };
        let (data, data_b64) = match std::str::from_utf8(record.payload) {
            _ if bytes.is_some() => (None, None),
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(STANDARD.encode(record.payload))),
        };
        Self {
            time: format!("{:.9}", Timestamp::from_nanosecond(record.time.into()).unwrap_or_default()),
            pid: record.thread.process.pid,
            tid: record.thread.tid,
            uid: record.thread.process.uid,
            comm: &record.thread.process.comm,
            fd: record.connection.fd,
            conn: record.connection.id,
            dir: direction_name(record.lane.direction),
            kind: record.kind.to_string(),
            src: address(record.source()),
            dst: address(record.destination()),
            stream: Some(record.lane.stream).filter(|stream| *stream != 0),
            exchange: record.exchange,
            latency_ns: record.latency,
            offset: record.offset,
            last: record.last,
            note: record.note,
            bytes,
            data,
            data_b64,
        }
    }
}

impl Sink for Json {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &Line::of(record))?;
        self.output.write_all(b"\n")
    }

    fn write_command(&mut self, command: &Command<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &command_json::Line::of(command))?;
        self.output.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn name(&self) -> &str {
        self.output.name()
    }
}
