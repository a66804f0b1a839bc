//! In which containers processes run.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::targets;

/// Processes that are remembered.
const MOST: usize = 4096;

/// Containers of processes, each looked up once.
#[derive(Debug, Default)]
pub struct Containers {
    known: FxHashMap<u32, Option<Arc<str>>>,
}

impl Containers {
    /// The container of a process.
    pub fn of(&mut self, pid: u32) -> Option<Arc<str>> {
        if self.known.len() == MOST {
            self.known.clear();
        }
        self.known.entry(pid).or_insert_with(|| targets::container(pid)).clone()
    }

    /// Forgets a process that is over.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }
}
