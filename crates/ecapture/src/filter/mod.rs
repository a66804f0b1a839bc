//! What is left out and what is hidden, before any sink sees it.

mod redaction;
mod selection;

pub use redaction::Redaction;
pub use selection::{Facts, Only, Selection, Statuses, glob};

use crate::record::Process;

/// All of them. Without options, none does anything.
#[derive(Debug, Default)]
pub struct Filter {
    /// Whose messages are shown, of those that the kernel part captures.
    pub processes: Processes,
    /// Which messages are shown.
    pub selection: Selection,
    /// What is hidden in them.
    pub redaction: Option<Redaction>,
}

/// Whose messages are shown. An empty list does not restrict.
#[derive(Debug, Default)]
pub struct Processes {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Real user ids.
    pub uids: Vec<u32>,
}

impl Processes {
    /// Whether everything is shown.
    pub fn is_all(&self) -> bool {
        self.pids.is_empty() && self.uids.is_empty()
    }

    /// Whether messages of a process are shown.
    pub fn contains(&self, process: &Process) -> bool {
        let has = |list: &[u32], number| list.is_empty() || list.contains(number);
        has(&self.pids, &process.pid) && has(&self.uids, &process.uid)
    }
}

impl Filter {
    /// Whether messages must not be shown in an order or a cut of their own: what is known of a head, and where
    /// secrets are, shows only in whole ones.
    pub fn is_active(&self) -> bool {
        self.redaction.is_some() || self.selection.is_active()
    }
}
