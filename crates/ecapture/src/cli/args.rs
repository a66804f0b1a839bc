//! What can be typed. eCapture's names and ours; values are checked in `config`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::bpf::MOST_SNAPLEN;
use crate::filter::{Only, Statuses};

/// Shows the plaintext of TLS traffic of programs that are already running.
///
/// No CA certificate, no restart, no change to the watched program: functions of TLS libraries are
/// hooked with eBPF uprobes.
#[derive(Debug, Parser)]
#[command(
    name = "ecapture",
    version,
    disable_version_flag = true,
    infer_subcommands = true,
    arg_required_else_help = false,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error."
)]
pub struct Cli {
    /// What to capture.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Capture the plaintext of TLS connections: OpenSSL, GnuTLS, NSS, programs that contain them, and Go programs.
    ///
    /// Without options, every process on the machine is captured, those in containers included: running
    /// programs and those that start later.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    #[command(visible_alias = "openssl")]
    Tls(Tls),

    /// Capture the plaintext of TLS connections of GnuTLS only.
    ///
    /// As `tls` does, which has GnuTLS among its libraries.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    #[command(visible_alias = "gnu")]
    Gnutls(Gnutls),

    /// Capture the plaintext of TLS connections of NSS only: Firefox, Thunderbird and others.
    ///
    /// As `tls` does, which has NSS among its libraries. Of what a program reads and writes by NSPR, only what passes
    /// through TLS is shown.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    #[command(visible_alias = "nspr")]
    Nss(Nss),

    /// Capture the plaintext of TLS connections of Go programs only.
    ///
    /// As `tls` does, which has Go's crypto/tls among its libraries.
    /// Functions of crypto/tls are found in the program's own table of functions, also in stripped programs.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    #[command(visible_alias = "tlsgo")]
    Gotls(Gotls),

    /// Show the commands that people type into bash, and how they end.
    ///
    /// Each command is shown when it begins, complete with all its lines, after history expansion; and again when it is
    /// over, with its exit status. Every bash on the machine, those in containers included: running shells and those
    /// that start later.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    Bash(Bash),

    /// Show the commands that people type into zsh, and how they end.
    ///
    /// As for bash.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    Zsh(Zsh),

    /// Show the programs that shells of any kind run, and the lines that people type into simple ones.
    ///
    /// For shells that have no functions to hook: dash, busybox, ksh, fish, static builds. Each program is shown when it
    /// begins, with all its arguments and the shell, and again when it is over, with its exit status. Lines are shown of
    /// shells that leave editing to the terminal, as dash does; never what is typed while the terminal shows nothing.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    Shell(Shell),

    /// Show the statements that MySQL and MariaDB servers run, and what came of them.
    ///
    /// Each statement is shown when it is over, complete, with user, client, database, values of prepared statements,
    /// changed rows, error and duration. Passwords in statements are masked. Every server on the machine, those in
    /// containers included.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    Mysqld(Mysqld),

    /// Show the statements that PostgreSQL servers run, and what came of them.
    ///
    /// As for mysqld; simple queries and prepared statements with their values. Messages with passwords are not read.
    ///
    /// Exit codes: 0 stopped as asked, 1 could not start, 2 stopped early because of an error.
    Postgres(Postgres),

    /// Show what would be hooked in files, and why.
    ///
    /// For each file: the TLS library, shell or server in it, the address of each function, how it was found and how sure that is, the
    /// instruction to probe and what that costs, and where keys are. Files are only read, never run, and no privileges
    /// are needed.
    ///
    /// Exit codes: 0 everything that a capture needs was found in each file, 1 not.
    Inspect(Inspect),

    /// Capture for Wireshark, which runs this as an external capture program.
    ///
    /// For the way to set it up see docs/pcapng.md.
    Extcap(Extcap),

    /// Write the manual page to standard output.
    #[command(hide = true)]
    Man,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print version.
    #[arg(long, short = 'v', short_alias = 'V', action = ArgAction::Version)]
    version: Option<bool>,

    /// Log more: what was looked at and why it was or was not hooked.
    #[arg(long, short, global = true)]
    pub debug: bool,

    /// BPF programs: 0 choose, 1 with BTF, 2 without (then no addresses).
    #[arg(long, short, global = true, value_name = "MODE", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub btf: u8,

    /// Text: show every payload as a hex dump; else only binary ones are.
    #[arg(long, global = true)]
    pub hex: bool,

    /// Size of the buffer between kernel and program in KiB; the next power of two is taken. Default: 5120; with
    /// -m pcapng 32768.
    #[arg(long, global = true, value_name = "KIB", value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    pub mapsize: Option<u32>,

    /// Memory for what waits and for connections, in MiB; the buffer of --mapsize is not in it.
    ///
    /// A quarter is for connections and their unfinished messages: when it is used up, those that were quiet for longest
    /// are given up, which is marked and counted. The rest is for records and packets that wait, and for ecapture itself.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..=1 << 20))]
    pub memory_limit: u32,

    /// Capture only this process; may be repeated. 0: all.
    #[arg(long, short, global = true, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Capture only processes of this real user id, 0 included; may be repeated.
    #[arg(long, short, global = true, value_name = "UID", value_delimiter = ',')]
    pub uid: Vec<u32>,

    /// Capture only threads with this command name (15 characters count); may be repeated.
    #[arg(long, global = true, value_name = "NAME")]
    pub comm: Vec<String>,

    /// Leave out threads with this command name; may be repeated.
    #[arg(long, global = true, value_name = "NAME")]
    pub exclude_comm: Vec<String>,

    /// Capture only processes in this cgroup v2 directory and below it.
    #[arg(long = "cgroup_path", alias = "cgroup-path", global = true, value_name = "DIR")]
    pub cgroup_path: Option<PathBuf>,

    /// Write what is captured to this file instead of standard output.
    #[arg(long = "output_file", short, alias = "output-file", global = true, value_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// Write what is captured to this file, tcp://HOST:PORT, ws://HOST or wss://HOST as well.
    #[arg(long, global = true, value_name = "FILE|URL")]
    pub eventaddr: Option<PathBuf>,

    /// Write messages of ecapture itself there as JSON lines; without --eventaddr also what is captured.
    #[arg(long, short, global = true, value_name = "FILE|URL")]
    pub logaddr: Option<PathBuf>,

    /// Serve what is captured to programs that connect there, as protobuf over WebSocket (ecaptureQ).
    ///
    /// Usual is ws://127.0.0.1:28257. Where other machines can connect, --token-file is needed. docs/server.md tells
    /// what is sent.
    #[arg(long, global = true, value_name = "ws://HOST:PORT")]
    pub ecaptureq: Option<String>,

    /// Serve the control API, at localhost:28256 or another HOST:PORT or unix:PATH: status, metrics, records, changes.
    ///
    /// Where other machines can connect, --token-file is needed. docs/server.md lists what there is.
    #[arg(long, global = true, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "localhost:28256")]
    pub listen: Option<String>,

    /// Ask clients of --listen and --ecaptureq for the token in this file: `Authorization: Bearer TOKEN`.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Serve browser pages of this origin, such as https://example.org, as well; may be repeated.
    #[arg(long, global = true, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,

    /// How captured messages are written.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub format: FormatName,

    /// Selection, redaction.
    #[command(flatten)]
    pub filter: Filter,

    /// Rotation, queues.
    #[command(flatten)]
    pub output: Output,

    /// Text: show at most this many bytes of each message. 0: all.
    #[arg(long, short, global = true, value_name = "BYTES", default_value_t = 0)]
    pub tsize: u64,
}

/// What is shown. Options of different kinds must all hold; of one kind, any.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Selection and redaction")]
pub struct Filter {
    /// Show only HTTP requests to this host, and their responses; `*` stands for any characters. May be repeated.
    #[arg(long, global = true, value_name = "PATTERN")]
    pub host: Vec<String>,

    /// Show only HTTP requests of this path, without the query, and their responses; `*` as above.
    #[arg(long, global = true, value_name = "PATTERN")]
    pub path: Vec<String>,

    /// Show only HTTP requests with this method, and their responses.
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    pub method: Vec<String>,

    /// Show only HTTP responses with this status: 404, 4xx or 500-599.
    #[arg(long, global = true, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<Statuses>,

    /// Show only connections with this port at either end.
    #[arg(long, global = true, value_name = "PORT", value_delimiter = ',')]
    pub port: Vec<u16>,

    /// Show only messages that contain this regular expression, and the responses to such requests.
    #[arg(long, global = true, value_name = "REGEX")]
    pub grep: Vec<String>,

    /// Show only these parts of HTTP: headers leaves bodies out.
    #[arg(long, global = true, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Only>,

    /// Hide credentials: Authorization, Cookie, Set-Cookie, passwords and common tokens.
    #[arg(long, global = true)]
    pub redact: bool,

    /// Hide what the regular expressions in this file match, one in each line; of those with a group, the group.
    #[arg(long, global = true, value_name = "FILE")]
    pub redact_rules: Option<PathBuf>,
}

/// How outputs are written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Outputs")]
pub struct Output {
    /// Begin a new file before one grows beyond so many MiB. 0: never.
    ///
    /// For files of --output_file and --eventaddr, whose old ones get the time (UTC) at the end of their names, and for
    /// those of -m pcapng, which have numbers in their names then.
    #[arg(long, visible_alias = "eventroratesize", global = true, value_name = "MIB", value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    pub rotate_size: Option<u64>,

    /// Begin a new file when one is so many seconds old and not empty. 0: never.
    #[arg(long, visible_alias = "eventroratetime", global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=1 << 30))]
    pub rotate_time: Option<u64>,

    /// Keep so many files and remove the oldest; with --rotate-size or --rotate-time.
    #[arg(long, global = true, value_name = "FILES", value_parser = clap::value_parser!(u32).range(1..))]
    pub rotate_count: Option<u32>,

    /// Compress old files with gzip; not those of -m pcapng.
    #[arg(long, global = true)]
    pub rotate_compress: bool,

    /// What happens when an output is too slow: default is wait for standard output and files, drop for tcp, ws, wss.
    #[arg(long, global = true, value_name = "POLICY")]
    pub when_slow: Option<WhenSlow>,

    /// Records that may wait for each output, in MiB.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub queue: u16,
}

impl Output {
    /// MiB after which a new file begins.
    pub fn rotate_size(&self) -> Option<u64> {
        self.rotate_size.filter(|size| *size != 0)
    }

    /// Seconds after which a new file begins.
    pub fn rotate_time(&self) -> Option<u64> {
        self.rotate_time.filter(|time| *time != 0)
    }
}

/// What happens when an output is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenSlow {
    /// Everything waits for it; the kernel's buffer may overflow.
    Wait,
    /// The oldest records that wait for it are dropped and counted.
    Drop,
}

/// Names of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// A header line, then the payload.
    Text,
    /// One JSON object in a line, with the exact bytes.
    Json,
}

/// Options of `tls`.
#[derive(Debug, Args)]
pub struct Tls {
    /// Hook only this file: a libssl, or a program with OpenSSL in it.
    #[arg(long, value_name = "FILE")]
    pub libssl: Option<PathBuf>,

    /// Capture only these libraries; several with commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "libssl")]
    pub lib: Vec<Library>,

    /// What every command for TLS has.
    #[command(flatten)]
    pub capture: Capture,

    /// Version of the library in the file of --libssl, such as "openssl 1.0.2", where the file does not tell.
    #[arg(long = "ssl_version", alias = "ssl-version", value_name = "VERSION", requires = "libssl")]
    pub ssl_version: Option<String>,

    /// Address of a function in the file of --libssl, instead of what is found; may be repeated.
    #[arg(long, value_name = "NAME=0xADDRESS", requires = "libssl")]
    pub symbol: Vec<String>,

    /// Where an object of the library in the file of --libssl has a key, instead of what is found; may be repeated.
    ///
    /// Offset in bytes from the object's address; offsets of pointers on the way come before it, with commas.
    #[arg(long, value_name = "NAME=OFFSET", requires = "libssl")]
    pub offset: Vec<String>,
}

/// Options of `gnutls`.
#[derive(Debug, Args)]
pub struct Gnutls {
    /// Hook only this file: a libgnutls, or a program with GnuTLS in it.
    #[arg(long, value_name = "FILE")]
    pub gnutls: Option<PathBuf>,

    /// What every command for TLS has.
    #[command(flatten)]
    pub capture: Capture,

    /// Of eCapture's command lines; nothing here depends on the version.
    #[arg(long = "ssl_version", alias = "ssl-version", hide = true)]
    _ssl_version: Option<String>,
}

/// Options of `nss`.
#[derive(Debug, Args)]
pub struct Nss {
    /// Hook only these files of NSS; may be repeated: libssl3.so has the plaintext, libfreeblpriv3.so the keys.
    ///
    /// libnspr4.so, which eCapture hooks, has nothing of TLS: with it, all of NSS is captured.
    #[arg(long, alias = "nss", value_name = "FILE")]
    pub nspr: Vec<PathBuf>,

    /// What every command for TLS has.
    #[command(flatten)]
    pub capture: Capture,
}

/// Options of `gotls`.
#[derive(Debug, Args)]
pub struct Gotls {
    /// Hook only this Go program.
    #[arg(long, short, value_name = "FILE")]
    pub elfpath: Option<PathBuf>,

    /// What every command for TLS has.
    #[command(flatten)]
    pub capture: Capture,
}

/// Options of every command that captures TLS.
#[derive(Debug, Args)]
pub struct Capture {
    /// Do not keep the kernel ready to attach at once.
    ///
    /// Saves about 0.4 % of a CPU. A program that uses a library file which no program used before is
    /// then captured only 10 to 20 ms after it has loaded it.
    #[arg(long)]
    pub slow_attach: bool,

    /// Do not keep what is found in files.
    ///
    /// Else it is kept in $CACHE_DIRECTORY or /var/cache/ecapture (for other users than root, ecapture in
    /// $XDG_CACHE_HOME or ~/.cache), and a file is analysed only once.
    #[arg(long)]
    pub no_cache: bool,

    /// What to produce; several with commas.
    #[arg(long, short, value_name = "MODEL", default_value = "text", value_delimiter = ',')]
    pub model: Vec<Model>,

    /// Write the key log to this file, after what it has already; `-` is standard output. With any model.
    ///
    /// Default of `-m keylog`: ecapture_masterkey.log. SIGHUP opens the file again, for log rotation.
    #[arg(long, short, value_name = "FILE")]
    pub keylogfile: Option<PathBuf>,

    /// -m pcapng: capture packets at this interface; may be repeated. `any`: all, later ones too. Default: that of the
    /// default route.
    #[arg(long, short, value_name = "NAME")]
    pub ifname: Vec<String>,

    /// -m pcapng: write packets and keys to this file; `-` is standard output.
    #[arg(long, short = 'w', value_name = "FILE", default_value = "ecapture_openssl.pcapng")]
    pub pcapfile: PathBuf,

    /// -m pcapng: capture at most this many bytes of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = MOST_SNAPLEN, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_SNAPLEN)))]
    pub snaplen: u32,

    /// -m pcapng: packets whose program is not known. Default: drop them with -p, -u, --comm, --exclude-comm or
    /// --cgroup_path, else keep them.
    #[arg(long, value_name = "WHAT")]
    pub unowned: Option<Unowned>,

    /// -m pcapng: which packets name their process in a comment.
    #[arg(long, value_name = "WHICH", default_value = "once")]
    pub packet_comments: PacketComments,

    /// -m pcapng: add the plaintext that was seen, for connections whose packets can not be decrypted.
    #[arg(long)]
    pub with_plaintext: bool,

    /// -m pcapng: capture only packets that match this expression, in the language of tcpdump (pcap-filter(7)).
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Which packets name their process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PacketComments {
    /// The first of each connection.
    Once,
    /// Each.
    Each,
}

/// What becomes of packets whose program is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unowned {
    /// They are captured.
    Keep,
    /// They are not.
    Drop,
}

/// Options of `extcap`: the protocol of extcap(4).
#[derive(Debug, Args)]
pub struct Extcap {
    /// List interfaces.
    #[arg(long)]
    pub extcap_interfaces: bool,

    /// List link types of an interface.
    #[arg(long)]
    pub extcap_dlts: bool,

    /// List options of an interface.
    #[arg(long)]
    pub extcap_config: bool,

    /// Version of Wireshark; of no importance.
    #[arg(long, value_name = "VERSION")]
    pub extcap_version: Option<String>,

    /// The interface.
    #[arg(long, value_name = "NAME")]
    pub extcap_interface: Option<String>,

    /// Filter expression; without --capture it is only checked.
    #[arg(long, value_name = "FILTER")]
    pub extcap_capture_filter: Option<String>,

    /// Capture.
    #[arg(long)]
    pub capture: bool,

    /// Write packets and keys there.
    #[arg(long, value_name = "FILE")]
    pub fifo: Option<PathBuf>,
}

/// Options of `bash`.
#[derive(Debug, Args)]
pub struct Bash {
    /// Hook only this shell; one without its own readline library needs --readlineso as well.
    #[arg(long, value_name = "FILE")]
    pub bash: Option<PathBuf>,

    /// Hook this readline library, for a shell that does not contain its own.
    #[arg(long, value_name = "FILE", requires = "bash")]
    pub readlineso: Option<PathBuf>,

    /// Show only commands that end with this exit status, once they have. 128: all.
    #[arg(long, short, value_name = "STATUS", default_value_t = 128, value_parser = clap::value_parser!(i32).range(0..=255))]
    pub errnumber: i32,
}

/// Options of `zsh`.
#[derive(Debug, Args)]
pub struct Zsh {
    /// Hook only this shell.
    #[arg(long, value_name = "FILE")]
    pub zsh: Option<PathBuf>,

    /// Show only commands that end with this exit status, once they have. 128: all.
    #[arg(long, short, value_name = "STATUS", default_value_t = 128, value_parser = clap::value_parser!(i32).range(0..=255))]
    pub errnumber: i32,
}

/// Options of `shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// Programs of this name are shells, too (15 characters count); may be repeated.
    #[arg(long, value_name = "NAME")]
    pub shell: Vec<String>,

    /// Show only programs, not lines.
    ///
    /// Saves 0.1 µs of each system call on the machine, and 0.4 µs of each read.
    #[arg(long)]
    pub no_lines: bool,

    /// Show only programs that end with this exit status, once they have. 128: all.
    #[arg(long, short, value_name = "STATUS", default_value_t = 128, value_parser = clap::value_parser!(i32).range(0..=255))]
    pub errnumber: i32,
}

/// Options of `mysqld`.
#[derive(Debug, Args)]
pub struct Mysqld {
    /// Hook only this server.
    #[arg(long, short, value_name = "FILE")]
    pub mysqld: Option<PathBuf>,

    /// Name of dispatch_command in the file of --mysqld, instead of what is found.
    ///
    /// Its C++ name, from which the order of its arguments is known.
    #[arg(long, short, value_name = "NAME", requires = "mysqld")]
    pub funcname: Option<String>,

    /// Address of that function, where the file does not tell.
    #[arg(long, value_name = "0xADDRESS", requires = "funcname")]
    pub offset: Option<String>,
}

/// Options of `postgres`.
#[derive(Debug, Args)]
pub struct Postgres {
    /// Hook only this server.
    #[arg(long, short = 'm', value_name = "FILE")]
    pub postgres: Option<PathBuf>,

    /// A function in the file of --postgres whose first argument is the text of a statement, instead of what is found.
    #[arg(long, short, value_name = "NAME", requires = "postgres")]
    pub funcname: Option<String>,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Programs or libraries.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// One JSON object for each file, in a line.
    #[arg(long)]
    pub json: bool,
}

/// Names of TLS libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// OpenSSL, BoringSSL and other forks.
    Openssl,
    /// GnuTLS.
    Gnutls,
    /// NSS.
    Nss,
    /// Go's crypto/tls.
    Go,
    /// rustls.
    Rustls,
}

/// What a capture can produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Plaintext.
    Text,
    /// TLS secrets as an NSS key log, with which Wireshark decrypts captured packets.
    #[value(alias = "key")]
    Keylog,
    /// Packets, with the TLS secrets that decrypt them, as a capture file for Wireshark.
    #[value(alias = "pcap")]
    Pcapng,
}
