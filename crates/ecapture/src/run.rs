//! Wires the stages of a run and owns its threads and its end: the file to read first.
//!
//! Config -> targets -> attach -> BPF -> ring thread -> pipeline thread -> sinks. The main thread attaches
//! and waits; the end goes the same way: detach, drain the ring, finish the streams, say what was lost.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::bpf::{Features, Programs, Ring};
use crate::cli::{Config, Format, colours};
use crate::pipeline::{Account, Input, Pipeline};
use crate::sinks::{Failure, Json, Output, Sink, Sinks, Style, Text};
use crate::targets::{self, Change, Discovery, Watch};
use crate::{preflight, privileges};

/// Blocks of 1 MiB that may wait for the pipeline; more wait in the kernel's ring.
const QUEUE: usize = 32;

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
pub fn tls(config: Config) -> Result<Ended> {
    preflight::check()?;
    let features = features(&config)?;
    let (wake, waker) = UnixStream::pair()?;
    let sinks = sinks(&config, waker.try_clone()?)?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
    }

    let programs = Programs::load(features, config.scope.clone(), config.ring_bytes)?;
    if features.btf && !programs.knows_sockets() {
        tracing::warn!("this kernel lets no program watch sockets: connections show no addresses");
    }
    let counters = programs.counters()?;
    let stages = Stages::start(&programs, sinks)?;
    let mut discovery = Discovery::new(programs, config.scope.pids.clone());
    let mut watch = begin(&config, &mut discovery)?;
    tracing::info!("capturing: {} files hooked; stop with Ctrl-C", discovery.files());
    privileges::keep(if watch.is_some() { privileges::TO_ATTACH } else { CapabilitySet::empty() })?;

    wait(&config, &wake, watch.as_mut(), &mut discovery, &stages.input)?;

    drop(discovery);
    let (mut account, failure) = stages.stop()?;
    account.kernel = Programs::read_counters(&counters)?;
    tracing::info!("summary: {account}");
    Ok(report(failure))
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
    if let Some(library) = &config.library {
        discovery.attach_named(library)?;
        return Ok(None);
    }
    // First the watch, then the scan: what starts between the two is seen by either.
    let watch = Watch::start().inspect_err(|error| {
        tracing::warn!("programs that load a library later are not seen: {error:#}");
    });
    discovery.scan()?;
    Ok(watch.ok())
}

fn sinks(config: &Config, waker: UnixStream) -> Result<Sinks> {
    let mut outputs = vec![match &config.output {
        Some(path) => Output::file(path).with_context(|| format!("--output_file {}", path.display()))?,
        None => Output::stdout(),
    }];
    if let Some(path) = &config.copy {
        outputs.push(Output::file(path).with_context(|| format!("--eventaddr {}", path.display()))?);
    }
    let sinks = outputs.into_iter().map(|output| -> Box<dyn Sink> {
        match config.format {
            Format::Text { hex, limit } => {
                let style = Style { hex, limit, colour: output.is_terminal() && colours(&io::stdout()) };
                Box::new(Text::new(output, style))
            }
            Format::Json => Box::new(Json::new(output)),
        }
    });
    Ok(Sinks::new(sinks.collect(), move || {
        let _ = (&waker).write_all(b"!"); // the reader is only gone at the end
    }))
}

/// The threads behind the kernel.
struct Stages {
    ring: Ring,
    pipeline: JoinHandle<(Account, Sinks)>,
    input: Sender<Input>,
}

impl Stages {
    fn start(programs: &Programs, sinks: Sinks) -> Result<Self> {
        let (input, received) = bounded(QUEUE);
        let (used, recycled) = bounded(QUEUE);
        let blocks = input.clone();
        let pipeline = thread::Builder::new().name("pipeline".into()).spawn(move || {
            privileges::drop_all();
            Pipeline::new(sinks).run(&received, &used)
        })?;
        let send = move |block| blocks.send(Input::Block(block)).is_ok();
        let ring = Ring::start(programs.ring()?, send, recycled, privileges::drop_all)?;
        Ok(Self { ring, pipeline, input })
    }

    /// Drains everything, in the order in which it flows.
    fn stop(self) -> Result<(Account, Option<Failure>)> {
        self.ring.stop()?;
        drop(self.input);
        let (account, sinks) = self.pipeline.join().map_err(|_| anyhow!("the pipeline thread panicked"))?;
        Ok((account, sinks.into_failure()))
    }
}

/// Attaches to new files until it is time to stop.
fn wait(
    config: &Config,
    wake: &UnixStream,
    mut watch: Option<&mut Watch>,
    discovery: &mut Discovery,
    input: &Sender<Input>,
) -> Result<()> {
    loop {
        {
            let mut ready = vec![PollFd::new(wake, PollFlags::IN)];
            if let Some(watch) = &watch {
                ready.extend(watch.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
            match poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for events"),
            }
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
        }
        if let Some(watch) = &mut watch {
            apply(watch, discovery, input);
        }
        let pids = &config.scope.pids;
        if !pids.is_empty() && !pids.iter().any(|pid| targets::exists(*pid)) {
            tracing::info!("every process given with --pid has ended");
            return Ok(());
        }
    }
}

fn apply(watch: &mut Watch, discovery: &mut Discovery, input: &Sender<Input>) {
    let mut missed = false;
    watch.changes(|change| match change {
        Change::Code { pid, mapping } => discovery.consider(pid, &mapping),
        Change::Over { pid } => {
            let _ = input.send(Input::Over(pid)); // the pipeline outlives this thread's sender
        }
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
