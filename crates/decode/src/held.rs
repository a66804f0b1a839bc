//! Bytes held back until there are enough to judge them.

/// The start of something incomplete: a first line, a head, a trailer section.
#[derive(Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    /// So many of `bytes` have been shown to the user ahead of time.
    shown: usize,
    /// The search for the end can resume here. What it means is up to the searcher.
    scanned: usize,
}

impl Held {
    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn scanned(&self) -> usize {
        self.scanned
    }

    pub fn shown(&self) -> usize {
        self.shown
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is held followed by `more`, cut at `limit`. Nothing is copied when nothing was held.
    /// [`Held::restore`] undoes it.
    pub fn joined<'a>(&'a mut self, more: &'a [u8], limit: usize) -> &'a [u8] {
        let room = limit.saturating_sub(self.bytes.len()).min(more.len());
        if self.bytes.is_empty() {
            return &more[..room];
        }
        self.bytes.extend_from_slice(&more[..room]);
        &self.bytes
    }

    pub fn restore(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Hold `more` as well; the search has come as far as `scanned`.
    pub fn hold(&mut self, more: &[u8], scanned: usize) {
        self.bytes.extend_from_slice(more);
        self.scanned = scanned;
    }

    /// What no user has seen yet.
    pub fn unseen(&self) -> &[u8] {
        &self.bytes[self.shown..]
    }

    /// All of it has been shown now.
    pub fn mark_shown(&mut self) {
        self.shown = self.bytes.len();
    }
}
