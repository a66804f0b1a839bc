//! Keeps the kernel ready to attach at once.
//!
//! Registering a uprobe takes `dup_mmap_sem` for writing (kernel/events/uprobes.c), a per-CPU semaphore whose
//! first writer waits for an RCU grace period: 8 to 20 ms, in which a new program with a library that we have
//! not seen before can have said all it has to say. A writer that comes within a grace period of the last one
//! does not wait (kernel/rcu/sync.c). So two threads register and remove a probe over and over: at offset 0 of our
//! own file, which is never executed. Removing waits for grace periods of its own, which sets the pace: about
//! 40 rounds of each in a second, together 0.3 % of a CPU. One thread would leave pauses as long as those periods.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::features::{link_uprobe, load_empty};

/// The threads that do it; they end when it is dropped.
pub struct KeepReady {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How many threads there are.
const THREADS: usize = 2;

impl KeepReady {
    /// Starts, on a kernel with uprobe links. `on_thread` runs on each thread first.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(on_thread: fn()) -> Result<Option<Self>> {
        let (Some(program), Ok(own)) = (
            load_empty(libbpf_sys::BPF_PROG_TYPE_KPROBE, libbpf_sys::BPF_TRACE_UPROBE_MULTI),
            File::open("/proc/self/exe"),
        ) else {
            return Ok(None);
        };
        let probe = Arc::new((program, own));
        let mut ready = Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for _ in 0..THREADS {
            let (probe, stop) = (Arc::clone(&probe), Arc::clone(&ready.stop));
            ready.threads.push(thread::Builder::new().name("ready".into()).spawn(move || {
                on_thread();
                rounds(&probe.0, &probe.1, &stop);
            })?);
        }
        Ok(Some(ready))
    }
}

/// Round after round, until it is time to stop.
fn rounds(program: &OwnedFd, own: &File, stop: &AtomicBool) {
    let mut slow = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(took) = round(program, own) else { return };
        slow = if took > LONG { slow + 1 } else { 0 };
        // Who waits for the semaphore holds up every fork on the machine, until a long one, of a large process, is
        // done. A machine with many of those has better things to do.
        if slow == SLOW_ROUNDS {
            tracing::debug!("forks take {took:?}: new programs are hooked late for a while");
            thread::park_timeout(PAUSE);
            slow = 0;
        }
    }
}

/// A registration that took so long had to wait: for a grace period, or for a fork.
const LONG: Duration = Duration::from_millis(5);

/// So many of them in a row waited for forks.
const SLOW_ROUNDS: u32 = 10;

/// How long the machine is then left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// Attaches and detaches; how long attaching took, `None` if it is not possible.
fn round(program: &OwnedFd, own: &File) -> Option<Duration> {
    let path = format!("/proc/self/fd/{}\0", own.as_raw_fd());
    let Ok(path) = std::ffi::CStr::from_bytes_with_nul(path.as_bytes()) else { return None };
    let start = Instant::now();
    match link_uprobe(program, path, libbpf_sys::BPF_TRACE_UPROBE_MULTI) {
        Ok(link) => {
            let took = start.elapsed();
            drop(link);
            Some(took)
        }
        Err(error) => {
            tracing::debug!("new programs are hooked 10 to 20 ms late: {error}");
            None
        }
    }
}

impl Drop for KeepReady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join(); // a panic there has been printed
        }
    }
}
