//! JSON lines: one object for each record, with the exact bytes. `docs/events.schema.json` describes them.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use super::{Delivery, Output, Sink, command_json};
use crate::record::{Command, Endpoint, Kind, Record, direction_name};

/// Writes JSON lines.
pub struct Json {
    output: Output,
}

/// Version of the format; it changes when a field is removed or means something else.
pub const VERSION: u32 = 1;

/// The object of a line. Fields that do not apply are left out.
#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    time: String,
    pid: u32,
    tid: u32,
    uid: u32,
    comm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
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
    /// Bytes of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
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
            version: VERSION,
            time: format!("{:.9}", Timestamp::from_nanosecond(record.time.into()).unwrap_or_default()),
            pid: record.thread.process.pid,
            tid: record.thread.tid,
            uid: record.thread.process.uid,
            comm: &record.thread.process.comm,
            container: record.thread.process.container.as_deref(),
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
            length: bytes.is_none().then_some(record.payload.len()),
            data,
            data_b64,
        }
    }
}

impl Sink for Json {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &Line::of(record))?;
        self.output.write_all(b"\n")?;
        self.output.end_record()
    }

    fn write_command(&mut self, command: &Command<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, &command_json::Line::of(command))?;
        self.output.write_all(b"\n")?;
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

    fn name(&self) -> &str {
        self.output.name()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::{Connection, Direction, Lane, Process, Thread};

    const SCHEMA: &str = include_str!("../../../../docs/events.schema.json");

    /// A record with everything or with nothing that may be absent, as a line.
    fn line(is_full: bool, kind: Kind<'_>, payload: &[u8]) -> Value {
        let container = is_full.then(|| "a1".repeat(32).into());
        let process = Process { pid: 1, uid: 0, comm: "a\u{1b}\"b".to_owned(), container };
        let end = Endpoint::Inet(([127, 0, 0, 1], 443).into());
        let ends = if is_full { [end.clone(), end] } else { Default::default() };
        let [local, remote] = ends;
        let connection = Connection { id: 7, fd: is_full.then_some(5), local, remote };
        let record = Record {
            time: 1_700_000_000_000_000_001,
            thread: Thread { tid: 2, process: &process },
            connection: &connection,
            lane: Lane { direction: Direction::Sent, stream: u32::from(is_full) },
            exchange: is_full.then_some(3),
            latency: is_full.then_some(4),
            kind,
            offset: 0,
            last: true,
            note: if is_full { "odd" } else { "" },
            payload,
        };
        serde_json::to_value(Line::of(&record)).expect("JSON")
    }

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&serde_json::from_str(SCHEMA).expect("JSON")).expect("a schema")
    }

    #[test]
    fn lines_are_as_the_schema_says() {
        let validator = validator();
        for is_full in [false, true] {
            for (kind, payload) in [
                (Kind::Message("HTTP/1.1 request"), &b"GET / HTTP/1.1\r\n\r\n"[..]),
                (Kind::Message("HTTP/2 response"), b""),
                (Kind::Data, b"\xff\x00"),
                (Kind::Gap(9), b""),
                (Kind::File(9), b""),
            ] {
                let line = line(is_full, kind, payload);
                assert!(validator.is_valid(&line), "{:?}: {line}", validator.validate(&line));
            }
        }
    }

    /// A field that the schema does not know, or that it misses, is found.
    #[test]
    fn the_schema_refuses_other_lines() {
        let validator = validator();
        let good = line(true, Kind::Data, b"text");
        for field in ["version", "time", "pid", "dir", "length", "data"] {
            let mut bad = good.clone();
            bad.as_object_mut().expect("an object").remove(field);
            assert!(!validator.is_valid(&bad), "without {field}");
        }
        for (field, value) in
            [("new", json!(1)), ("version", json!(2)), ("dir", json!("up")), ("data_b64", json!("AA=="))]
        {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(!validator.is_valid(&bad), "with another {field}");
        }
    }
}
