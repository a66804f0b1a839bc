//! Follows calls on foreign stacks, in the processes that make them.

use std::collections::hash_map::Entry;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use anyhow::Result;

use super::discovery::{Attached, Discovery};
use crate::bpf::{ForeignSite, Place};
use crate::probes;

/// Most places of one process from which calls are followed: each is looked at once, and may take a probe of its own.
const MOST_SITES: u32 = 1024;

impl Discovery {
    /// Becomes readable when a process makes such calls; `None` where the kernel can not tell.
    pub fn foreign_calls(&self) -> Option<BorrowedFd<'_>> {
        self.programs.foreign_calls()
    }

    /// Follows the calls that were first made since the last time.
    ///
    /// # Errors
    /// The kernel does not tell which.
    pub fn follow_foreign(&mut self) -> Result<()> {
        for site in self.programs.foreign_sites()? {
            if let Err(reason) = self.follow(site)
                && !mem::replace(&mut self.warned_of_foreign, true)
            {
                tracing::warn!("process {} {reason}; such calls are counted, not captured", site.pid);
            }
        }
        Ok(())
    }

    /// A process ended.
    pub fn forget(&mut self, pid: u32) {
        if self.foreign_sites.remove(&pid).is_none() {
            return;
        }
        for attached in self.attached.values_mut() {
            attached.returns.retain(|(owner, _), _| *owner != pid);
        }
        self.programs.forget_foreign(pid);
    }

    /// Answers what the process does that can not be followed, and why.
    fn follow(&mut self, site: ForeignSite) -> Result<(), String> {
        let sites = self.foreign_sites.entry(site.pid).or_default();
        *sites = sites.saturating_add(1);
        if *sites > MOST_SITES {
            return Err(format!(
                "calls on stacks that are not its threads' own from more than {MOST_SITES} places"
            ));
        }
        let found = self.attached.values_mut().find_map(|attached| {
            let hook = attached.probes.iter().find_map(|probes| probes.hook(site.hook))?.clone();
            Some((attached, hook))
        });
        let Some((Attached { file, returns: links, .. }, hook)) = found else { return Ok(()) }; // the file has changed
        let calls = format!("calls {} on a stack that is not its thread's own", hook.function);
        let Some(returns) = probes::returns(file, &hook, site.to) else {
            if hook.place == Place::New {
                return Ok(()); // only the end of an object that was not freed is not seen
            }
            return Err(format!("{calls}, and it is not clear where it returns"));
        };
        let refused = |error| format!("{calls}: {error:#}");
        let entry = links.entry((site.pid, returns.first()));
        let is_new = matches!(entry, Entry::Vacant(_));
        if let Entry::Vacant(free) = entry {
            let exact = format!("/proc/self/fd/{}", file.as_raw_fd());
            let link = self.programs.attach_returns(Path::new(&exact), hook.place, &returns, site.pid);
            free.insert(link.map_err(refused)?);
        }
        self.programs.follow_foreign(site).map_err(refused)?;
        if is_new {
            tracing::info!("process {} {calls}: followed, which costs it 20 µs a call", site.pid);
        }
        Ok(())
    }
}
