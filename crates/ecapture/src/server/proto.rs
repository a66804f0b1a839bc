//! `proto/event.proto` in Rust. The tests read what is sent by that file alone.

use prost::{Enumeration, Message, Oneof};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum LogType {
    /// A sign of life.
    Heartbeat = 0,
    /// A line of the log.
    ProcessLog = 1,
    /// A record.
    Event = 2,
}

/// A record.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// ns since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// Connection or command.
    #[prost(string, tag = "2")]
    pub uuid: String,
    /// Empty: not known.
    #[prost(string, tag = "3")]
    pub src_ip: String,
    /// 0: not known.
    #[prost(uint32, tag = "4")]
    pub src_port: u32,
    /// Empty: not known.
    #[prost(string, tag = "5")]
    pub dst_ip: String,
    /// 0: not known.
    #[prost(uint32, tag = "6")]
    pub dst_port: u32,
    /// Process id.
    #[prost(int64, tag = "7")]
    pub pid: i64,
    /// Command name.
    #[prost(string, tag = "8")]
    pub pname: String,
    /// Kind of message, as a number of eCapture.
    #[prost(uint32, tag = "9")]
    pub r#type: u32,
    /// Bytes of the payload, or bytes that are not here.
    #[prost(uint32, tag = "10")]
    pub length: u32,
    /// The bytes.
    #[prost(bytes = "vec", tag = "11")]
    pub payload: Vec<u8>,
}

/// A sign of life.
#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// How many there were on this connection.
    #[prost(int64, tag = "2")]
    pub count: i64,
    /// The same in words.
    #[prost(string, tag = "3")]
    pub message: String,
}

/// One message to a client.
#[derive(Clone, PartialEq, Message)]
pub struct LogEntry {
    /// Which of them it has.
    #[prost(enumeration = "LogType", tag = "1")]
    pub log_type: i32,
    /// What it has.
    #[prost(oneof = "Payload", tags = "2, 3, 4")]
    pub payload: Option<Payload>,
}

/// What a message has.
#[derive(Clone, PartialEq, Oneof)]
pub enum Payload {
    /// A record.
    #[prost(message, tag = "2")]
    Event(Event),
    /// A sign of life.
    #[prost(message, tag = "3")]
    Heartbeat(Heartbeat),
    /// A line of the log.
    #[prost(string, tag = "4")]
    RunLog(String),
}

impl Payload {
    /// The message as bytes of a frame.
    pub fn into_frame(self) -> Vec<u8> {
        let log_type = match self {
            Self::Event(_) => LogType::Event,
            Self::Heartbeat(_) => LogType::Heartbeat,
            Self::RunLog(_) => LogType::ProcessLog,
        };
        LogEntry { log_type: log_type.into(), payload: Some(self) }.encode_to_vec()
    }
}
