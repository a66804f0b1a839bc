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
use libbpf_rs::MapHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bpf::{
    Block, Counters, Features, Interface, KeepReady, Packets, Plan, Programs, Ring, Scope, Shape, take_turns,
};
use crate::cli::{Config, Destination, Format, PacketConfig, Target, colours};
use crate::control::Control;
use crate::filter::Filter;
use crate::pipeline::{Account, Commands, Live, Pipeline, Totals};
use crate::probes::Wanted;
use crate::record::Traffic;
use crate::server::{Bound, Events, Handles, Hub, Lines, Server, Stream};
use crate::sinks::{Failure, Json, KeyLog, Output, Pcapng, Policy, Running, Sink, Sinks, Style, Text};
use crate::status::Board;
use crate::targets::{self, Change, Discovery, Endings, Interfaces, Watch};
use crate::{preflight, privileges};

/// Bytes of a key log that wait: lines of 5,000 connections.
const KEYS_QUEUE: usize = 4 << 20;

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

/// Captures until a signal, until nothing is left to capture, or until output fails. `stream` has the clients of
/// `--ecaptureq`.
///
/// # Errors
/// What kept the run from starting.
pub fn capture(mut config: Config, stream: Option<Arc<Stream>>) -> Result<Ended> {
    preflight::check()?;
    if let Some(packets) = &config.packets {
        preflight::check_packets(packets.choice.filter.is_some())?;
    }
    let features = features(&config)?;
    let (wake, waker) = UnixStream::pair()?;
    let lines = config.server.control.is_some().then(|| Arc::new(Hub::new(config.queue)));
    let audience = Audience { stream, lines };
    let bound = is_serving(&config).then(|| Bound::new(std::mem::take(&mut config.server))).transpose()?;
    let sinks = sinks(&config, &audience, waker.try_clone()?)?;
    handle_signals(&waker)?;

    privileges::hurry(); // all threads: a new program does not wait for us to attach, nor a full buffer
    let (shape, scope, ring_bytes) = (config.wanted.shape(), config.scope.clone(), config.ring_bytes);
    let mut programs = Programs::load(Plan { features, shape, scope, ring_bytes })?;
    if shape.has_plaintext() && features.btf && !programs.knows_sockets() {
        tracing::warn!("this kernel lets no program watch sockets: connections show no addresses");
    }
    let (counters, counted) = (programs.counters()?, programs.counters()?);
    let packets = config.packets.as_ref().map(|packets| load_packets(&programs, packets, &config.scope));
    let packets = packets.transpose()?;
    let traffic = packets.as_ref().map(Packets::counts).transpose()?;
    let (announce, interfaces) = unbounded();
    let board = Arc::new(Board::new());
    let (adjust, adjustments) = unbounded();
    let live = Live::new(adjustments, Arc::clone(&board));
    let stages = Stages::start(&programs, &mut config, sinks, interfaces, live)?;
    let mut interfaces = match (packets, &config.packets) {
        (Some(packets), Some(wanted)) => {
            Some(Interfaces::start(packets, wanted.interfaces.clone(), announce)?)
        }
        _ => None,
    };
    let shells = match shape {
        Shape::Shells => Some(watch_shells(&mut programs, &config)?),
        _ => None,
    };
    let mut discovery = Discovery::new(programs, config.wanted, config.use_cache, config.scope.pids.clone())?;
    let mut watch = begin(&config, &mut discovery)?;
    let ready = keep_ready(&config, &features)?;
    if config.looks_for_files() {
        discovery.look_back();
    }
    let subject = match shells {
        Some(shells) => format!("{} now", plural(shells, "shell")),
        None => format!("{} hooked", plural(discovery.files(), "file")),
    };
    tracing::info!("capturing: {subject}; stop with Ctrl-C");
    privileges::keep(needed_later(&config, &features))?;
    let (mut control, server) = match (bound, config.original.take()) {
        (Some(bound), Some(original)) => {
            let second = config.destinations.get(1).cloned();
            let seen = (board, counted);
            let (control, handles) = Control::new(original, second, sink, adjust, seen, waker.try_clone()?)?;
            (Some(control), Some(audience.start(bound, handles)?))
        }
        _ => (None, None),
    };

    let mut watched =
        Watched { watch: watch.as_mut(), interfaces: interfaces.as_mut(), control: control.as_mut() };
    wait(&config, &wake, &mut watched, &mut discovery, &stages.over)?;

    drop((ready, discovery, interfaces));
    let (summary, mut sinks) = stages.stop()?;
    let packets_lost = traffic.map(|traffic| count_packets(&traffic, &mut sinks)).transpose()?;
    let kernel = Programs::read_counters(&counters)?;
    tracing::info!("summary: {}", summary(End { kernel, packets_lost }));
    let (deliveries, failure) = sinks.drain();
    let ended = report(failure);
    for (sink, delivery) in deliveries {
        tracing::info!("output {sink}: {delivery}");
    }
    if let Some(server) = server {
        server.stop();
    }
    Ok(ended)
}

fn is_serving(config: &Config) -> bool {
    config.server.stream.is_some() || config.server.control.is_some()
}

/// Those who get records from the server.
struct Audience {
    /// Of `--ecaptureq`.
    stream: Option<Arc<Stream>>,
    /// Of `GET /events`.
    lines: Option<Arc<Hub>>,
}

impl Audience {
    /// What makes records for them.
    fn sinks(&self, queue: usize) -> Result<Vec<Box<dyn Sink>>> {
        let running = Running { queue, policy: Policy::DropOldest, prepare: privileges::drop_all };
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if let Some(stream) = &self.stream {
            sinks.push(Box::new(Events::new(Arc::clone(stream), running)?));
        }
        if let Some(lines) = &self.lines {
            sinks.push(Box::new(Lines::new(Arc::clone(lines), running)?));
        }
        Ok(sinks)
    }

    fn start(self, bound: Bound, handles: Handles) -> Result<Server> {
        let lines = self.lines.unwrap_or_else(|| Arc::new(Hub::new(0)));
        Ok(bound.start(self.stream, lines, handles, privileges::drop_all)?)
    }
}

/// Capabilities for what comes after the start.
fn needed_later(config: &Config, features: &Features) -> CapabilitySet {
    let nothing = CapabilitySet::empty();
    let for_programs = if config.looks_for_files() { privileges::to_attach(features) } else { nothing };
    let for_interfaces = if config.packets.is_some() { privileges::to_capture_packets() } else { nothing };
    for_programs | for_interfaces | privileges::to_count(features)
}

/// `1 file`, `2 files`.
fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Begins with what shells do; answers how many run already.
fn watch_shells(programs: &mut Programs, config: &Config) -> Result<usize> {
    programs.watch_shells(&config.shells)?;
    if config.lines && !programs.watch_lines() {
        tracing::warn!(
            "lines that shells read are not seen: mount tracefs at /sys/kernel/tracing, on a kernel with CONFIG_FTRACE_SYSCALLS"
        );
    }
    let mut known = 0;
    // Twice, for those that were forked by one that the kernel did not know yet.
    for _ in 0..2 {
        let running = targets::running_shells(&config.shells, &config.scope.pids)?;
        known = running.iter().filter(|(_, is_shell)| *is_shell).count();
        for (pid, is_shell) in running {
            programs.know_process(pid, is_shell)?;
        }
    }
    Ok(known)
}

fn load_packets(programs: &Programs, wanted: &PacketConfig, scope: &Scope) -> Result<Packets> {
    let packets = Packets::load(programs, &wanted.choice)?;
    if !packets.knows_owners() && (scope.is_restricted() || !wanted.choice.unowned) {
        tracing::warn!(
            "this kernel does not tell which program a packet belongs to (Linux 6.6 does): {}",
            if wanted.choice.unowned { "all are captured" } else { "none is captured; use --unowned keep" }
        );
    }
    Ok(packets)
}

/// Ends the outputs with what the kernel counted of each interface; answers how many packets were lost.
fn count_packets(traffic: &MapHandle, sinks: &mut Sinks) -> Result<u64> {
    let all = Packets::traffic(traffic)?;
    sinks.finish(&|index| {
        let counted = all.get(&index).copied().unwrap_or_default();
        Traffic { packets: counted.packets, dropped: counted.dropped }
    });
    Ok(all.values().map(|counted| counted.dropped).sum())
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
    preflight::check_features(&features, config.wanted.shape())?;
    tracing::debug!("{features:?}");
    Ok(features)
}

/// Attaches to what runs now, and begins to watch for what starts later.
fn begin(config: &Config, discovery: &mut Discovery) -> Result<Option<Watch>> {
    // First the watch, then the scan: what starts between the two is seen by either.
    let watch = Watch::start(config.looks_for_files()).inspect_err(|error| {
        tracing::warn!("programs that start or load a library later are not seen: {error:#}");
    });
    if config.looks_for_files() {
        discovery.scan()?;
    }
    for file in &config.files {
        discovery.attach_named(file, &config.overrides)?;
    }
    Ok(watch.ok())
}

fn keep_ready(config: &Config, features: &Features) -> Result<Option<KeepReady>> {
    if !config.looks_for_files() || config.slow_attach || !features.uprobe_multi {
        return Ok(None);
    }
    KeepReady::start(|| {
        if let Err(error) = privileges::keep(CapabilitySet::BPF | CapabilitySet::PERFMON) {
            tracing::warn!("{error:#}");
        }
    })
}

/// One sink for each destination.
fn sinks(config: &Config, audience: &Audience, waker: UnixStream) -> Result<Sinks> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(target) = &config.key_log {
        // Always waits: what a lost secret would decrypt is lost with it.
        sinks.push(Box::new(KeyLog::new(output(target, KEYS_QUEUE, Policy::Wait)?)));
    }
    sinks.extend(config.destinations.iter().map(sink).collect::<Result<Vec<_>>>()?);
    sinks.extend(audience.sinks(config.queue)?);
    if let Some(packets) = &config.packets {
        sinks.push(capture_file(packets, config.memory.packets)?);
    }
    Ok(Sinks::new(sinks, move || {
        let _ = (&waker).write_all(b"!"); // the reader is only gone at the end
    }))
}

/// The sink of a destination.
fn sink(destination: &Destination) -> Result<Box<dyn Sink>> {
    let Destination { target, queue, policy, format } = destination;
    let output = output(target, *queue, *policy)?;
    Ok(match *format {
        Format::Text { hex, limit } => {
            let style = Style { hex, limit, colour: output.is_terminal() && colours(&io::stdout()) };
            Box::new(Text::new(output, style))
        }
        Format::Json => Box::new(Json::new(output)),
    })
}

fn output(target: &Target, queue: usize, policy: Policy) -> Result<Output> {
    let running = |prepare| Running { queue, policy, prepare };
    Ok(match target {
        Target::Stdout => Output::stdout(running(privileges::drop_all))?,
        Target::Network(address) => Output::network(address.clone(), running(privileges::drop_all))?,
        Target::File { path, keep, rotation } => {
            let reopen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGHUP, Arc::clone(&reopen))?;
            Output::file(path, *keep, *rotation, reopen, running(privileges::keep_for_files))
                .with_context(|| format!("write to {}", path.display()))?
        }
    })
}

fn capture_file(packets: &PacketConfig, memory: usize) -> Result<Box<dyn Sink>> {
    let PacketConfig { choice, target, comments, .. } = packets;
    let filter = choice.filter.as_ref().map(ToString::to_string).unwrap_or_default();
    let capture = Pcapng::new(target.clone(), *comments, choice.snaplen, filter, memory);
    Ok(Box::new(capture.with_context(|| format!("write to {target}"))?))
}

/// What the kernel counted.
struct End {
    kernel: Counters,
    /// Only of captures of packets.
    packets_lost: Option<u64>,
}

/// What was captured and what was lost, in words.
type Summary = Box<dyn FnOnce(End) -> String + Send>;

/// The threads behind the kernel.
struct Stages {
    ring: Ring,
    pipeline: JoinHandle<(Summary, Sinks)>,
    /// Processes that are over. Unbounded, so that the main thread never waits; an id is 4 bytes.
    over: Sender<u32>,
}

impl Stages {
    fn start(
        programs: &Programs,
        config: &mut Config,
        sinks: Sinks,
        interfaces: Receiver<Interface>,
        live: Live,
    ) -> Result<Self> {
        let memory = config.memory;
        let (blocks, filled) = bounded(memory.blocks); // more wait in the kernel's ring
        let (used, recycled) = bounded(memory.blocks);
        let (over, ended) = unbounded();
        let (wanted, status, filter) = (config.wanted, config.status, std::mem::take(&mut config.filter));
        let with_plaintext = config.packets.as_ref().is_some_and(|packets| packets.with_plaintext);
        // Who sends packets at full speed would get nowhere if we went first.
        let has_packets = config.packets.is_some();
        let is_urgent = !has_packets || config.wanted.shape().has_plaintext();
        let pipeline = thread::Builder::new().name("pipeline".into()).spawn(move || {
            if has_packets {
                take_turns();
            }
            privileges::drop_all();
            let queues = Queues { filled, ended, used, interfaces, live };
            work(wanted, status, with_plaintext, sinks, filter, memory.connections, queues)
        })?;
        let send = move |block| blocks.send(block).is_ok();
        let ready = move || {
            if !is_urgent {
                take_turns();
            }
            privileges::drop_all();
        };
        let ring = Ring::start(programs.ring()?, send, recycled, is_urgent, ready)?;
        Ok(Self { ring, pipeline, over })
    }

    /// Drains everything, in the order in which it flows.
    fn stop(self) -> Result<(Summary, Sinks)> {
        self.ring.stop()?; // and with it the sender of blocks
        self.pipeline.join().map_err(|_| anyhow!("the pipeline thread panicked"))
    }
}

/// The ends of queues that the pipeline has, and how it is changed.
struct Queues {
    filled: Receiver<Block>,
    ended: Receiver<u32>,
    used: Sender<Block>,
    interfaces: Receiver<Interface>,
    live: Live,
}

/// What the pipeline thread does, until nothing more comes.
fn work(
    wanted: Wanted,
    status: Option<i32>,
    with_plaintext: bool,
    sinks: Sinks,
    filter: Filter,
    memory: usize,
    queues: Queues,
) -> (Summary, Sinks) {
    let Queues { filled, ended, used, interfaces, live } = queues;
    match wanted {
        Wanted::Tls(subject, _) => {
            let pipeline = Pipeline::new(sinks, filter, memory, interfaces, with_plaintext, live);
            let (mut account, sinks) = pipeline.run(&filled, &ended, &used);
            account.with_keys = subject.secrets;
            let summary = move |End { kernel, packets_lost }| {
                let (lost, with_packets) = (packets_lost.unwrap_or_default(), packets_lost.is_some());
                Account { kernel, packets_lost: lost, with_packets, ..account }.to_string()
            };
            (Box::new(summary), sinks)
        }
        Wanted::Commands(program) => {
            let (totals, sinks) =
                Commands::new(program, status, sinks, filter, live).run(&filled, &ended, &used);
            (Box::new(move |end: End| Totals { kernel: end.kernel, ..totals }.to_string()), sinks)
        }
    }
}

/// What the main thread looks after, besides files.
struct Watched<'a> {
    watch: Option<&'a mut Watch>,
    interfaces: Option<&'a mut Interfaces>,
    control: Option<&'a mut Control>,
}

/// Attaches to new files until it is time to stop.
fn wait(
    config: &Config,
    wake: &UnixStream,
    watched: &mut Watched<'_>,
    discovery: &mut Discovery,
    over: &Sender<u32>,
) -> Result<()> {
    let mut endings = Endings::default();
    let soon = Timespec { tv_sec: 1, tv_nsec: 0 };
    let pids = &config.scope.pids;
    let Watched { watch, interfaces, control } = watched;
    loop {
        let look_again = !endings.is_empty() || !pids.is_empty() || control.is_some();
        let (is_file_changed, are_interfaces_changed) = {
            let mut ready = vec![PollFd::new(wake, PollFlags::IN)];
            ready.push(PollFd::from_borrowed_fd(discovery.changed_files(), PollFlags::IN));
            if let Some(interfaces) = interfaces {
                ready.push(PollFd::from_borrowed_fd(interfaces.changes(), PollFlags::IN));
            }
            let watched = ready.len();
            ready.extend(discovery.foreign_calls().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            ready.extend(
                control.iter().map(|control| PollFd::from_borrowed_fd(control.asked(), PollFlags::IN)),
            );
            if let Some(watch) = watch {
                ready.extend(watch.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
            match poll(&mut ready, look_again.then_some(&soon)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for events"),
            }
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            (is_ready(&ready[1]), ready[2..watched].iter().any(is_ready))
        };
        if is_file_changed {
            discovery.drop_changed()?;
        }
        discovery.follow_foreign()?;
        if are_interfaces_changed
            && let Some(interfaces) = interfaces
            && let Err(error) = interfaces.update()
        {
            tracing::warn!("{error:#}");
        }
        if let Some(watch) = watch {
            apply(watch, discovery, &mut endings);
        }
        if let Some(control) = control {
            control.tend(discovery);
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
