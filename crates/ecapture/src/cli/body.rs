//! What a request to the control API may ask for: keys of eCapture 1 and 2, and ours.
//!
//! A body is laid over the command line: what it does not name, or names with an empty value, is as it was at the
//! start. What shapes the hooks is decided at the start; a body that asks for something else is refused.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use serde_json::{Map, Value};

use super::args::{self, Capture, Cli, Command, Global, Model};
use super::config::{self, Destination, Target};
use crate::filter::{Processes, Selection};
use crate::server::{Module, Refusal};

/// The command line that a run was started with.
#[derive(Debug)]
pub struct Original {
    /// What is captured.
    pub module: Module,
    global: Global,
    /// Whether plaintext is captured.
    has_plaintext: bool,
    /// Whether secrets or packets are captured: they are not selected by process in user space.
    is_more_than_plaintext: bool,
    /// What only the start decides, by option.
    fixed: Vec<(&'static str, String)>,
}

/// What can be changed while the capture goes on.
#[derive(Debug)]
pub struct Settings {
    /// Which processes are shown.
    pub processes: Processes,
    /// Which messages are shown.
    pub selection: Selection,
    /// Payloads always as hex dumps.
    pub hex: bool,
    /// Most bytes of a message as text.
    pub limit: Option<u64>,
    /// Where records go besides standard output or the file in its place.
    pub second: Option<Destination>,
}

/// What a key of a body means.
#[derive(Clone, Copy)]
enum Key {
    Pid,
    Uid,
    Hex,
    Limit,
    Events,
    Filter,
    /// As this option, at the start only.
    Fixed(&'static str),
    /// Found out by ecapture itself.
    Unneeded,
}

/// The key of where records go.
const EVENTS: &str = "event_collector_addr";

/// Every key, in lower case: eCapture does not tell cases apart.
const KEYS: &[(Key, &[&str])] = &[
    (Key::Pid, &["pid"]),
    (Key::Uid, &["uid"]),
    (Key::Hex, &["is_hex", "hex"]),
    (Key::Limit, &["truncate_size"]),
    (Key::Events, &[EVENTS]),
    (Key::Filter, &["filter"]),
    (Key::Fixed("--debug"), &["debug"]),
    (Key::Fixed("--btf"), &["btf_mode", "btf"]),
    (Key::Fixed("--mapsize"), &["per_cpu_map_size"]),
    (Key::Fixed("--logaddr"), &["logger_addr"]),
    (Key::Fixed("--ecaptureq"), &["ecapture_q"]),
    (Key::Fixed("--listen"), &["listen"]),
    (Key::Fixed("--cgroup_path"), &["cgroup_path", "cgrouppath"]),
    (Key::Fixed("-m"), &["model", "capturemode", "capture_mode"]),
    (Key::Fixed("-k"), &["keylog", "keylogfile", "keylog_file"]),
    (Key::Fixed("-w"), &["pcapfile", "pcap_file"]),
    (Key::Fixed("-i"), &["ifname"]),
    (Key::Fixed("FILTER"), &["pcapfilter", "pcap_filter"]),
    (Key::Fixed("--ssl_version"), &["sslversion", "gnuversion"]),
    (Key::Fixed("-e"), &["errno"]),
    (Key::Fixed("--readlineso"), &["readline"]),
    (Key::Fixed("-f"), &["funcname"]),
    (Key::Fixed("--offset"), &["offset"]),
    (
        Key::Fixed("the file to hook"),
        &[
            "openssl",
            "opensslpath",
            "path",
            "elf_path",
            "gnutls",
            "gnutlspath",
            "nsprpath",
            "nspr_path",
            "nss_path",
            "bashpath",
            "zshpath",
            "mysqldpath",
            "mysqlpath",
            "postgrespath",
        ],
    ),
    (
        Key::Unneeded,
        &[
            "addr_type",
            "androidver",
            "build_info",
            "byte_code_file_mode",
            "elf_type",
            "go_version",
            "is_android",
            "is_pie_build_mode",
            "is_register_abi",
            "isboringssl",
            "logger_type",
            "masterhookfuncs",
            "perf_reorder",
            "perf_reorder_lag_ms",
            "readline_func_name",
            "sslbpffile",
        ],
    ),
];

impl Original {
    /// What a command line says; `None`: it captures nothing.
    pub(super) fn new(cli: &Cli) -> Option<Self> {
        let (mut readline, mut version, mut status, mut capture) = (None, None, None, None);
        let file;
        let module = match cli.command.as_ref()? {
            Command::Tls(tls) => {
                (file, version, capture) = (tls.libssl.as_ref(), tls.ssl_version.clone(), Some(&tls.capture));
                Module::Tls
            }
            Command::Gnutls(gnutls) => {
                (file, capture) = (gnutls.gnutls.as_ref(), Some(&gnutls.capture));
                Module::Gnutls
            }
            Command::Nss(nss) => {
                (file, capture) = (nss.nspr.first(), Some(&nss.capture));
                Module::Nspr
            }
            Command::Gotls(go) => {
                (file, capture) = (go.elfpath.as_ref(), Some(&go.capture));
                Module::Gotls
            }
            Command::Bash(bash) => {
                (file, readline, status) =
                    (bash.bash.as_ref(), bash.readlineso.as_ref(), Some(bash.errnumber));
                Module::Bash
            }
            Command::Zsh(zsh) => {
                (file, status) = (zsh.zsh.as_ref(), Some(zsh.errnumber));
                Module::Zsh
            }
            Command::Mysqld(server) => {
                file = server.mysqld.as_ref();
                Module::Mysqld
            }
            Command::Postgres(server) => {
                file = server.postgres.as_ref();
                Module::Postgres
            }
            _ => return None,
        };
        let global = cli.global.clone();
        let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let mut fixed = vec![
            ("--debug", global.debug.to_string()),
            ("--btf", global.btf.to_string()),
            ("--logaddr", path(global.logaddr.as_ref())),
            ("--ecaptureq", global.ecaptureq.clone().unwrap_or_default()),
            ("--listen", global.listen.clone().unwrap_or_default()),
            ("--cgroup_path", path(global.cgroup_path.as_ref())),
            ("the file to hook", path(file)),
            ("--readlineso", path(readline)),
            ("--ssl_version", version.unwrap_or_default()),
            ("-e", status.map(|status| status.to_string()).unwrap_or_default()),
        ];
        if let Some(Capture { model, keylogfile, ifname, pcapfile, filter, .. }) = capture {
            fixed.extend([
                ("-m", model.iter().map(|model| model_name(*model)).collect::<Vec<_>>().join(",")),
                ("-k", path(keylogfile.as_ref())),
                ("-i", ifname.join(",")),
                ("-w", path(Some(pcapfile))),
                ("FILTER", filter.join(" ")),
            ]);
        }
        let is_more_than_plaintext =
            capture.is_some_and(|capture| capture.model != [Model::Text] || capture.keylogfile.is_some());
        let has_plaintext = capture.is_none_or(|capture| capture.model.contains(&Model::Text));
        Some(Self { module, global, has_plaintext, is_more_than_plaintext, fixed })
    }

    /// What a body asks for. Whom we do not trust can not have a file written.
    ///
    /// # Errors
    /// It is about something else, or asks for what can not be.
    pub fn lay_over(
        &self,
        module: Module,
        body: &Map<String, Value>,
        is_trusted: bool,
    ) -> Result<Settings, Refusal> {
        if module != self.module {
            let name = self.module.name();
            return Err(Refusal::NotCaptured(format!("this process captures {name}; start another one")));
        }
        let settings = self.settings(body).and_then(|settings| {
            let is_file = matches!(&settings.second, Some(Destination { target: Target::File { .. }, .. }));
            if is_file && !is_trusted && body.keys().any(|key| key.eq_ignore_ascii_case(EVENTS)) {
                bail!("{EVENTS}: files are for requests with a token or at a Unix socket");
            }
            Ok(settings)
        });
        settings.map_err(|error| Refusal::Invalid(format!("{error:#}")))
    }

    fn settings(&self, body: &Map<String, Value>) -> Result<Settings> {
        let mut global = self.global.clone();
        let mut processes = Processes::default();
        for (name, value) in body {
            let lower = name.to_ascii_lowercase();
            let key = KEYS.iter().find(|(_, names)| names.contains(&lower.as_str()));
            let (key, _) = key.ok_or_else(|| anyhow!("{name}: no such key"))?;
            let wrong = || anyhow!("{name}: {value} is not possible");
            match key {
                Key::Unneeded => {}
                Key::Fixed(option) => self.check_fixed(name, option, value)?,
                Key::Pid => processes.pids = numbers(value).ok_or_else(wrong)?,
                Key::Uid => processes.uids = numbers(value).ok_or_else(wrong)?,
                Key::Hex => global.hex = value.as_bool().ok_or_else(wrong)?,
                Key::Limit => global.tsize = value.as_u64().ok_or_else(wrong)?,
                Key::Events => {
                    let address = value.as_str().ok_or_else(wrong)?;
                    if !self.has_plaintext && !address.is_empty() {
                        bail!("{name}: only -m text captures plaintext");
                    }
                    global.eventaddr = (!address.is_empty()).then(|| address.into());
                }
                Key::Filter => {
                    let selection = value.as_object().ok_or_else(wrong)?;
                    global.filter = self.parse_filter(selection)?;
                }
            }
        }
        self.check_processes(&processes)?;
        Ok(Settings {
            processes,
            selection: config::filter(&global.filter)?.selection,
            hex: global.hex,
            limit: (global.tsize != 0).then_some(global.tsize),
            second: if self.has_plaintext { config::second_destination(&global)? } else { None },
        })
    }

    /// A value that says nothing leaves everything as it is.
    fn check_fixed(&self, name: &str, option: &str, value: &Value) -> Result<()> {
        let given = match value {
            Value::Null | Value::Bool(false) => return Ok(()),
            Value::String(text) => text.clone(),
            Value::Number(number) if option == "-e" && number.as_u64() == Some(128) => return Ok(()),
            Value::Number(number) if number.as_u64() == Some(0) => return Ok(()),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => bail!("{name}: {value} is not possible"),
        };
        let given = match (option, given.as_str()) {
            ("-m", "key") => "keylog",
            ("-m", "pcap") => "pcapng",
            (_, given) => given,
        };
        let started = self.fixed.iter().find(|(other, _)| *other == option).map(|(_, value)| value.as_str());
        if given.is_empty() || Some(given) == started {
            return Ok(());
        }
        bail!("{name}: {option} is decided at the start; start another ecapture for {given}")
    }

    fn check_processes(&self, wanted: &Processes) -> Result<()> {
        if wanted.is_all() {
            return Ok(());
        }
        if self.is_more_than_plaintext {
            bail!("pid, uid: keys and packets are chosen by process at the start only, with -p and -u");
        }
        let started = Processes { pids: self.global.pid.clone(), uids: self.global.uid.clone() };
        for (name, wanted, started) in
            [("pid", &wanted.pids, &started.pids), ("uid", &wanted.uids, &started.uids)]
        {
            let is_possible =
                |number| started.is_empty() || *started == [0] && name == "pid" || started.contains(number);
            if let Some(number) = wanted.iter().find(|number| !is_possible(number)) {
                bail!("{name}: {number} is left out since the start, by --{name}");
            }
        }
        Ok(())
    }

    /// Members are options of selection by their long names; values are texts or numbers, or arrays of them. What is
    /// hidden stays hidden.
    fn parse_filter(&self, members: &Map<String, Value>) -> Result<args::Filter> {
        const OPTIONS: [&str; 7] = ["host", "path", "method", "status", "port", "grep", "only"];
        let mut line = vec!["ecapture".to_owned()];
        for (name, value) in members {
            if !OPTIONS.contains(&name.as_str()) {
                bail!("filter.{name}: no such option; there are {}", OPTIONS.join(", "));
            }
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                line.push(match value {
                    Value::String(text) => format!("--{name}={text}"),
                    Value::Number(number) => format!("--{name}={number}"),
                    _ => bail!("filter.{name}: {value} is not possible"),
                });
            }
        }
        let parsed = Cli::try_parse_from(line).map_err(|error| {
            let text = error.to_string();
            anyhow!("filter: {}", text.lines().next().unwrap_or_default().trim_start_matches("error: "))
        })?;
        let args::Filter { redact, redact_rules, .. } = self.global.filter.clone();
        let filter = args::Filter { redact, redact_rules, ..parsed.global.filter };
        if !matches!(self.module, Module::Tls | Module::Gotls | Module::Gnutls | Module::Nspr) {
            config::refuse_selection_of_tls(&filter)?;
        }
        Ok(filter)
    }
}

fn model_name(model: Model) -> &'static str {
    match model {
        Model::Text => "text",
        Model::Keylog => "keylog",
        Model::Pcapng => "pcapng",
    }
}

/// A number, of which 0 means all as in eCapture, or an array of exactly those that are meant.
fn numbers(value: &Value) -> Option<Vec<u32>> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    match value {
        Value::Array(values) => values.iter().map(number).collect(),
        _ => number(value).map(|number| if number == 0 { Vec::new() } else { vec![number] }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn original(line: &str) -> Original {
        Original::new(&Cli::try_parse_from(line.split(' ')).expect("a command line")).expect("a capture")
    }

    fn settings(line: &str, body: Value) -> Result<Settings> {
        original(line).settings(body.as_object().expect("an object"))
    }

    fn refused(line: &str, body: Value) -> String {
        format!("{:#}", settings(line, body).expect_err("refused"))
    }

    #[test]
    fn a_body_is_laid_over_the_command_line() {
        let line = "ecapture tls --hex --host a --eventaddr /tmp/events --listen";
        let same = settings(line, json!({})).expect("nothing");
        assert!(same.processes.is_all() && same.hex && same.limit.is_none() && same.second.is_some());
        assert_eq!(same.selection.hosts.len(), 1);
        let body = json!({ "pid": 5, "uid": [0, 7], "is_hex": false, "truncate_size": 9,
            "event_collector_addr": "", "filter": { "path": ["/a*", "/b"], "port": 443 } });
        let other = settings(line, body).expect("possible");
        assert_eq!((other.processes.pids, other.processes.uids), (vec![5], vec![0, 7]));
        assert!(!other.hex && other.second.is_none());
        assert_eq!(other.limit, Some(9));
        assert!(other.selection.hosts.is_empty());
        assert_eq!((other.selection.paths.len(), other.selection.ports), (2, vec![443]));
        let all = settings(line, json!({ "pid": 0, "uid": 0 })).expect("possible");
        assert!(all.processes.is_all());
    }

    /// Bodies as clients of eCapture 1 and 2 send them, every key set.
    #[test]
    fn keys_of_both_versions() {
        let first = json!({ "pid": 0, "uid": 0, "listen": "", "truncate_size": 0, "per_cpu_map_size": 0,
            "is_hex": false, "debug": false, "btf_mode": 0, "byte_code_file_mode": 0, "logger_addr": "",
            "logger_type": 0, "event_collector_addr": "", "ecapture_q": "", "openssl": "/lib/libssl.so.3",
            "model": "text", "pcapfile": "", "keylog": "", "ifname": "", "pcapfilter": "", "sslversion": "",
            "cgrouppath": "" });
        let second = json!({ "pid": 0, "uid": 0, "debug": false, "is_hex": false, "btf_mode": 0,
            "byte_code_file_mode": 0, "per_cpu_map_size": 0, "truncate_size": 0, "logger_addr": "",
            "event_collector_addr": "", "ecapture_q": "", "listen": "", "addr_type": 0, "cgroup_path": "",
            "perf_reorder": false, "perf_reorder_lag_ms": 10, "opensslpath": "/lib/libssl.so.3",
            "capturemode": "text", "keylogfile": "", "pcapfile": "", "ifname": "", "pcapfilter": "",
            "sslversion": "", "isboringssl": false, "masterhookfuncs": [], "sslbpffile": "",
            "is_android": false, "androidver": "" });
        for body in [first, second] {
            settings("ecapture tls --libssl /lib/libssl.so.3", body).expect("possible");
        }
        let bash = json!({ "BashPath": "/bin/bash", "Readline": "", "errno": 128, "elf_type": 1,
            "readline_func_name": "readline" });
        settings("ecapture bash --bash /bin/bash", bash).expect("possible");
        let postgres = json!({ "PostgresPath": "", "FuncName": "" });
        settings("ecapture postgres", postgres).expect("possible");
        settings("ecapture tls -m keylog", json!({ "model": "key" })).expect("possible");
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let line = "ecapture tls -p 0";
        for (body, word) in [
            (json!({ "openssl": "/lib/libssl.so.3" }), "the file to hook"),
            (json!({ "model": "keylog" }), "-m"),
            (json!({ "debug": true }), "--debug"),
            (json!({ "per_cpu_map_size": 1024 }), "--mapsize"),
            (json!({ "typo": 1 }), "no such key"),
            (json!({ "pid": -1 }), "not possible"),
            (json!({ "pid": "1" }), "not possible"),
            (json!({ "is_hex": 1 }), "not possible"),
            (json!({ "event_collector_addr": "udp://a:1" }), "udp://"),
            (json!({ "filter": { "status": "9999x" } }), "status"),
            (json!({ "filter": { "redact": false } }), "no such option"),
            (json!({ "filter": { "grep": "(" } }), "--grep"),
            (json!({ "filter": { "grep": [["a"]] } }), "not possible"),
        ] {
            let why = refused(line, body.clone());
            assert!(why.contains(word), "{body}: {why}");
        }
        assert!(refused("ecapture tls -u 5", json!({ "uid": 6 })).contains("--uid"));
        assert!(settings("ecapture tls -u 5 -u 6", json!({ "uid": 6 })).is_ok());
        assert!(refused("ecapture tls -m text,keylog", json!({ "pid": 6 })).contains("keys"));
        let address = json!({ "event_collector_addr": "tcp://a:1" });
        assert!(refused("ecapture tls -m keylog", address).contains("-m text"));
        let keys = settings("ecapture tls -m keylog -l /tmp/log", json!({})).expect("nothing");
        assert!(keys.second.is_none());
        assert!(refused("ecapture bash", json!({ "filter": { "host": "a" } })).contains("--host"));
        let other = original("ecapture bash").lay_over(Module::Tls, &Map::new(), true);
        assert!(matches!(other, Err(Refusal::NotCaptured(_))));
    }

    #[test]
    fn strangers_have_no_files_written() {
        let original = original("ecapture tls --eventaddr /tmp/events");
        let ask = |body: Value, is_trusted| {
            original.lay_over(Module::Tls, body.as_object().expect("an object"), is_trusted).is_ok()
        };
        let file = json!({ "Event_Collector_Addr": "/etc/passwd" });
        assert_eq!((ask(file.clone(), true), ask(file, false)), (true, false));
        assert!(ask(json!({ "event_collector_addr": "tcp://localhost:1" }), false));
        assert!(ask(json!({}), false), "that of the start stays");
    }

    /// What the start hides can not be shown by a request.
    #[test]
    fn redaction_stays() {
        let original = original("ecapture tls --redact");
        let filter = original.parse_filter(json!({ "host": "a" }).as_object().expect("an object"));
        assert!(filter.expect("possible").redact);
    }
}
