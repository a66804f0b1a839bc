//! The event stream of eCapture: protobuf over WebSocket, one `LogEntry` in each message.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt, stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::CLIENTS;
use super::hub::{Hub, Subscription};
use super::proto::{Event, Heartbeat, Payload};
use crate::record::{Command, Endpoint, Kind, Record, Stage, direction_name};
use crate::sinks::{Delivery, Output, Running, Sink};

/// Lines of the log that a new client gets first, as with eCapture.
const KEPT_LINES: usize = 128;

/// A client may wait this long for a sign of life.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client may take to hear that the stream is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Longest message of a client that is read; all are ignored.
const FROM_CLIENT: usize = 4 << 10;

/// Clients, and what new ones get first.
#[derive(Debug)]
pub struct Stream {
    hub: Arc<Hub>,
    log: Mutex<VecDeque<Bytes>>,
}

impl Stream {
    /// No clients yet. At most `limit` bytes wait for each.
    pub fn new(limit: usize) -> Self {
        Self { hub: Arc::new(Hub::new(limit)), log: Mutex::default() }
    }

    /// Takes a line of the log.
    pub fn log(&self, line: &str) {
        let frame = Bytes::from(Payload::RunLog(line.to_owned()).into_frame());
        let mut kept = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(frame.clone());
        self.hub.publish(&[frame]);
    }

    /// Its clients.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// A new client, which misses no line of the log and gets none twice. A heartbeat follows the old ones.
    fn subscribe(&self) -> Subscription {
        let kept = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.hub.subscribe(kept.iter().cloned().chain([heartbeat(1)]))
    }
}

/// Makes events of records.
pub struct Events {
    stream: Arc<Stream>,
    output: Output,
}

impl Events {
    /// Events for the clients of a stream.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(stream: Arc<Stream>, running: Running) -> io::Result<Self> {
        let clients = Arc::clone(&stream);
        let publish = move |batch: &crate::sinks::Batch| {
            clients.hub.publish(&batch.records().map(Bytes::copy_from_slice).collect::<Vec<_>>());
        };
        Ok(Self { output: Output::taker("event stream", publish, running)?, stream })
    }

    fn send(&mut self, event: impl FnOnce() -> Event) -> io::Result<()> {
        if self.stream.hub.connected() == 0 {
            return Ok(());
        }
        io::Write::write_all(&mut self.output, &Payload::Event(event()).into_frame())?;
        self.output.end_record()
    }
}

impl Sink for Events {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.send(|| of_record(record))
    }

    fn write_command(&mut self, command: &Command<'_>) -> io::Result<()> {
        // Its end has no new text, and events have no field for how it ended.
        if command.stage == Stage::End {
            return Ok(());
        }
        self.send(|| of_command(command))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut self.output)
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

fn of_record(record: &Record<'_>) -> Event {
    let (bytes, payload) = match record.kind {
        Kind::Gap(bytes) | Kind::File(bytes) => (bytes, &[][..]),
        Kind::Message(_) | Kind::Data => (record.payload.len() as u64, record.payload),
    };
    let process = record.thread.process;
    let fd = record.connection.fd.map_or_else(String::new, |fd| fd.to_string());
    let direction = direction_name(record.lane.direction);
    let (from, to) = (record.source(), record.destination());
    let uuid = format!("{}_{}_{}_{fd}_{direction}_{from}-{to}", process.pid, record.thread.tid, process.comm);
    let ((src_ip, src_port), (dst_ip, dst_port)) = (address(from), address(to));
    Event {
        timestamp: record.time,
        uuid,
        src_ip,
        src_port,
        dst_ip,
        dst_port,
        pid: process.pid.into(),
        pname: process.comm.clone(),
        r#type: type_of(record.kind),
        length: u32::try_from(bytes).unwrap_or(u32::MAX),
        payload: payload.to_vec(),
    }
}

fn of_command(command: &Command<'_>) -> Event {
    let process = command.thread.process;
    // What is no connection has the addresses that eCapture gives it, unless a server tells where its client is.
    let client = command.session.and_then(|session| session.client.as_deref()?.parse::<IpAddr>().ok());
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Event {
        timestamp: command.time,
        uuid: format!(
            "{}_{}_{}_{}_{}",
            process.pid, command.thread.tid, process.comm, command.kind, command.id
        ),
        src_ip: client.unwrap_or(here).to_string(),
        src_port: 0,
        dst_ip: here.to_string(),
        dst_port: 0,
        pid: process.pid.into(),
        pname: process.comm.clone(),
        r#type: 0,
        length: u32::try_from(command.text.len()).unwrap_or(u32::MAX),
        payload: command.text.to_vec(),
    }
}

fn address(endpoint: &Endpoint) -> (String, u32) {
    match endpoint {
        Endpoint::Unknown => (String::new(), 0),
        Endpoint::Inet(address) => (address.ip().to_string(), address.port().into()),
        Endpoint::Unix(_) => (endpoint.to_string(), 0),
    }
}

/// Numbers of eCapture.
fn type_of(kind: Kind<'_>) -> u32 {
    let Kind::Message(name) = kind else { return 0 };
    let is_http1 = name.starts_with("HTTP/1");
    match name.rsplit_once(' ').map(|(_, last)| last) {
        _ if name.starts_with("WebSocket") => 5,
        Some("request") if is_http1 => 1,
        Some("response") if is_http1 => 3,
        Some("request") if name.starts_with("HTTP/2") => 2,
        Some("response") if name.starts_with("HTTP/2") => 4,
        _ => 0,
    }
}

/// Every path is the stream.
pub fn router(stream: Arc<Stream>) -> Router {
    Router::new().fallback(upgrade).with_state(stream)
}

/// The server's part of the handshake of RFC 6455, section 4.2.
async fn upgrade(State(stream): State<Arc<Stream>>, request: Request) -> Response {
    let Some(accept) = accept_key(request.method(), request.headers()) else {
        let version = [(SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::UPGRADE_REQUIRED, version, "a WebSocket is expected here\n").into_response();
    };
    if stream.hub.connected() >= CLIENTS {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many clients\n").into_response();
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            serve(upgraded, &stream).await;
        }
    });
    let headers = [
        (CONNECTION, "upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn accept_key(method: &Method, headers: &HeaderMap) -> Option<String> {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let is_wanted = method == Method::GET
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
        && has(SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_wanted)?;
    Some(derive_accept_key(key.as_bytes()))
}

/// Until the client goes, is too slow, breaks the protocol, or the run is over.
async fn serve(upgraded: Upgraded, source: &Stream) {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(FROM_CLIENT))
        .max_frame_size(Some(FROM_CLIENT))
        .read_buffer_size(FROM_CLIENT);
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let client = source.subscribe();
    let mut heartbeats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 1;
    loop {
        let messages = tokio::select! {
            received = socket.next() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue, // pings are answered below us; the rest is ignored
            },
            _ = heartbeats.tick() => {
                count += 1;
                vec![heartbeat(count)]
            }
            records = client.next() => match records {
                Some(records) => records,
                None => break,
            },
        };
        let mut messages = stream::iter(messages.into_iter().map(|message| Ok(Message::Binary(message))));
        tokio::select! {
            sent = socket.send_all(&mut messages) => match sent {
                Ok(()) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut => return client.give_up(),
                Err(_) => return,
            },
            () = client.cut() => return,
        }
    }
    let _ = timeout(GOODBYE, socket.close(None)).await; // the other end may be gone
}

fn heartbeat(count: i64) -> Bytes {
    let timestamp = jiff::Timestamp::now().as_second();
    let message = format!("heartbeat:{count}");
    Payload::Heartbeat(Heartbeat { timestamp, count, message }).into_frame().into()
}
