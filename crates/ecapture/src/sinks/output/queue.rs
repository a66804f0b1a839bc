//! What waits for the thread of an output: whole records, bounded by bytes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What happens to records when an output is too slow and its queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The pipeline waits: nothing is lost here, but the kernel's buffer may overflow.
    Wait,
    /// The oldest records are dropped and counted.
    DropOldest,
}

/// Whole records as bytes.
#[derive(Debug, Default)]
pub struct Batch {
    /// One record after another.
    pub bytes: Vec<u8>,
    /// Where each of them ends.
    pub ends: Vec<usize>,
}

/// What became of the records of an output.
#[derive(Debug, Default, Clone, Copy)]
pub struct Delivery {
    /// Records that were written.
    pub records: u64,
    /// Records that were dropped because the output was too slow or away.
    pub dropped: u64,
    /// Their bytes, as written.
    pub dropped_bytes: u64,
    /// Connections that were made after the first.
    pub reconnects: u64,
}

/// Between the pipeline and the thread of one output.
#[derive(Debug)]
pub struct Queue {
    /// Most bytes that wait; a single batch may be longer.
    limit: usize,
    policy: Policy,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// No more batches come; what a network peer does not take until then is given up.
    closed: Option<Instant>,
    /// The thread has written everything, or failed.
    is_done: bool,
    failure: Option<(io::ErrorKind, String)>,
    delivery: Delivery,
}

/// What a thread gets from its queue.
#[derive(Debug)]
pub enum Next {
    /// Records to write.
    Batch(Batch),
    /// Nothing came in time.
    Idle,
    /// Nothing will come any more.
    End,
}

impl Batch {
    /// The records.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

impl Queue {
    /// A queue of at most `limit` bytes.
    pub fn new(limit: usize, policy: Policy) -> Self {
        Self { limit, policy, state: Mutex::default(), changed: Condvar::new() }
    }

    /// What happens when it is full.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records.
    ///
    /// # Errors
    /// Why the output can take no more.
    pub fn push(&self, batch: Batch) -> io::Result<()> {
        let mut state = self.lock();
        let bytes = batch.bytes.len();
        while state.failure.is_none() && state.bytes != 0 && state.bytes + bytes > self.limit {
            match self.policy {
                Policy::Wait => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Policy::DropOldest => {
                    if let Some(oldest) = state.batches.pop_front() {
                        state.bytes -= oldest.bytes.len();
                        state.drop_records(oldest.ends.len(), oldest.bytes.len());
                    }
                }
            }
        }
        state.check()?;
        state.bytes += bytes;
        state.batches.push_back(batch);
        self.changed.notify_all();
        Ok(())
    }

    /// Why the output can take no more, if so.
    pub fn check(&self) -> io::Result<()> {
        self.lock().check()
    }

    /// Waits for records, at most for `patience`.
    pub fn next(&self, patience: Duration) -> Next {
        let state = self.lock();
        let is_waiting = |state: &mut State| state.batches.is_empty() && state.closed.is_none();
        let waited = self.changed.wait_timeout_while(state, patience, is_waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.batches.pop_front() {
            Some(batch) => {
                state.bytes -= batch.bytes.len();
                self.changed.notify_all();
                Next::Batch(batch)
            }
            None if state.closed.is_some() => Next::End,
            None => Next::Idle,
        }
    }

    /// What became of the records so far.
    pub fn delivery(&self) -> Delivery {
        self.lock().delivery
    }

    /// Counts records that were written.
    pub fn count_written(&self, records: usize) {
        self.lock().delivery.records += records as u64;
    }

    /// Counts records that were given up.
    pub fn count_dropped(&self, records: usize, bytes: usize) {
        self.lock().drop_records(records, bytes);
    }

    /// Counts a connection that was made again.
    pub fn count_reconnect(&self) {
        self.lock().delivery.reconnects += 1;
    }

    /// Says that no more records come. A network peer has until `patience` is over to take what waits.
    pub fn close(&self, patience: Duration) {
        self.lock().closed = Some(Instant::now() + patience);
        self.changed.notify_all();
    }

    /// Whether it is time to give up what can not be written.
    pub fn is_given_up(&self) -> bool {
        self.lock().closed.is_some_and(|until| Instant::now() >= until)
    }

    /// Says that the thread is done: all is written, or it failed.
    pub fn finish(&self, result: io::Result<()>) {
        let mut state = self.lock();
        state.is_done = true;
        if let Err(error) = result {
            state.failure.get_or_insert((error.kind(), error.to_string()));
        }
        let left = std::mem::take(&mut state.batches);
        for batch in left {
            state.drop_records(batch.ends.len(), batch.bytes.len());
        }
        state.bytes = 0;
        self.changed.notify_all();
    }

    /// Waits until the thread is done, at most for `patience`; answers what became of the records. What waits
    /// behind a thread that hangs counts as dropped.
    pub fn wait_done(&self, patience: Option<Duration>) -> (Delivery, io::Result<()>) {
        let state = self.lock();
        let is_busy = |state: &mut State| !state.is_done;
        let state = match patience {
            None => self.changed.wait_while(state, is_busy).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout_while(state, patience, is_busy);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let mut delivery = state.delivery;
        for batch in &state.batches {
            delivery.dropped += batch.ends.len() as u64;
            delivery.dropped_bytes += batch.bytes.len() as u64;
        }
        (delivery, state.check())
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    fn drop_records(&mut self, records: usize, bytes: usize) {
        self.delivery.dropped += records as u64;
        self.delivery.dropped_bytes += bytes as u64;
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "written={} dropped={}", self.records, self.dropped)?;
        if self.dropped != 0 {
            write!(f, " dropped_bytes={}", self.dropped_bytes)?;
        }
        if self.reconnects != 0 {
            write!(f, " reconnects={}", self.reconnects)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Batch {
        Batch { bytes: vec![b'x'; bytes], ends: vec![bytes] }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let queue = Queue::new(100, Policy::DropOldest);
        for length in [60, 30, 50] {
            queue.push(batch(length)).expect("nothing failed");
        }
        let Next::Batch(first) = queue.next(Duration::ZERO) else { panic!("a batch waits") };
        assert_eq!(first.bytes.len(), 30);
        let (delivery, _) = queue.wait_done(Some(Duration::ZERO));
        assert_eq!((delivery.dropped, delivery.dropped_bytes), (2, 110), "50 bytes were never taken");
    }

    #[test]
    fn a_full_queue_waits_for_its_thread() {
        let queue = Queue::new(100, Policy::Wait);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut records = 0;
                while let Next::Batch(batch) = queue.next(Duration::from_secs(10)) {
                    records += batch.ends.len();
                }
                records
            });
            for _ in 0..100 {
                queue.push(batch(60)).expect("nothing failed");
            }
            queue.close(Duration::ZERO);
            assert_eq!(writer.join().expect("no panic"), 100);
        });
    }

    #[test]
    fn a_failure_reaches_who_waits() {
        let queue = Queue::new(100, Policy::Wait);
        queue.push(batch(100)).expect("room");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.push(batch(100)));
            queue.finish(Err(io::ErrorKind::StorageFull.into()));
            let error =
                waiting.join().expect("no panic").and_then(|()| queue.check()).expect_err("it failed");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        });
    }
}
