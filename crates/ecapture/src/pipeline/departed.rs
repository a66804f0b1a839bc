//! Processes that are over, until everything that they had to say has come out of the ring.

use super::clock::Clock;

/// Those of which more may come.
#[derive(Debug, Default)]
pub struct Departed {
    /// With the time at which we heard of it, monotonic ns.
    ending: Vec<(u64, u32)>,
    /// Latest time of a record: they come in the order in which they were made.
    latest: u64,
}

impl Departed {
    /// A record was made then.
    pub fn saw(&mut self, time: u64) {
        self.latest = self.latest.max(time);
    }

    /// These processes ended.
    pub fn heard(&mut self, pids: impl Iterator<Item = u32>) {
        let now = Clock::now(); // writing records may have taken long
        self.ending.extend(pids.map(|pid| (now, pid)));
    }

    /// Processes of which nothing more can come: a later record was seen, or there is none.
    pub fn gone(&mut self, is_idle: bool) -> Vec<u32> {
        let latest = self.latest;
        self.ending.extract_if(.., |(heard, _)| is_idle || *heard < latest).map(|(_, pid)| pid).collect()
    }
}
