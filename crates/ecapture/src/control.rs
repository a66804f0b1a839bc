//! What the control API asks, on the main thread: checks it, makes outputs, and hands all of it to the pipeline.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use crossbeam_channel::{Receiver, Sender, bounded};
use libbpf_rs::MapHandle;

use crate::bpf::{Counter, Programs};
use crate::cli::{Destination, Original, Settings, Target};
use crate::pipeline::{Adjustment, Exchange};
use crate::server::{Change, Handles, Refusal};
use crate::sinks::Sink;
use crate::status::{Board, Loss};
use crate::targets::Discovery;

/// Changes that may wait, as in eCapture.
const WAITING: usize = 10;

/// Makes the output of a destination.
type MakeSink = fn(&Destination) -> Result<Box<dyn Sink>>;

/// The main thread's part of the control API.
pub struct Control {
    original: Original,
    changes: Receiver<Change>,
    /// Becomes readable when a change waits.
    wake: UnixStream,
    adjust: Sender<Adjustment>,
    /// Where records go besides standard output or the file in its place.
    second: Option<Destination>,
    make_sink: MakeSink,
    board: Arc<Board>,
    counters: MapHandle,
    told: Option<Instant>,
}

impl Control {
    /// The two ends: ours, and that of the server. `stop` ends the run.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new(
        original: Original,
        second: Option<Destination>,
        make_sink: MakeSink,
        adjust: Sender<Adjustment>,
        (board, counters): (Arc<Board>, MapHandle),
        stop: UnixStream,
    ) -> io::Result<(Self, Handles)> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?; // when it is full, we are awake
        let (sender, changes) = bounded(WAITING);
        let handles = Handles {
            change: Box::new(move |change| {
                let is_taken = sender.try_send(change).is_ok();
                let _ = (&waker).write(b"!");
                is_taken
            }),
            stop: Box::new(move || {
                let _ = (&stop).write_all(b"!"); // the reader is only gone at the end
            }),
            module: original.module,
            board: Arc::clone(&board),
        };
        let told = None;
        Ok((Self { original, changes, wake, adjust, second, make_sink, board, counters, told }, handles))
    }

    /// Becomes readable when something is asked.
    pub fn asked(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Does what was asked, and tells what is hooked and lost.
    pub fn tend(&mut self, discovery: &Discovery) {
        let mut buffer = [0; 64];
        while (&self.wake).read(&mut buffer).is_ok_and(|length| length == buffer.len()) {}
        while let Ok(change) = self.changes.try_recv() {
            self.apply(change);
        }
        if self.told.is_none_or(|told| told.elapsed() >= Board::PERIOD) {
            self.told = Some(Instant::now());
            self.board.attach(discovery.targets(), self.losses());
        }
    }

    fn apply(&mut self, change: Change) {
        let Change { module, body, is_trusted, answer } = change;
        let settings = self.original.lay_over(module, &body, is_trusted);
        let settings =
            settings.and_then(|settings| self.exchange(settings.second.as_ref()).map(|it| (settings, it)));
        match settings {
            Err(refusal) => {
                tracing::info!("not reconfigured: {refusal}");
                answer(Err(refusal));
            }
            Ok((Settings { processes, selection, hex, limit, second }, exchange)) => {
                tracing::info!("reconfigured: {}", serde_json::Value::Object(body));
                self.second = second;
                let done = Box::new(|| answer(Ok(())));
                let adjustment = Adjustment { processes, selection, hex, limit, exchange, done };
                let _ = self.adjust.send(adjustment); // the pipeline outlives this thread's work
            }
        }
    }

    /// Opens the second output, if it is another one than before. A file may be one that we wrote earlier: what it has
    /// stays.
    fn exchange(&self, wanted: Option<&Destination>) -> Result<Option<Exchange>, Refusal> {
        let target = |destination: &Destination| destination.target.clone();
        if wanted.map(target) == self.second.as_ref().map(target) {
            return Ok(None);
        }
        let mut wanted = wanted.cloned();
        if let Some(Destination { target: Target::File { keep, .. }, .. }) = &mut wanted {
            *keep = true;
        }
        let new = wanted.as_ref().map(self.make_sink).transpose();
        let new = new.map_err(|error| Refusal::Invalid(format!("{error:#}")))?;
        Ok(Some(Exchange { old: self.second.as_ref().map(name), new }))
    }

    fn losses(&self) -> Vec<Loss> {
        let Ok(counters) = Programs::read_counters(&self.counters) else { return Vec::new() };
        let reasons = [
            ("buffer_full", Counter::RingFull),
            ("unreadable_memory", Counter::Unreadable),
            ("call_too_long", Counter::TooLong),
            ("no_state", Counter::NoState),
            ("no_secret", Counter::NoSecret),
            ("foreign_stack", Counter::Foreign),
        ];
        let loss = |(reason, counter)| {
            let count = counters.get(counter);
            Loss { reason, events: count.events, bytes: count.bytes }
        };
        reasons.map(loss).to_vec()
    }
}

/// The name that the output of a destination has.
fn name(destination: &Destination) -> String {
    match &destination.target {
        Target::Stdout => "standard output".to_owned(),
        Target::File { path, .. } => path.display().to_string(),
        Target::Network(address) => address.to_string(),
    }
}
