//! What is left out and what is hidden, before any sink sees it.

mod redaction;
mod selection;

pub use redaction::Redaction;
pub use selection::{Facts, Only, Selection, Statuses, glob};

/// Both. Without options, neither does anything.
#[derive(Debug, Default)]
pub struct Filter {
    /// Which messages are shown.
    pub selection: Selection,
    /// What is hidden in them.
    pub redaction: Option<Redaction>,
}

impl Filter {
    /// Whether messages must not be shown in an order or a cut of their own: what is known of a head, and where
    /// secrets are, shows only in whole ones.
    pub fn is_active(&self) -> bool {
        self.redaction.is_some() || self.selection.is_active()
    }
}
