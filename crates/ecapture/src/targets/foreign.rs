//! Follows calls on foreign stacks, in the processes that make them.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use anyhow::Result;

use super::discovery::{Attached, Discovery};
use crate::bpf::{ForeignHook, Place};

impl Discovery {
    /// Becomes readable when a process makes such calls; `None` where the kernel can not tell.
    pub fn foreign_calls(&self) -> Option<BorrowedFd<'_>> {
        self.programs.foreign_calls()
    }

    /// Probes the returns of functions that were called so since the last time.
    ///
    /// # Errors
    /// The kernel does not tell which.
    pub fn follow_foreign(&mut self) -> Result<()> {
        for foreign in self.programs.foreign_hooks()? {
            if let Err(reason) = self.follow(foreign)
                && !std::mem::replace(&mut self.warned_of_foreign, true)
            {
                tracing::warn!(
                    "process {} calls {reason}; such calls are counted, and not captured",
                    foreign.pid
                );
            }
        }
        Ok(())
    }

    /// A process ended.
    pub fn forget(&mut self, pid: u32) {
        for attached in self.attached.values_mut() {
            attached.returns.retain(|foreign, _| {
                if foreign.pid == pid {
                    self.programs.forget_foreign(*foreign);
                }
                foreign.pid != pid
            });
        }
    }

    /// Answers the function's name and why it can not be followed, in words.
    fn follow(&mut self, foreign: ForeignHook) -> Result<(), String> {
        let found = self.attached.values_mut().find_map(|attached| {
            let hook = attached.probes.hook(foreign.hook)?.clone();
            Some((attached, hook))
        });
        let Some((Attached { file, returns, .. }, hook)) = found else { return Ok(()) }; // the file has changed
        if returns.contains_key(&foreign) || hook.returns.is_empty() && hook.place == Place::New {
            return Ok(());
        }
        let called = format!("{} on a stack that is not its thread's own", hook.function);
        if hook.returns.is_empty() {
            return Err(format!("{called}, and it is not clear where it returns"));
        }
        let exact = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = self
            .programs
            .attach_returns(Path::new(&exact), &hook, foreign)
            .map_err(|error| format!("{called}: {error:#}"))?;
        returns.insert(foreign, link);
        tracing::info!("process {} calls {called}: each call takes 20 µs longer", foreign.pid);
        Ok(())
    }
}
