//! What all clients of a stream get: each record once, shared between them. A client that is too slow is dropped
//! alone; nobody ever waits for one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::Notify;

/// Bytes after which no more records are taken at once.
const AT_ONCE: usize = 64 << 10;

/// The clients of a stream.
#[derive(Debug)]
pub struct Hub {
    /// Most bytes that wait for a client; a single record may be longer.
    limit: usize,
    clients: Mutex<Vec<Arc<Mailbox>>>,
    connected: AtomicUsize,
    dropped: AtomicU64,
}

/// What waits for one client.
#[derive(Debug, Default)]
struct Mailbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
    is_over: bool,
    is_cut: bool,
}

/// One client's end; it leaves when this is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// No clients yet. At most `limit` bytes wait for each.
    pub fn new(limit: usize) -> Self {
        Self { limit, clients: Mutex::default(), connected: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    /// How many clients there are.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// How many clients were dropped because they were too slow, or took nothing.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds a client that first gets `before`.
    pub fn subscribe(self: &Arc<Self>, before: impl IntoIterator<Item = Bytes>) -> Subscription {
        let records: VecDeque<Bytes> = before.into_iter().collect();
        let bytes = records.iter().map(Bytes::len).sum();
        let waiting = Mutex::new(Waiting { records, bytes, ..Waiting::default() });
        let mailbox = Arc::new(Mailbox { waiting, changed: Notify::new() });
        lock(&self.clients).push(Arc::clone(&mailbox));
        self.connected.fetch_add(1, Ordering::Relaxed);
        Subscription { hub: Arc::clone(self), mailbox }
    }

    /// Gives records to all clients.
    pub fn publish(&self, records: &[Bytes]) {
        lock(&self.clients).retain(|mailbox| {
            let is_in_time = mailbox.put(records, self.limit);
            self.dropped.fetch_add(u64::from(!is_in_time), Ordering::Relaxed);
            is_in_time
        });
    }

    /// Says that no more records come; clients get what waits for them.
    pub fn close(&self) {
        for mailbox in lock(&self.clients).drain(..) {
            lock(&mailbox.waiting).is_over = true;
            mailbox.changed.notify_one();
        }
    }
}

impl Mailbox {
    /// Answers whether there was room.
    fn put(&self, records: &[Bytes], limit: usize) -> bool {
        let mut waiting = lock(&self.waiting);
        let bytes: usize = records.iter().map(Bytes::len).sum();
        if waiting.bytes != 0 && waiting.bytes + bytes > limit {
            *waiting = Waiting { is_over: true, is_cut: true, ..Waiting::default() };
        } else {
            waiting.bytes += bytes;
            waiting.records.extend(records.iter().cloned());
        }
        let is_in_time = !waiting.is_cut;
        drop(waiting);
        self.changed.notify_one();
        is_in_time
    }
}

impl Subscription {
    /// The next records, at least one: as many as are worth one system call. `None` when no more come.
    pub async fn next(&self) -> Option<Vec<Bytes>> {
        loop {
            {
                let mut waiting = lock(&self.mailbox.waiting);
                let (mut records, mut bytes) = (Vec::new(), 0);
                while bytes < AT_ONCE
                    && let Some(record) = waiting.records.pop_front()
                {
                    bytes += record.len();
                    records.push(record);
                }
                waiting.bytes -= bytes;
                if !records.is_empty() {
                    return Some(records);
                }
                if waiting.is_over {
                    return None;
                }
            }
            self.mailbox.changed.notified().await;
        }
    }

    /// Counts the client among those that were dropped: it takes nothing.
    pub fn give_up(&self) {
        if !lock(&self.mailbox.waiting).is_cut {
            self.hub.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Comes to an end when the client was too slow. Not to be waited for together with [`next`](Self::next).
    pub async fn cut(&self) {
        while !lock(&self.mailbox.waiting).is_cut {
            self.mailbox.changed.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.hub.clients).retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        self.hub.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Bytes {
        Bytes::from(format!("{number:010}"))
    }

    #[tokio::test]
    async fn a_slow_client_is_dropped_alone() {
        let hub = Arc::new(Hub::new(100));
        let (slow, fast) = (hub.subscribe([]), hub.subscribe([]));
        for number in 0..1000 {
            hub.publish(&[numbered(number)]);
            assert_eq!(fast.next().await, Some(vec![numbered(number)]));
        }
        slow.cut().await;
        slow.give_up(); // it is counted already
        assert_eq!((slow.next().await, hub.dropped(), hub.connected()), (None, 1, 2));
        drop(slow);
        assert_eq!(hub.connected(), 1);
        hub.close();
        assert_eq!(fast.next().await, None);
    }

    #[tokio::test]
    async fn what_waits_is_delivered_after_the_end() {
        let hub = Arc::new(Hub::new(100));
        let client = hub.subscribe([numbered(0)]);
        hub.publish(&[numbered(1)]);
        hub.close();
        assert_eq!(client.next().await, Some(vec![numbered(0), numbered(1)]));
        assert_eq!(client.next().await, None);
    }

    #[tokio::test]
    async fn one_long_record_finds_room() {
        let hub = Arc::new(Hub::new(5));
        let client = hub.subscribe([]);
        hub.publish(&[numbered(1)]);
        assert_eq!(client.next().await, Some(vec![numbered(1)]));
    }
}
