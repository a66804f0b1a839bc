//! Reads the ring buffer: copies records out, in blocks, and does nothing else.

use std::cell::RefCell;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::event::Event;

/// Records, each behind its length.
pub type Block = Vec<u8>;

/// A block whose bytes can be kept without copying them; it goes back to `used` when nobody has any of them.
pub fn lend(block: Block, used: &Sender<Block>) -> Bytes {
    Bytes::from_owner(Lent { block, used: used.clone() })
}

struct Lent {
    block: Block,
    used: Sender<Block>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.used.try_send(mem::take(&mut self.block)); // freed when there are enough
    }
}

/// Bytes of a block; it holds at least one record of any size.
pub const BLOCK: usize = 1 << 20;

/// How long records wait when the kernel does not wake us.
const POLL: Duration = Duration::from_millis(10);

/// The thread that reads.
pub struct Ring {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Ring {
    /// Starts reading. `send` may block; records then wait in the kernel until it is full, where those that are
    /// lost are counted. Used blocks come back through `used`. `is_urgent`: before all others, if permitted.
    /// `ready` runs on the thread, once it needs no more of the kernel than to read.
    ///
    /// # Errors
    /// The ring buffer can not be mapped.
    pub fn start(
        map: MapHandle,
        send: impl Fn(Block) -> bool + Send + 'static,
        used: Receiver<Block>,
        is_urgent: bool,
        ready: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (started, start) = bounded(1);
        let thread = thread::Builder::new().name("ring".into()).spawn(move || {
            let reader = match Reader::new(&map, &send, &used) {
                Ok(reader) => reader,
                Err(error) => {
                    let _ = started.send(Err(error)); // start() waits for it
                    return Ok(());
                }
            };
            if is_urgent {
                run_first();
            }
            ready();
            let _ = started.send(Ok(()));
            reader.run(&stopping)
        })?;
        start.recv().context("the ring thread ended")??;
        Ok(Self { stop, thread })
    }

    /// Reads what is left, then ends.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the ring thread panicked"))?
    }
}

/// The mapped ring and the block that is being filled.
struct Reader<'a> {
    ring: RingBuffer<'a>,
    poll: OwnedFd,
    block: Rc<RefCell<Block>>,
    send: &'a dyn Fn(Block) -> bool,
    used: &'a Receiver<Block>,
}

impl<'a> Reader<'a> {
    fn new(map: &'a MapHandle, send: &'a dyn Fn(Block) -> bool, used: &'a Receiver<Block>) -> Result<Self> {
        // Edge triggered: a level-triggered poll returns at once while any record is unread, and the
        // thread would spin through tiny batches.
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &poll,
            map.as_fd(),
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        )?;
        let block = Rc::new(RefCell::new(fresh(used)));
        let filling = Rc::clone(&block);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(map, move |record| {
                let mut block = filling.borrow_mut();
                let record = &record[..Event::used(record)];
                if block.len() + 4 + record.len() > BLOCK {
                    send(mem::replace(&mut *block, fresh(used)));
                }
                block.extend_from_slice(&(record.len() as u32).to_ne_bytes());
                block.extend_from_slice(record);
                0
            })
            .context("map the ring buffer")?;
        Ok(Self { ring: builder.build().context("map the ring buffer")?, poll, block, send, used })
    }

    fn run(self, stop: &AtomicBool) -> Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: POLL.as_nanos() as _ };
        let mut events = Vec::with_capacity(1);
        loop {
            let stopping = stop.load(Ordering::Acquire);
            self.ring.consume().context("read the ring buffer")?;
            if !self.block.borrow().is_empty() {
                (self.send)(self.block.replace(fresh(self.used)));
            }
            if stopping {
                return Ok(());
            }
            events.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for the ring buffer"),
            }
        }
    }
}

/// Runs this thread as soon as it is woken, whoever has the CPU: it copies for a moment and sleeps again, and an
/// ordinary thread, even with a short slice, waits up to 10 ms for its turn, in which a ring of 8 MiB overflows.
/// Without `CAP_SYS_NICE` more is lost, and counted.
fn run_first() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } != 0 {
        tracing::debug!("the ring thread has no real-time priority: {}", std::io::Error::last_os_error());
    }
}

fn fresh(used: &Receiver<Block>) -> Block {
    used.try_recv().map_or_else(
        |_| Vec::with_capacity(BLOCK),
        |mut block| {
            block.clear();
            block
        },
    )
}

/// Lets this thread wait for its turn like any other, and not interrupt who runs when it has something to do. On a busy
/// machine, who sends at full speed waits for all others after each interruption.
pub fn take_turns() {
    let _ = rustix::process::setpriority_process(None, 0);
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) } != 0 {
        tracing::debug!("a thread for packets may interrupt others: {}", std::io::Error::last_os_error());
    }
}

/// The records of a block.
pub fn events(mut block: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = block.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        block = rest;
        Some(record)
    })
}
