//! Standard output, a file or a peer in the network, each behind a queue and written by a thread of its own.

mod file;
mod network;
mod queue;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

pub use file::FileRotation;
pub use network::Address;
pub use queue::{Batch, Delivery, Policy};

use file::Rotated;
use network::Network;
use queue::{Next, Queue};

/// Bytes that are gathered before they are handed over.
const BATCH: usize = 64 << 10;

/// How often an idle output is looked after.
const TICK: Duration = Duration::from_millis(250);

/// How long a peer in the network may take at the end of a run.
const GRACE: Duration = Duration::from_secs(2);

/// How an output is run.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    /// Most bytes that wait for it.
    pub queue: usize,
    /// What happens when they do not suffice.
    pub policy: Policy,
    /// Called on its thread before anything else.
    pub prepare: fn(),
}

/// An open destination with its name.
#[derive(Debug)]
pub struct Output {
    name: String,
    batch: Batch,
    queue: Arc<Queue>,
    is_terminal: bool,
}

enum Target {
    Stdout,
    File(Rotated),
    Network(Network),
    Taker(Box<dyn FnMut(&Batch) + Send>),
}

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn stdout(running: Running) -> io::Result<Self> {
        let output = Self::start("standard output".to_owned(), Target::Stdout, running)?;
        Ok(Self { is_terminal: io::stdout().is_terminal(), ..output })
    }

    /// A file, readable by its owner only when it is new: it may hold secrets. It is made empty unless `keep`.
    /// Written at its end, so that it can be shared with the log. Opened again after `reopen` was set.
    ///
    /// # Errors
    /// The file can not be opened for writing.
    pub fn file(
        path: &Path,
        keep: bool,
        rotation: FileRotation,
        reopen: Arc<AtomicBool>,
        running: Running,
    ) -> io::Result<Self> {
        let file = Rotated::open(path, keep, rotation, reopen)?;
        Self::start(path.display().to_string(), Target::File(file), running)
    }

    /// A peer in the network. It need not be there yet.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn network(address: Address, running: Running) -> io::Result<Self> {
        Self::start(address.to_string(), Target::Network(Network::new(address)), running)
    }

    /// A part of this program that takes records and must not keep the thread waiting.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn taker(
        name: &str,
        take: impl FnMut(&Batch) + Send + 'static,
        running: Running,
    ) -> io::Result<Self> {
        Self::start(name.to_owned(), Target::Taker(Box::new(take)), running)
    }

    fn start(name: String, target: Target, running: Running) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(running.queue, running.policy));
        let of_thread = Arc::clone(&queue);
        thread::Builder::new().name("output".into()).spawn(move || {
            (running.prepare)();
            let result = run(target, &of_thread);
            of_thread.finish(result);
        })?;
        Ok(Self { name, batch: Batch::default(), queue, is_terminal: false })
    }

    /// Name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of the records so far.
    pub fn delivery(&self) -> Delivery {
        self.queue.delivery()
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Says that what was written so far ends a record.
    ///
    /// # Errors
    /// Earlier records could not be written.
    pub fn end_record(&mut self) -> io::Result<()> {
        self.batch.ends.push(self.batch.bytes.len());
        if self.batch.bytes.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Waits until everything is written; a peer in the network has a short time for that.
    pub fn finish(&mut self) -> (Delivery, io::Result<()>) {
        let _ = self.flush(); // a failure comes with the answer
        self.queue.close(GRACE);
        let is_patient = self.queue.policy() == Policy::Wait;
        self.queue.wait_done((!is_patient).then_some(GRACE + TICK * 2))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.batch.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Hands over all that was written; it ends a record.
    fn flush(&mut self) -> io::Result<()> {
        let length = self.batch.bytes.len();
        if length == 0 {
            return self.queue.check();
        }
        if self.batch.ends.last() != Some(&length) {
            self.batch.ends.push(length);
        }
        self.queue.push(std::mem::take(&mut self.batch))
    }
}

fn run(mut target: Target, queue: &Queue) -> io::Result<()> {
    loop {
        match (queue.next(TICK), &mut target) {
            (Next::Batch(batch), Target::Network(network)) => network.send(&batch, queue),
            (Next::Batch(batch), Target::Stdout) => {
                write_stdout(&batch.bytes)?;
                queue.count_written(batch.ends.len());
            }
            (Next::Batch(batch), Target::File(file)) => {
                file.write(&batch.bytes)?;
                queue.count_written(batch.ends.len());
            }
            (Next::Batch(batch), Target::Taker(take)) => {
                take(&batch);
                queue.count_written(batch.ends.len());
            }
            (Next::Idle, Target::Network(network)) => network.tick(queue),
            (Next::Idle, Target::File(file)) => file.tick()?,
            (Next::Idle, Target::Stdout | Target::Taker(_)) => {}
            (Next::End, target) => {
                match target {
                    Target::File(file) => file.finish(),
                    Target::Network(network) => network.close(),
                    Target::Stdout | Target::Taker(_) => {}
                }
                return Ok(());
            }
        }
    }
}

/// Past the line buffer of `Stdout`, which would cut our blocks at line ends.
fn write_stdout(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(io::stdout(), bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
