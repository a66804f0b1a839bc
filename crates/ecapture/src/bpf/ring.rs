//! Reads the ring buffer: copies records out, in blocks, and does nothing else.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use crossbeam_channel::Receiver;
use libbpf_rs::{MapHandle, RingBufferBuilder};
use rustix::event::epoll;

use super::event::Event;

/// Records, each behind its length.
pub type Block = Vec<u8>;

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
    /// Starts reading. `blocks` may block; records then wait in the kernel until it is full, where
    /// those that are lost are counted. Used blocks come back through `used`.
    pub fn start(
        map: MapHandle,
        blocks: impl Fn(Block) -> bool + Send + 'static,
        used: Receiver<Block>,
        on_thread: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name("ring".into()).spawn(move || {
            on_thread();
            read(map, &blocks, &used, &stopping)
        })?;
        Ok(Self { stop, thread })
    }

    /// Reads what is left, then ends.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the ring thread panicked"))?
    }
}

fn read(map: MapHandle, send: &dyn Fn(Block) -> bool, used: &Receiver<Block>, stop: &AtomicBool) -> Result<()> {
    // Edge triggered: a level-triggered poll returns at once while any record is unread, and the
    // thread would spin through tiny batches.
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, map.as_fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    let block = Rc::new(RefCell::new(fresh(used)));
    let filling = Rc::clone(&block);
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&map, move |record| {
            let mut block = filling.borrow_mut();
            let record = &record[..Event::used(record)];
            if block.len() + 4 + record.len() > BLOCK {
                send(std::mem::replace(&mut *block, fresh(used)));
            }
            block.extend_from_slice(&(record.len() as u32).to_ne_bytes());
            block.extend_from_slice(record);
            0
        })
        .context("map the ring buffer")?;
    let ring = builder.build().context("map the ring buffer")?;
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: POLL.as_nanos() as _ };
    loop {
        let stopping = stop.load(Ordering::Acquire);
        ring.consume().context("read the ring buffer")?;
        let filled = std::mem::take(&mut *block.borrow_mut());
        if filled.is_empty() {
            *block.borrow_mut() = filled;
        } else {
            send(filled);
            *block.borrow_mut() = fresh(used);
        }
        if stopping {
            return Ok(());
        }
        let mut events = Vec::with_capacity(1);
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the ring buffer"),
        }
    }
}

fn fresh(used: &Receiver<Block>) -> Block {
    used.try_recv().map_or_else(|_| Vec::with_capacity(BLOCK), |mut block| {
        block.clear();
        block
    })
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
