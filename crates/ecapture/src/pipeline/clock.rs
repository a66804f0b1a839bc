//! The kernel's monotonic time to wall time.

use rustix::time::{ClockId, clock_gettime};

/// How far wall time is ahead of monotonic time; refreshed, because wall time is adjusted.
#[derive(Debug)]
pub struct Clock {
    ahead: i64,
    /// When `ahead` was measured, monotonic ns.
    measured: u64,
}

const REFRESH: u64 = 1_000_000_000;

impl Clock {
    /// Measures.
    pub fn new() -> Self {
        let mut clock = Self { ahead: 0, measured: 0 };
        clock.measure();
        clock
    }

    /// Monotonic ns, now.
    pub fn now() -> u64 {
        nanoseconds(ClockId::Monotonic) as u64
    }

    /// Measures again when it is time.
    pub fn refresh(&mut self, now: u64) {
        if now.saturating_sub(self.measured) > REFRESH {
            self.measure();
        }
    }

    /// Wall time in ns since 1970.
    pub fn wall(&self, monotonic: u64) -> i64 {
        self.ahead.saturating_add_unsigned(monotonic)
    }

    fn measure(&mut self) {
        let monotonic = nanoseconds(ClockId::Monotonic);
        self.ahead = nanoseconds(ClockId::Realtime) - monotonic;
        self.measured = monotonic as u64;
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec as i64
}
