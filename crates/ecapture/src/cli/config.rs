//! Arguments, checked once: everything after this trusts its configuration.

use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use regex::bytes::Regex;
use rustix::fs::statfs;

use super::args::{
    self, Capture, Cli, Command, FormatName, Global, Gnutls, Gotls, Model, Mysqld, Nss, Output, Postgres,
    Tls, WhenSlow,
};
use super::body::Original;
use super::memory::Memory;
use super::packets::PacketConfig;
use crate::bpf::{Cgroup, Scope, Subject};
use crate::filter::{Filter, Processes, Redaction, Selection, glob};
use crate::probes::{Libraries, Library, Overrides, Program, Wanted};
use crate::server::{Place, ServerConfig, Token};
use crate::sinks::{Address, FileRotation, Policy};
use crate::targets;

/// A run.
#[derive(Debug)]
pub struct Config {
    /// What is captured.
    pub wanted: Wanted,
    /// Which processes.
    pub scope: Scope,
    /// Only these files; empty: whatever programs run.
    pub files: Vec<PathBuf>,
    /// Names of programs that are shells, where any shell is captured.
    pub shells: Vec<String>,
    /// Whether lines that they read are captured.
    pub lines: bool,
    /// Only commands that end with this exit status.
    pub status: Option<i32>,
    /// What the user knows of the file.
    pub overrides: Overrides,
    /// Size of the ring buffer, bytes: a power of two.
    pub ring_bytes: u32,
    /// What waits and what is known of connections may take so much.
    pub memory: Memory,
    /// Whether to save the work of keeping the kernel ready.
    pub slow_attach: bool,
    /// Whether what is found in files is kept for the next run.
    pub use_cache: bool,
    /// What is left out and hidden.
    pub filter: Filter,
    /// Where records go.
    pub destinations: Vec<Destination>,
    /// Where secrets go.
    pub key_log: Option<Target>,
    /// Which packets are captured, and where they go.
    pub packets: Option<PacketConfig>,
    /// BPF programs without BTF.
    pub without_btf: bool,
    /// BPF programs with BTF or none.
    pub only_btf: bool,
    /// Most bytes that wait for an output.
    pub queue: usize,
    /// What is served.
    pub server: ServerConfig,
    /// The command line, for changes while the capture goes on.
    pub original: Option<Original>,
}

/// One place where records go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where.
    pub target: Target,
    /// How they are written.
    pub format: Format,
    /// Most bytes that wait for it.
    pub queue: usize,
    /// What happens when they do not suffice.
    pub policy: Policy,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether what it has already stays: it is a key log, shared with the log, or one that was written before.
        keep: bool,
        /// When a new one is begun.
        rotation: FileRotation,
    },
    /// A peer in the network.
    Network(Address),
}

/// How records are written.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// Header line and payload.
    Text {
        /// Always hex.
        hex: bool,
        /// Most bytes of a message.
        limit: Option<u64>,
    },
    /// JSON lines.
    Json,
}

impl Config {
    /// Checks the arguments of a command.
    ///
    /// # Errors
    /// A value that can not work, with what was expected.
    pub fn new(cli: Cli) -> Result<Self> {
        let original = Original::new(&cli);
        let Cli { command, global } = cli;
        let config = match command {
            Some(Command::Tls(Tls { libssl, lib, capture, ssl_version, symbol, offset })) => {
                let libraries = match (&libssl, lib.as_slice()) {
                    (Some(_), _) => Libraries::from_iter([Library::OpenSsl]),
                    (None, []) => Libraries::ALL,
                    (None, named) => named.iter().copied().map(library).collect(),
                };
                let overrides = Overrides::new(ssl_version, &symbol, &offset)?;
                Ok(Self { overrides, ..Self::tls(libraries, libssl, capture, global)? })
            }
            Some(Command::Gnutls(Gnutls { gnutls, capture, .. })) => {
                Self::tls([Library::GnuTls].into_iter().collect(), gnutls, capture, global)
            }
            Some(Command::Nss(Nss { nspr, capture })) => {
                let files = if nspr.iter().any(|file| is_nspr(file)) { Vec::new() } else { nspr };
                Self::tls([Library::Nss].into_iter().collect(), files, capture, global)
            }
            Some(Command::Gotls(Gotls { elfpath, capture })) => {
                Self::tls([Library::Go].into_iter().collect(), elfpath, capture, global)
            }
            Some(Command::Bash(bash)) => {
                let files = bash.bash.into_iter().chain(bash.readlineso).collect();
                Self::commands(Program::Bash, files, bash.errnumber, global)
            }
            Some(Command::Zsh(zsh)) => {
                Self::commands(Program::Zsh, zsh.zsh.into_iter().collect(), zsh.errnumber, global)
            }
            Some(Command::Shell(shell)) => {
                let known = targets::SHELLS.iter().map(|name| (*name).to_owned());
                let shells = known.chain(shell.shell).collect();
                let common = Self::commands(Program::AnyShell, Vec::new(), shell.errnumber, global)?;
                Ok(Self { shells, lines: !shell.no_lines, ..common })
            }
            Some(Command::Mysqld(Mysqld { mysqld, funcname, offset })) => {
                let overrides = Overrides::of_server(funcname, offset.as_deref())?;
                let files = mysqld.into_iter().collect();
                Ok(Self { overrides, ..Self::commands(Program::MySql, files, ANY_STATUS, global)? })
            }
            Some(Command::Postgres(Postgres { postgres, funcname })) => {
                let overrides = Overrides::of_server(funcname, None)?;
                let files = postgres.into_iter().collect();
                Ok(Self { overrides, ..Self::commands(Program::Postgres, files, ANY_STATUS, global)? })
            }
            _ => bail!("no command"),
        }?;
        Ok(Self { original, ..config })
    }

    /// Whether files are looked for: those that programs run.
    pub fn looks_for_files(&self) -> bool {
        self.files.is_empty() && self.wanted.is_in_files()
    }

    fn tls(
        libraries: Libraries,
        files: impl IntoIterator<Item = PathBuf>,
        capture: Capture,
        mut global: Global,
    ) -> Result<Self> {
        let key_log = key_log(&capture);
        let plaintext = capture.model.contains(&Model::Text);
        let packets = PacketConfig::new(&capture, &global.output, &scope(&global)?)?;
        let is_piped = packets.as_ref().is_some_and(|packets| packets.target.is_stdout());
        if is_piped && key_log == Some(Target::Stdout) {
            bail!("-k - and -w -: standard output can have one of them");
        }
        let in_packets = packets.as_ref().is_some_and(|packets| packets.with_plaintext);
        let secrets = key_log.is_some() || packets.is_some();
        let subject = Subject { plaintext: plaintext || in_packets, secrets };
        global.mapsize = global.mapsize.or(packets.is_some().then_some(RING_OF_PACKETS_KIB));
        let common = Self::common(Wanted::Tls(subject, libraries), &global)?;
        if in_packets && common.filter.redaction.is_some() {
            bail!("--with-plaintext: bytes as they were, compressed ones too, can not be redacted");
        }
        Ok(Self {
            files: files.into_iter().collect(),
            slow_attach: capture.slow_attach,
            use_cache: !capture.no_cache,
            destinations: if plaintext {
                destinations(global, &key_log, is_piped)?
            } else {
                no_destinations(&global)?
            },
            key_log,
            packets,
            ..common
        })
    }

    fn commands(program: Program, files: Vec<PathBuf>, status: i32, global: Global) -> Result<Self> {
        refuse_selection_of_tls(&global.filter)?;
        let common = Self::common(Wanted::Commands(program), &global)?;
        let status = (status != ANY_STATUS).then_some(status);
        Ok(Self { files, status, destinations: destinations(global, &None, false)?, ..common })
    }

    /// What every command has; the rest as if nothing was asked for.
    fn common(wanted: Wanted, global: &Global) -> Result<Self> {
        Ok(Self {
            wanted,
            scope: scope(global)?,
            files: Vec::new(),
            shells: Vec::new(),
            lines: false,
            status: None,
            overrides: Overrides::default(),
            ring_bytes: (global.mapsize.unwrap_or(RING_KIB) << 10).next_power_of_two(),
            memory: memory(global),
            slow_attach: false,
            use_cache: false,
            filter: filter(&global.filter)?,
            destinations: Vec::new(),
            key_log: None,
            packets: None,
            without_btf: global.btf == 2,
            only_btf: global.btf == 1,
            queue: queue(global),
            server: server(global)?,
            original: None,
        })
    }
}

fn library(name: args::Library) -> Library {
    match name {
        args::Library::Openssl => Library::OpenSsl,
        args::Library::Gnutls => Library::GnuTls,
        args::Library::Nss => Library::Nss,
        args::Library::Go => Library::Go,
        args::Library::Rustls => Library::Rustls,
    }
}

/// The file that eCapture hooks.
fn is_nspr(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libnspr4"))
}

/// Default of `--mapsize`.
const RING_KIB: u32 = 5120;

/// The same for packets, whose reader has to wait for its turn: 256 ms at 1 Gbit/s.
const RING_OF_PACKETS_KIB: u32 = 32 << 10;

/// `-e` of eCapture for any exit status.
const ANY_STATUS: i32 = 128;

/// Default of `-k`.
const KEY_LOG: &str = "ecapture_masterkey.log";

fn key_log(capture: &Capture) -> Option<Target> {
    let file = |path| Target::File { path, keep: true, rotation: FileRotation::default() };
    match &capture.keylogfile {
        Some(path) if path.as_os_str() == "-" => Some(Target::Stdout),
        Some(path) => Some(file(path.clone())),
        None => capture.model.contains(&Model::Keylog).then(|| file(KEY_LOG.into())),
    }
}

/// Without plaintext, options that say where it goes are mistakes.
fn no_destinations(global: &Global) -> Result<Vec<Destination>> {
    for (option, file) in [("--output_file", &global.output_file), ("--eventaddr", &global.eventaddr)] {
        if file.is_some() {
            bail!("{option}: only -m text captures plaintext; for keys use -k FILE, for packets -w FILE");
        }
    }
    Ok(Vec::new())
}

fn memory(global: &Global) -> Memory {
    Memory::new((global.memory_limit as usize) << 20)
}

fn destinations(global: Global, key_log: &Option<Target>, is_piped: bool) -> Result<Vec<Destination>> {
    let piped = [("-k", *key_log == Some(Target::Stdout)), ("-w", is_piped)];
    if let (None, Some((option, _))) = (&global.output_file, piped.iter().find(|(_, is_piped)| *is_piped)) {
        bail!(
            "{option} -: standard output has the plaintext; give one of them a file, with {option} FILE or -o FILE"
        );
    }
    let first = global.output_file.clone().map_or(Target::Stdout, |path| file(path, &global));
    let first = destination(first, format(&global), &global);
    Ok(std::iter::once(first).chain(second_destination(&global)?).collect())
}

/// Where records go besides standard output or the file in its place. As in eCapture, that is where the log goes
/// unless told otherwise; the log is JSON lines.
///
/// # Errors
/// It looks like a URL but is none that can be used.
pub(super) fn second_destination(global: &Global) -> Result<Option<Destination>> {
    let (target, format) = if let Some(path) = global.eventaddr.clone() {
        let target = network("--eventaddr", &path)?;
        (target.map_or_else(|| file(path, global), Target::Network), format(global))
    } else if let Some(path) = global.logaddr.clone() {
        let target = network("--logaddr", &path)?;
        let shared = || Target::File { path, keep: true, rotation: FileRotation::default() };
        (target.map_or_else(shared, Target::Network), Format::Json)
    } else {
        return Ok(None);
    };
    Ok(Some(destination(target, format, global)))
}

fn file(path: PathBuf, global: &Global) -> Target {
    Target::File { path, keep: false, rotation: rotation(&global.output) }
}

fn format(global: &Global) -> Format {
    match global.format {
        FormatName::Text => {
            Format::Text { hex: global.hex, limit: (global.tsize != 0).then_some(global.tsize) }
        }
        FormatName::Json => Format::Json,
    }
}

fn destination(target: Target, format: Format, global: &Global) -> Destination {
    let policy = policy(global.output.when_slow, &target);
    Destination { target, format, queue: queue(global), policy }
}

/// Most bytes that wait for an output. What is served waits twice: before the server, and there for the slowest client.
pub fn queue(global: &Global) -> usize {
    let is_given = |address: &Option<String>| usize::from(address.is_some());
    let served = is_given(&global.ecaptureq) + is_given(&global.listen);
    let second = usize::from(global.eventaddr.is_some() || global.logaddr.is_some() || served != 0);
    (usize::from(global.output.queue) << 20).min(memory(global).queues / (1 + second + 2 * served))
}

fn server(global: &Global) -> Result<ServerConfig> {
    // As in eCapture, only host and port count of a URL, and nothing between quotes turns a server off.
    let place = |option: &str, text: Option<&str>| {
        let place = text.filter(|text| !text.is_empty()).map(str::parse::<Place>);
        place.transpose().map_err(|error| anyhow!("{option}: {error}"))
    };
    let url = global.ecaptureq.as_deref().map(|url| {
        let rest = url.strip_prefix("ws://").unwrap_or(url);
        rest.split_once('/').map_or(rest, |(authority, _)| authority)
    });
    let token = global
        .token_file
        .as_deref()
        .map(|path| Token::read(path).with_context(|| format!("--token-file {}", path.display())));
    Ok(ServerConfig {
        stream: place("--ecaptureq", url)?,
        control: place("--listen", global.listen.as_deref())?,
        token: token.transpose()?,
        origins: global.allow_origin.clone(),
    })
}

fn policy(when_slow: Option<WhenSlow>, target: &Target) -> Policy {
    match (when_slow, target) {
        (Some(WhenSlow::Wait), _) | (None, Target::Stdout | Target::File { .. }) => Policy::Wait,
        (Some(WhenSlow::Drop), _) | (None, Target::Network(_)) => Policy::DropOldest,
    }
}

/// The address of a peer, if it is not a file.
///
/// # Errors
/// It looks like a URL but is none that can be used.
pub fn network(option: &str, target: &Path) -> Result<Option<Address>> {
    let text = target.to_string_lossy();
    if !text.contains("://") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| anyhow!("{option} {text}: {error}"))
}

fn rotation(output: &Output) -> FileRotation {
    FileRotation {
        size: output.rotate_size().map(|size| size << 20),
        age: output.rotate_time().map(Duration::from_secs),
        count: output.rotate_count.map(|count| count as usize - 1), // the file that is written to is one
        compress: output.rotate_compress,
    }
}

/// Commands have neither connections nor HTTP.
pub(super) fn refuse_selection_of_tls(filter: &args::Filter) -> Result<()> {
    for (option, is_given) in [
        ("--host", !filter.host.is_empty()),
        ("--path", !filter.path.is_empty()),
        ("--method", !filter.method.is_empty()),
        ("--status", !filter.status.is_empty()),
        ("--port", !filter.port.is_empty()),
        ("--only", !filter.only.is_empty()),
    ] {
        if is_given {
            bail!("{option}: only `ecapture tls` has such messages; commands are selected with --grep");
        }
    }
    Ok(())
}

pub(super) fn filter(arguments: &args::Filter) -> Result<Filter> {
    let globs = |patterns: &[String], any_case| {
        patterns.iter().map(|pattern| glob(pattern, any_case)).collect::<Result<Vec<_>, _>>()
    };
    let grep = arguments.grep.iter().map(|pattern| Regex::new(pattern));
    let selection = Selection {
        hosts: globs(&arguments.host, true).context("--host")?,
        paths: globs(&arguments.path, false).context("--path")?,
        methods: arguments.method.clone(),
        statuses: arguments.status.clone(),
        ports: arguments.port.clone(),
        grep: grep.collect::<Result<_, _>>().context("--grep")?,
        only: arguments.only.clone(),
    };
    let redaction = match &arguments.redact_rules {
        Some(path) => {
            let rules =
                fs::read_to_string(path).with_context(|| format!("--redact-rules {}", path.display()))?;
            let made = Redaction::new(arguments.redact, &rules);
            Some(made.map_err(|error| anyhow!("--redact-rules {}: {error}", path.display()))?)
        }
        None if arguments.redact => Some(Redaction::new(true, "").map_err(|error| anyhow!(error))?),
        None => None,
    };
    Ok(Filter { processes: Processes::default(), selection, redaction })
}

/// Whether colours are wanted where a person may look.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn scope(global: &Global) -> Result<Scope> {
    let pids: Vec<u32> = global.pid.iter().copied().filter(|pid| *pid != 0).collect();
    for pid in &pids {
        if !targets::exists(*pid) {
            bail!("--pid {pid}: there is no such process; `ps -e` lists those that run");
        }
    }
    Ok(Scope {
        pids,
        uids: global.uid.clone(),
        comms: global.comm.clone(),
        not_comms: global.exclude_comm.clone(),
        cgroup: global.cgroup_path.as_deref().map(cgroup).transpose()?,
    })
}

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;

fn cgroup(path: &Path) -> Result<Cgroup> {
    let path = fs::canonicalize(path).with_context(|| format!("--cgroup_path {}", path.display()))?;
    let is_cgroup2 = |path: &Path| statfs(path).is_ok_and(|fs| fs.f_type == CGROUP2);
    if !is_cgroup2(&path) {
        bail!(
            "--cgroup_path {}: not a directory of cgroup v2; `findmnt -t cgroup2` tells where that is mounted",
            path.display()
        );
    }
    // The root of the mount is the last parent that still belongs to it.
    let level = path.ancestors().skip(1).take_while(|parent| is_cgroup2(parent)).count();
    let id = fs::metadata(&path).with_context(|| format!("--cgroup_path {}", path.display()))?.ino();
    Ok(Cgroup { id, level: u8::try_from(level).context("--cgroup_path: nested too deeply")? })
}
