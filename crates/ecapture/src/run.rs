//! Wires the stages of a run and owns its threads and its end: the file to read first.
//!
//! Config -> targets -> attach -> BPF -> ring thread -> pipeline thread -> sinks. The main thread attaches
//! and waits; the end goes the same way: detach, drain the ring, finish the streams, say what was lost.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bpf::{Block, Counters, Features, KeepReady, Plan, Programs, Ring};
use crate::cli::{Config, Format, KeyLogTarget, colours};
use crate::pipeline::{Account, Commands, Pipeline, Totals};
use crate::probes::Wanted;
use crate::sinks::{Failure, Json, KeyLog, Output, Sink, Sinks, Style, Text};
use crate::targets::{self, Change, Discovery, Endings, Watch};
use crate::{preflight, privileges};

/// Blocks of 1 MiB that may wait for the pipeline; more wait in the kernel's ring. A download at full speed
/// takes both CPUs of a small machine, and we catch up after it.
const QUEUE: usize = 64;

/// How long changes of processes are gathered before they are looked at, once there was one.
const GATHER: Duration = Duration::from_micros(300);

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    AsAsked,
    /// A sink failed; it was said.
    SinkFailed,
}

/// Captures until a signal, until nothing is left to capture, or until output fails.
///
/// # Errors
/// What kept the run from starting.
pub fn capture(config: Config) -> Result<Ended> {
    preflight::check()?;
    let features = features(&config)?;
    let (wake, waker) = UnixStream::pair()?;
    let sinks = sinks(&config, waker.try_clone()?)?;
    handle_signals(&waker)?;

    privileges::hurry(); // all threads: a new program does not wait for us to attach, nor a full buffer
    let (shape, scope, ring_bytes) = (config.wanted.shape(), config.scope.clone(), config.ring_bytes);
    let programs = Programs::load(Plan { features, shape, scope, ring_bytes })?;
    if shape.has_plaintext() && features.btf && !programs.knows_sockets() {
        tracing::warn!("this kernel lets no program watch sockets: connections show no addresses");
    }
    let counters = programs.counters()?;
    let stages = Stages::start(&programs, &config, sinks)?;
    let mut discovery = Discovery::new(programs, config.wanted, config.use_cache, config.scope.pids.clone())?;
    let mut watch = begin(&config, &mut discovery)?;
    let ready = keep_ready(&config, &features)?;
    let files = discovery.files();
    let plural = if files == 1 { "" } else { "s" };
    tracing::info!("capturing: {files} file{plural} hooked; stop with Ctrl-C");
    privileges::keep(if config.files.is_empty() {
        privileges::to_attach(&features)
    } else {
        CapabilitySet::empty()
    })?;

    wait(&config, &wake, watch.as_mut(), &mut discovery, &stages.over)?;

    drop((ready, discovery));
    let (summary, failure) = stages.stop()?;
    tracing::info!("summary: {}", summary(Programs::read_counters(&counters)?));
    Ok(report(failure))
}

/// The first signal ends the run in good order; a second one ends the program at once, should a reader of
/// our output keep us waiting. The kernel removes everything then, too.
fn handle_signals(waker: &UnixStream) -> Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
        signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
    }
    Ok(())
}

fn features(config: &Config) -> Result<Features> {
    let mut features = Features::probe()?;
    if config.only_btf && !features.btf {
        bail!("--btf 1: this kernel has no BTF (CONFIG_DEBUG_INFO_BTF); use --btf 0 or 2");
    }
    if config.without_btf {
        features.forget_btf();
    }
    preflight::check_features(&features)?;
    tracing::debug!("{features:?}");
    Ok(features)
}

/// Attaches to what runs now, and begins to watch for what starts later.
fn begin(config: &Config, discovery: &mut Discovery) -> Result<Option<Watch>> {
    // First the watch, then the scan: what starts between the two is seen by either.
    let watch = Watch::start(config.files.is_empty()).inspect_err(|error| {
        tracing::warn!("programs that start or load a library later are not seen: {error:#}");
    });
    if config.files.is_empty() {
        discovery.scan()?;
    }
    for file in &config.files {
        discovery.attach_named(file, &config.overrides)?;
    }
    Ok(watch.ok())
}

fn keep_ready(config: &Config, features: &Features) -> Result<Option<KeepReady>> {
    if !config.files.is_empty() || config.slow_attach || !features.uprobe_multi {
        return Ok(None);
    }
    KeepReady::start(|| {
        if let Err(error) = privileges::keep(CapabilitySet::BPF | CapabilitySet::PERFMON) {
            tracing::warn!("{error:#}");
        }
    })
}

fn sinks(config: &Config, waker: UnixStream) -> Result<Sinks> {
    let mut sinks = config.key_log.iter().map(key_log).collect::<Result<Vec<_>>>()?;
    let for_records = config.destinations.iter().map(|destination| -> Result<Box<dyn Sink>> {
        let output = match &destination.file {
            Some(file) => Output::file(file, destination.shared)
                .with_context(|| format!("write to {}", file.display()))?,
            None => Output::stdout(),
        };
        Ok(match destination.format {
            Format::Text { hex, limit } => {
                let style = Style { hex, limit, colour: output.is_terminal() && colours(&io::stdout()) };
                Box::new(Text::new(output, style))
            }
            Format::Json => Box::new(Json::new(output)),
        })
    });
    sinks.extend(for_records.collect::<Result<Vec<_>>>()?);
    Ok(Sinks::new(sinks, move || {
        let _ = (&waker).write_all(b"!"); // the reader is only gone at the end
    }))
}

fn key_log(target: &KeyLogTarget) -> Result<Box<dyn Sink>> {
    Ok(Box::new(match target {
        KeyLogTarget::Stdout => KeyLog::stdout(),
        KeyLogTarget::File(path) => {
            let reopen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGHUP, Arc::clone(&reopen))?;
            KeyLog::file(path, reopen).with_context(|| format!("write to {}", path.display()))?
        }
    }))
}

/// What was captured and what was lost, in words, from the kernel's counters at the end.
type Summary = Box<dyn FnOnce(Counters) -> String + Send>;

/// The threads behind the kernel.
struct Stages {
    ring: Ring,
    pipeline: JoinHandle<(Summary, Sinks)>,
    /// Processes that are over. Unbounded, so that the main thread never waits; an id is 4 bytes.
    over: Sender<u32>,
}

impl Stages {
    fn start(programs: &Programs, config: &Config, sinks: Sinks) -> Result<Self> {
        let (blocks, filled) = bounded(QUEUE);
        let (used, recycled) = bounded(QUEUE);
        let (over, ended) = unbounded();
        let (wanted, status) = (config.wanted, config.status);
        let pipeline = thread::Builder::new().name("pipeline".into()).spawn(move || {
            privileges::drop_all();
            work(wanted, status, sinks, &Queues { filled, ended, used })
        })?;
        let send = move |block| blocks.send(block).is_ok();
        let ring = Ring::start(programs.ring()?, send, recycled, privileges::drop_all)?;
        Ok(Self { ring, pipeline, over })
    }

    /// Drains everything, in the order in which it flows.
    fn stop(self) -> Result<(Summary, Option<Failure>)> {
        self.ring.stop()?; // and with it the sender of blocks
        let (summary, sinks) = self.pipeline.join().map_err(|_| anyhow!("the pipeline thread panicked"))?;
        Ok((summary, sinks.into_failure()))
    }
}

/// The ends of queues that the pipeline has.
struct Queues {
    filled: Receiver<Block>,
    ended: Receiver<u32>,
    used: Sender<Block>,
}

/// What the pipeline thread does, until nothing more comes.
fn work(wanted: Wanted, status: Option<i32>, sinks: Sinks, queues: &Queues) -> (Summary, Sinks) {
    let Queues { filled, ended, used } = queues;
    match wanted {
        Wanted::Tls(subject) => {
            let (mut account, sinks) = Pipeline::new(sinks).run(filled, ended, used);
            account.with_keys = subject.secrets;
            let summary = move |kernel| Account { kernel, ..account }.to_string();
            (Box::new(summary), sinks)
        }
        Wanted::Commands(program) => {
            let (totals, sinks) = Commands::new(program, status, sinks).run(filled, ended, used);
            (Box::new(move |kernel| Totals { kernel, ..totals }.to_string()), sinks)
        }
    }
}

/// Attaches to new files until it is time to stop.
fn wait(
    config: &Config,
    wake: &UnixStream,
    mut watch: Option<&mut Watch>,
    discovery: &mut Discovery,
    over: &Sender<u32>,
) -> Result<()> {
    let mut endings = Endings::default();
    let soon = Timespec { tv_sec: 1, tv_nsec: 0 };
    let pids = &config.scope.pids;
    loop {
        let look_again = !endings.is_empty() || !pids.is_empty();
        let is_file_changed = {
            let mut ready = vec![PollFd::new(wake, PollFlags::IN)];
            ready.push(PollFd::from_borrowed_fd(discovery.changed_files(), PollFlags::IN));
            ready.extend(discovery.foreign_calls().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            if let Some(watch) = &watch {
                ready.extend(watch.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
            match poll(&mut ready, look_again.then_some(&soon)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for events"),
            }
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
            !ready[1].revents().is_empty()
        };
        if is_file_changed {
            discovery.drop_changed()?;
        }
        discovery.follow_foreign()?;
        if let Some(watch) = &mut watch {
            apply(watch, discovery, &mut endings);
        }
        // A program that starts maps several files in a row: one wake-up for all but the first costs it less.
        thread::sleep(GATHER);
        endings.settle(|pid| {
            discovery.forget(pid);
            let _ = over.send(pid); // the pipeline outlives this thread
        });
        if !pids.is_empty() && !pids.iter().any(|pid| targets::exists(*pid)) {
            tracing::info!("every process given with --pid has ended");
            return Ok(());
        }
    }
}

fn apply(watch: &mut Watch, discovery: &mut Discovery, endings: &mut Endings) {
    let mut missed = false;
    watch.changes(|change| match change {
        Change::Code { pid, mapping } => discovery.consider(pid, &mapping),
        Change::Over { pid } => endings.add(pid),
        Change::Missed => missed = true,
    });
    if missed {
        tracing::debug!("the kernel could not tell of all new programs: looking at every process again");
        if let Err(error) = discovery.scan() {
            tracing::warn!("{error:#}");
        }
    }
}

fn report(failure: Option<Failure>) -> Ended {
    match failure {
        None => Ended::AsAsked,
        // Whoever read us has seen enough: `ecapture tls | head`.
        Some(failure) if failure.error.kind() == io::ErrorKind::BrokenPipe => Ended::AsAsked,
        Some(failure) => {
            tracing::error!("stopped: cannot write to {}: {}", failure.sink, failure.error);
            Ended::SinkFailed
        }
    }
}
