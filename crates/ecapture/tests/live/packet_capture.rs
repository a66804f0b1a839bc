//! A run of `ecapture tls -m pcapng` at one end of a network, and what tshark makes of its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::capture::ecapture;
use crate::lab::{Lab, Server, read_text, ready_port};
use crate::network::{End, Network};
use crate::process::{Finished, Running, output_of, wait_for};

/// A run in progress.
pub struct PacketCapture {
    pub running: Running,
    pub path: PathBuf,
}

/// `ecapture tls -m pcapng` for the programs of a lab.
pub fn pcapng(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = ecapture();
    command
        .current_dir(lab.path("."))
        .args(["tls", "-m", "pcapng", "--libssl"])
        .arg(&lab.libssl)
        .args(arguments);
    command
}

impl PacketCapture {
    /// Captures here; returns when it does.
    pub fn start(lab: &Lab, network: &Network, arguments: &[&str]) -> Self {
        Self::with(lab, network, pcapng(lab, arguments))
    }

    /// The same with a command of its own.
    pub fn with(lab: &Lab, network: &Network, mut command: Command) -> Self {
        let path = lab.path("capture.pcapng");
        command.arg("-w").arg(&path);
        let running = Running::start(&mut network.at(End::Here, &command));
        running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
        Self { running, path }
    }

    /// Ends it in good order; answers what it said.
    pub fn stop(self) -> Finished {
        self.running.signal(Signal::INT);
        self.running.finish().succeeded()
    }
}

/// A lab with a page to fetch.
pub fn lab() -> Lab {
    let lab = Lab::new();
    lab.file("page", b"it works\n");
    lab
}

/// A URL of a file there.
pub fn url(address: &str, port: u16, path: &str) -> String {
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("https://{address}:{port}/{path}")
}

/// A file in the words of tshark: the fields of each packet that matches, one line each.
pub fn fields(file: &Path, matching: &str, fields: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-r", file.to_str().expect("UTF-8"), "-Y", matching, "-T", "fields"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    output_of("tshark", &arguments).lines().map(str::to_owned).collect()
}

/// Number of packets that match.
pub fn count(file: &Path, matching: &str) -> usize {
    fields(file, matching, &["frame.number"]).len()
}

/// An HTTPS server that answers with the files of its directory, on every address.
const SERVER: &str = r"
import http.server, socket, ssl
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Server(('::', 4433), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print('ready', server.server_port, flush=True)
server.serve_forever()
";

/// Starts a server at an end.
pub fn serve(lab: &Lab, network: &Network, end: End) -> Server {
    let mut command = lab.command("/usr/bin/python3");
    command.args(["-c", SERVER]);
    let running = Running::start(&mut network.at(end, &command));
    let port = ready_port(&running);
    Server { running, port }
}

/// Fetches a file of the lab from there.
#[track_caller]
pub fn fetch(lab: &Lab, network: &Network, url: &str, options: &[&str]) -> u32 {
    let mut command = lab.command("curl");
    command.args(["-sk", "--max-time", "20", "--noproxy", "*"]).args(options).arg(url);
    let curl = Running::start(&mut network.at(End::Here, &command));
    let pid = curl.pid();
    curl.finish().succeeded();
    pid
}

/// Starts nginx, which speaks HTTP/2, at loopback here; its page is `/page`.
pub fn serve_http2(lab: &Lab, network: &Network) -> Server {
    let (command, port) = lab.nginx_command("http2");
    fs::create_dir_all(lab.path("www")).expect("a directory");
    lab.file("www/page", b"it works\n");
    let running = Running::start(&mut network.at(End::Here, &command));
    let mut knock = Command::new("curl");
    knock.args(["-sk", "--noproxy", "*", "-o", "/dev/null", &url("127.0.0.1", port, "")]);
    let mut knock = network.at(End::Here, &knock);
    wait_for("nginx", || knock.status().expect("curl").success().then_some(()));
    Server { running, port }
}

/// Starts a Python program at an end, with the private libssl, and waits until it says `ready`.
pub fn start_python(lab: &Lab, network: &Network, end: End, source: &str, arguments: &[&str]) -> Running {
    let mut python = lab.command("/usr/bin/python3");
    python.args(["-c", source]).args(arguments);
    let running = Running::start(&mut network.at(end, &python));
    ready_port(&running);
    running
}

/// Runs a Python program here to its end, with the private libssl; answers what it printed.
#[track_caller]
pub fn run_python(lab: &Lab, network: &Network, source: &str, arguments: &[&str]) -> String {
    let mut python = lab.command("/usr/bin/python3");
    python.args(["-c", source]).args(arguments);
    Running::start(&mut network.at(End::Here, &python)).finish().succeeded().text()
}

/// The BPF links that a process holds, with the interface of each.
pub fn links(pid: u32) -> Vec<(u32, u32)> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a directory");
    let texts = descriptors.map(|entry| read_text(entry.expect("an entry").path()));
    texts
        .filter_map(|text| {
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u32>().ok()
            };
            Some((field("link_id:")?, field("ifindex:")?))
        })
        .collect()
}

/// Whether the kernel still has a link.
pub fn is_attached(link: u32) -> bool {
    Command::new("bpftool")
        .args(["link", "show", "id", &link.to_string()])
        .output()
        .expect("bpftool")
        .status
        .success()
}
