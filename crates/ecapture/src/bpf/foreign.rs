//! Functions that processes call on stacks that are not a thread's own: `foreign.h`.
//!
//! Such a call gets no return probe, which could kill the process. Its end is seen by probes at the instructions by
//! which the function returns, for that process only, as each costs it about 20 µs.

use std::cell::RefCell;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, RingBuffer, RingBufferBuilder};

use super::load::map_handle;

/// A hooked function that a process calls on a foreign stack: `struct foreign_hook`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForeignHook {
    /// The process.
    pub pid: u32,
    /// Number of the hook, from [`Attachment::hook`](super::Attachment::hook).
    pub hook: u32,
}

impl ForeignHook {
    fn parse(record: &[u8]) -> Option<Self> {
        let (pid, rest) = record.split_first_chunk()?;
        Some(Self { pid: u32::from_ne_bytes(*pid), hook: u32::from_ne_bytes(*rest.first_chunk()?) })
    }

    fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.hook.to_ne_bytes());
        bytes
    }
}

/// What the kernel tells of them, and what it is told.
pub(super) struct Foreign {
    news: MapHandle,
    ring: RingBuffer<'static>,
    heard: Rc<RefCell<Vec<ForeignHook>>>,
    hooks: MapHandle,
}

impl Foreign {
    pub(super) fn new(object: &Object) -> Result<Self> {
        let (news, hooks) = (map_handle(object, "foreign_news")?, map_handle(object, "foreign_hooks")?);
        let heard = Rc::<RefCell<Vec<ForeignHook>>>::default();
        let hearing = Rc::clone(&heard);
        let mut builder = RingBufferBuilder::new();
        builder.add(&news, move |record| {
            hearing.borrow_mut().extend(ForeignHook::parse(record));
            0
        })?;
        let ring = builder.build().context("map the ring buffer of foreign calls")?;
        Ok(Self { news, ring, heard, hooks })
    }

    /// Becomes readable when there is news.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// What was heard since the last time.
    pub(super) fn news(&self) -> Result<Vec<ForeignHook>> {
        self.ring.consume().context("read the ring buffer of foreign calls")?;
        Ok(mem::take(&mut self.heard.borrow_mut()))
    }

    /// The returns of this function are probed in this process.
    pub(super) fn follow(&self, foreign: ForeignHook) -> Result<()> {
        Ok(self.hooks.update(&foreign.to_bytes(), &[1], MapFlags::ANY)?)
    }

    /// They are not any more: the process ended.
    pub(super) fn forget(&self, foreign: ForeignHook) {
        let _ = self.hooks.delete(&foreign.to_bytes()); // the kernel may have been faster
    }
}
