//! When processes are really over: a first thread may end while others go on.

use super::procfs;

/// Processes whose first thread has ended.
#[derive(Debug, Default)]
pub struct Endings {
    lingering: Vec<u32>,
}

impl Endings {
    /// The first thread of a process ended.
    pub fn add(&mut self, pid: u32) {
        self.lingering.push(pid);
    }

    /// Whether there is something to look at again.
    pub fn is_empty(&self) -> bool {
        self.lingering.is_empty()
    }

    /// Hands out the processes of which no thread is left.
    pub fn settle(&mut self, mut over: impl FnMut(u32)) {
        self.lingering.retain(|pid| {
            let goes_on = procfs::has_other_threads(*pid);
            if !goes_on {
                over(*pid);
            }
            goes_on
        });
    }
}
