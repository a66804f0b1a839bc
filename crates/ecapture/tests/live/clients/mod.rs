//! Clients of the servers of ecapture: WebSocket in Python, HTTP by hand.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::packages::{kept, succeeds};
use crate::process::{PATIENCE, Running, output_of, wait_for};

/// `events.py`, with what it needs: packages, and the module that protoc makes of proto/event.proto.
pub fn event_client(arguments: &[&str]) -> Running {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let directory = python_packages("event-stream", &["grpcio-tools", "protobuf", "websockets"]);
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let mut protoc = python(&directory);
        protoc.args(["-m", "grpc_tools.protoc"]).arg(format!("-I{}", proto.display()));
        protoc.arg(format!("--python_out={}", directory.display())).arg("event.proto");
        assert!(succeeds(&mut protoc), "protoc");
        directory
    });
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/clients/events.py");
    Running::start(python(modules).arg(program).args(arguments))
}

/// Packages of Python, fetched once.
pub fn python_packages(name: &str, packages: &[&str]) -> PathBuf {
    let directory = kept(name);
    if !directory.exists() {
        let made = kept(&format!("{name}.{}", std::process::id()));
        let mut pip = Command::new("/usr/bin/python3");
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target"]);
        assert!(succeeds(pip.arg(&made).args(packages)), "pip install {packages:?}");
        if fs::rename(&made, &directory).is_err() {
            let _ = fs::remove_dir_all(&made); // another run was faster
        }
    }
    directory
}

/// Python with the packages of a directory.
pub fn python(packages: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Lines of JSON that a client printed.
pub fn told(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// An answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request on a connection of its own; `head` may have more fields, each with its line end.
#[track_caller]
pub fn ask(mut stream: impl Read + Write, line: &str, head: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A connection to a server of this machine.
#[track_caller]
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[track_caller]
pub fn get(port: u16, path: &str) -> Answer {
    ask(connect(port), &format!("GET {path}"), "", "")
}

#[track_caller]
pub fn post(port: u16, path: &str, body: &str) -> Answer {
    ask(connect(port), &format!("POST {path}"), "Content-Type: application/json\r\n", body)
}

/// The status of a run, once it has what `found` looks for; asked for less often than is allowed.
pub fn wait_for_status<T>(port: u16, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
    wait_for(what, || {
        thread::sleep(Duration::from_millis(30));
        found(&get(port, "/status").json())
    })
}

/// Makes a file with a token that only we can read.
pub fn token_file(path: &Path) -> String {
    let token = output_of("openssl", &["rand", "-hex", "32"]);
    fs::write(path, &token).expect("written");
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    token.trim().to_owned()
}
