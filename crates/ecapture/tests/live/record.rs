//! What ecapture wrote: JSON lines.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One line.
#[derive(Debug, Clone)]
pub struct Record(pub Value);

/// Every line of a run.
#[derive(Debug, Clone, Default)]
pub struct Records(pub Vec<Record>);

/// The two ways.
pub const SENT: &str = "sent";
pub const RECEIVED: &str = "received";

/// Parses JSON lines.
pub fn parse(text: &str) -> Records {
    let line = |line| Record(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    Records(text.lines().map(line).collect())
}

impl Record {
    /// A field that is text; empty when it is absent.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// A field that is a number.
    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("no {field}: {}", self.0))
    }

    pub fn has(&self, field: &str) -> bool {
        !self.0[field].is_null()
    }

    pub fn pid(&self) -> u32 {
        self.number("pid") as u32
    }

    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// The payload.
    pub fn data(&self) -> Vec<u8> {
        match (self.0["data"].as_str(), self.0["data_b64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(base64)) => STANDARD.decode(base64).expect("base64"),
            (None, None) => Vec::new(),
            _ => panic!("two payloads: {}", self.0),
        }
    }
}

impl Records {
    /// Those that `accept` accepts.
    pub fn only(&self, accept: impl Fn(&Record) -> bool) -> Self {
        Self(self.0.iter().filter(|record| accept(record)).cloned().collect())
    }

    /// The only one whose data is this text.
    #[track_caller]
    pub fn the_one(&self, text: &str) -> Record {
        let found = self.only(|record| record.text("data") == text);
        assert_eq!(found.0.len(), 1, "{text:?} in {self:?}");
        found.0[0].clone()
    }

    /// Those of a process.
    pub fn of(&self, pid: u32) -> Self {
        self.only(|record| record.pid() == pid)
    }

    /// Those that went one way.
    pub fn way(&self, direction: &str) -> Self {
        self.only(|record| record.text("dir") == direction)
    }

    /// Those of a stream of HTTP/2.
    pub fn stream(&self, stream: u64) -> Self {
        self.only(|record| record.0["stream"] == stream)
    }

    /// Records by connection, in the order in which the connections began.
    pub fn connections(&self) -> Vec<Self> {
        let mut by_id: BTreeMap<u64, Self> = BTreeMap::new();
        for record in &self.0 {
            by_id.entry(record.number("conn")).or_default().0.push(record.clone());
        }
        by_id.into_values().collect()
    }

    /// The only connection.
    #[track_caller]
    pub fn connection(&self) -> Self {
        let mut connections = self.connections();
        assert_eq!(connections.len(), 1, "connections of {self:#?}");
        connections.remove(0)
    }

    /// Everything that was sent and received on one connection, which must have no gap.
    #[track_caller]
    pub fn both_ways(&self) -> (Vec<u8>, Vec<u8>) {
        let one = self.connection();
        (one.way(SENT).bytes(), one.way(RECEIVED).bytes())
    }

    /// Payloads one after another; pieces of a message must follow one another, and nothing may be missing.
    #[track_caller]
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut offset = 0;
        for record in &self.0 {
            assert!(!record.has("bytes"), "a gap: {}", record.0);
            assert_eq!(
                record.number("offset"),
                offset,
                "pieces that do not follow one another: {}",
                record.text("type")
            );
            let data = record.data();
            offset = if record.0["last"] == true { 0 } else { offset + data.len() as u64 };
            all.extend(data);
        }
        all
    }

    /// Whole messages of one way of a connection: type, note and bytes of each.
    #[track_caller]
    pub fn messages(&self) -> Vec<(String, String, Vec<u8>)> {
        let mut messages: Vec<(String, String, Vec<u8>)> = Vec::new();
        for record in &self.0 {
            if record.number("offset") == 0 {
                messages.push((record.kind().to_owned(), String::new(), Vec::new()));
            }
            let message = messages.last_mut().expect("an offset without a beginning");
            message.1.push_str(record.text("note"));
            message.2.extend(record.data());
        }
        messages
    }

    /// A value that is the same in every record.
    #[track_caller]
    pub fn same(&self, field: &str) -> &Value {
        let first = &self.0.first().expect("records").0[field];
        assert!(self.0.iter().all(|record| record.0[field] == *first), "{field} differs: {self:#?}");
        first
    }

    /// Types in order, pieces of a message once.
    pub fn kinds(&self) -> Vec<String> {
        self.messages().into_iter().map(|(kind, ..)| kind).collect()
    }
}
