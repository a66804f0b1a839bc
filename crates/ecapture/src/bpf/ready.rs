//! Keeps the kernel ready to attach at once.
//!
//! Registering a uprobe takes `dup_mmap_sem` for writing (kernel/events/uprobes.c), a per-CPU semaphore whose
//! first writer waits for an RCU grace period: 8 to 20 ms, in which a new program with a library that we have
//! not seen before can have said all it has to say. A writer that comes within a grace period of the last one
//! does not wait (kernel/rcu/sync.c). So a thread registers and removes a probe over and over: at offset 0 of our
//! own file, which is never executed. Removing waits for grace periods of its own, which sets the pace: about
//! 50 rounds in a second, 0.2 % of a CPU.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::features::{link_uprobe, load_empty};

/// The thread that does it; ends when dropped.
pub struct KeepReady {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KeepReady {
    /// Starts, on a kernel with uprobe links. `on_thread` runs on the thread first.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(on_thread: impl FnOnce() + Send + 'static) -> Result<Option<Self>> {
        let (Some(program), Ok(own)) =
            (load_empty(libbpf_sys::BPF_TRACE_UPROBE_MULTI), File::open("/proc/self/exe"))
        else {
            return Ok(None);
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name("ready".into()).spawn(move || {
            on_thread();
            let mut is_warm = false;
            while !stopping.load(Ordering::Relaxed) {
                let Some(took) = round(&program, &own) else { return };
                // Who waits for the semaphore holds up every fork on the machine, until a long one, of a large
                // process, is done. Such machines have better things to do.
                if is_warm && took > LONG {
                    tracing::debug!("a fork took {took:?}: new programs are hooked late for a while");
                    thread::park_timeout(PAUSE);
                    is_warm = false;
                } else {
                    is_warm = true;
                }
            }
        })?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

/// A registration that took so long had to wait for a fork.
const LONG: Duration = Duration::from_millis(2);

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
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // a panic there has been printed
        }
    }
}
