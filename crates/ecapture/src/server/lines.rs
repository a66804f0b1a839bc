//! JSON records as server-sent events: one event for each.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::time::timeout;

use super::CLIENTS;
use super::hub::Hub;
use super::stream::HEARTBEAT;
use crate::record::{Command, Record};
use crate::sinks::{Batch, Delivery, Json, Output, Running, Sink};

/// Makes JSON of records while somebody listens.
pub struct Lines {
    json: Json,
    hub: Arc<Hub>,
}

impl Lines {
    /// JSON for the clients of a hub.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(hub: Arc<Hub>, running: Running) -> io::Result<Self> {
        let clients = Arc::clone(&hub);
        let publish = move |batch: &Batch| {
            clients.publish(&batch.records().map(event).collect::<Vec<_>>());
        };
        Ok(Self { json: Json::new(Output::taker("events", publish, running)?), hub })
    }

    fn is_heard(&self) -> bool {
        self.hub.connected() != 0
    }
}

/// A line has no line ends but the last.
fn event(line: &[u8]) -> Bytes {
    [b"data: ", line, b"\n"].concat().into()
}

impl Sink for Lines {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        if self.is_heard() { self.json.write(record) } else { Ok(()) }
    }

    fn write_command(&mut self, command: &Command<'_>) -> io::Result<()> {
        if self.is_heard() { self.json.write_command(command) } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.json.flush()
    }

    fn drain(&mut self) -> (Option<Delivery>, io::Result<()>) {
        self.json.drain()
    }

    fn delivery(&self) -> Option<Delivery> {
        self.json.delivery()
    }

    fn name(&self) -> &str {
        self.json.name()
    }
}

/// What is captured from now on. A comment shows that the connection is alive.
pub fn answer(hub: &Arc<Hub>) -> Response {
    if hub.connected() >= CLIENTS {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many clients\n").into_response();
    }
    let client = hub.subscribe([Bytes::from_static(b": ecapture\n\n")]);
    let events = unfold(client, |client| async {
        let event = match timeout(HEARTBEAT, client.next()).await {
            Ok(events) => events?.concat().into(),
            Err(_) => Bytes::from_static(b":\n\n"),
        };
        Some((Ok::<_, io::Error>(event), client))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events)).into_response()
}
