//! Calls that processes make on stacks that are not a thread's own: `foreign.h`.
//!
//! Such a call gets no return probe, which could kill the process. Its end is seen by probes at the instructions by
//! which the function returns, or at those to which it returns; for that process only, as each costs it about 20 µs.

use std::cell::RefCell;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, RingBuffer, RingBufferBuilder};

use super::load::map_handle;

/// From where a process calls a hooked function on a foreign stack: `struct foreign_site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForeignSite {
    /// The process.
    pub pid: u32,
    /// Number of the hook, for [`Attachment::hook`](super::Attachment::hook).
    pub hook: u32,
    /// The return address, counted from the probed instruction.
    pub to: i64,
}

impl ForeignSite {
    const SIZE: usize = 16;

    fn parse(record: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = record.first_chunk()?;
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self { pid: word(0), hook: word(4), to: i64::from_ne_bytes(*record[8..].first_chunk()?) })
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.hook.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.to.to_ne_bytes());
        bytes
    }
}

/// What the kernel tells of them, and what it is told.
pub(super) struct Foreign {
    news: MapHandle,
    ring: RingBuffer<'static>,
    heard: Rc<RefCell<Vec<ForeignSite>>>,
    sites: MapHandle,
}

impl Foreign {
    pub(super) fn new(object: &Object) -> Result<Self> {
        let (news, sites) = (map_handle(object, "foreign_news")?, map_handle(object, "foreign_sites")?);
        let heard = Rc::<RefCell<Vec<ForeignSite>>>::default();
        let hearing = Rc::clone(&heard);
        let mut builder = RingBufferBuilder::new();
        builder.add(&news, move |record| {
            hearing.borrow_mut().extend(ForeignSite::parse(record));
            0
        })?;
        let ring = builder.build().context("map the ring buffer of foreign calls")?;
        Ok(Self { news, ring, heard, sites })
    }

    /// Becomes readable when there is news.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// What was heard since the last time.
    pub(super) fn news(&self) -> Result<Vec<ForeignSite>> {
        self.ring.consume().context("read the ring buffer of foreign calls")?;
        Ok(mem::take(&mut self.heard.borrow_mut()))
    }

    /// Calls from there are followed from now on.
    pub(super) fn follow(&self, site: ForeignSite) -> Result<()> {
        Ok(self.sites.update(&site.to_bytes(), &[1], MapFlags::ANY)?)
    }

    /// A process ended: another one may get its id.
    pub(super) fn forget(&self, pid: u32) {
        for key in self.sites.keys().filter(|key| key.starts_with(&pid.to_ne_bytes())) {
            let _ = self.sites.delete(&key); // the kernel may have been faster
        }
    }
}
