//! A run that is looked at and changed while it goes on.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::filtered::FilteredSinks;
use crate::filter::{Processes, Selection};
use crate::sinks::Sink;
use crate::status::{Board, Delivered, Figure};

/// What is different from now on.
pub struct Adjustment {
    /// Whose messages are shown.
    pub processes: Processes,
    /// Which of them.
    pub selection: Selection,
    /// Text: payloads always as hex dumps.
    pub hex: bool,
    /// Text: most bytes of a message.
    pub limit: Option<u64>,
    /// Another output.
    pub exchange: Option<Exchange>,
    /// Called when all of it holds.
    pub done: Box<dyn FnOnce() + Send>,
}

/// An output that takes the place of another.
pub struct Exchange {
    /// The name of the one that ends.
    pub old: Option<String>,
    /// The one that begins.
    pub new: Option<Box<dyn Sink>>,
}

/// The pipeline's end of what others ask and see of it.
pub struct Live {
    adjustments: Receiver<Adjustment>,
    board: Arc<Board>,
    /// When the board was written to.
    told: Instant,
    /// Outputs that were replaced and still write what they have.
    ending: Vec<JoinHandle<()>>,
}

impl Live {
    /// Takes adjustments, and tells `board` what was counted.
    pub fn new(adjustments: Receiver<Adjustment>, board: Arc<Board>) -> Self {
        Self { adjustments, board, told: Instant::now(), ending: Vec::new() }
    }

    /// What time brings: between two records, everything can be changed.
    pub fn tend(&mut self, sinks: &mut FilteredSinks, figures: impl FnOnce() -> Vec<Figure>) {
        for adjustment in self.adjustments.try_iter() {
            let Adjustment { processes, selection, hex, limit, exchange, done } = adjustment;
            sinks.select(processes, selection);
            sinks.sinks().set_shown(hex, limit);
            let replaced =
                exchange.and_then(|Exchange { old, new }| sinks.sinks().exchange(old.as_deref(), new));
            self.ending.extend(replaced.and_then(end));
            done();
        }
        if self.told.elapsed() < Board::PERIOD {
            return;
        }
        self.told = Instant::now();
        self.ending.retain(|thread| !thread.is_finished());
        let outputs = sinks.sinks().deliveries().map(|(name, delivery)| Delivered {
            name: name.to_owned(),
            written: delivery.records,
            dropped: delivery.dropped,
            dropped_bytes: delivery.dropped_bytes,
        });
        self.board.count(figures(), outputs.collect());
    }

    /// Waits for outputs that were replaced.
    pub fn finish(self) {
        for thread in self.ending {
            let _ = thread.join(); // it says itself what went wrong
        }
    }
}

/// An output may take long to write what it has: a thread waits for it.
fn end(mut sink: Box<dyn Sink>) -> Option<JoinHandle<()>> {
    let wait = move || {
        let (delivery, result) = sink.drain();
        if let Some(delivery) = delivery {
            tracing::info!("output {}: {delivery}", sink.name());
        }
        if let Err(error) = result {
            tracing::warn!("cannot write to {}: {error}", sink.name());
        }
    };
    let started = thread::Builder::new().name("output-end".into()).spawn(wait);
    started.inspect_err(|error| tracing::warn!("an output is cut off: {error}")).ok()
}
