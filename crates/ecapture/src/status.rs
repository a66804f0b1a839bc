//! What is known of a run while it goes on: written by the stages, read by the server. Plain data behind one lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A number that the run counts.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// In lower case, with `_` between words.
    pub name: &'static str,
    /// What is counted, in words.
    pub help: &'static str,
    /// How many.
    pub value: u64,
    /// Whether it may become less.
    pub is_level: bool,
}

/// Something that the kernel part could not hand over.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// Why, in lower case, with `_` between words.
    pub reason: &'static str,
    /// How often.
    pub events: u64,
    /// Their bytes, where these are known.
    pub bytes: u64,
}

/// A file with probes.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// The path by which it was found.
    pub path: String,
    /// What was found in it and hooked, for people; one for each library.
    pub found: Vec<String>,
    /// How many hooks there are.
    pub hooks: usize,
}

/// What became of the records of an output so far.
#[derive(Debug, Clone, Serialize)]
pub struct Delivered {
    /// Its name.
    pub name: String,
    /// Records that were written.
    pub written: u64,
    /// Records that were dropped.
    pub dropped: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

/// What is known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What the pipeline counts.
    pub figures: Vec<Figure>,
    /// The same for each second of the time before.
    pub rates: Vec<(&'static str, f64)>,
    /// What the kernel part lost.
    pub losses: Vec<Loss>,
    /// Files with probes.
    pub targets: Vec<Target>,
    /// Outputs with a queue.
    pub outputs: Vec<Delivered>,
}

/// Where a run writes its status.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    state: Mutex<(Status, Instant)>,
}

impl Board {
    /// How often the stages write, at most.
    pub const PERIOD: Duration = Duration::from_secs(1);

    /// Nothing is known yet.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { began: now, state: Mutex::new((Status::default(), now)) }
    }

    /// How long the run goes on.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was written last.
    pub fn status(&self) -> Status {
        self.lock().0.clone()
    }

    /// The pipeline tells what it has counted.
    pub fn count(&self, figures: Vec<Figure>, outputs: Vec<Delivered>) {
        let mut state = self.lock();
        let now = Instant::now();
        let seconds = now.duration_since(state.1).as_secs_f64();
        let before = &state.0.figures;
        let rates = figures.iter().filter(|figure| !figure.is_level && seconds > 0.0).map(|figure| {
            let old = before.iter().find(|old| old.name == figure.name).map_or(0, |old| old.value);
            (figure.name, figure.value.saturating_sub(old) as f64 / seconds)
        });
        let rates = rates.collect();
        (state.0.rates, state.0.figures, state.0.outputs, state.1) = (rates, figures, outputs, now);
    }

    /// The main thread tells what is hooked, and what the kernel part counted.
    pub fn attach(&self, targets: Vec<Target>, losses: Vec<Loss>) {
        let mut state = self.lock();
        (state.0.targets, state.0.losses) = (targets, losses);
    }

    fn lock(&self) -> MutexGuard<'_, (Status, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
