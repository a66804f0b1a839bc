//! Programs that people use, each as client or server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::capture::Capture;
use crate::lab::{Lab, ready_port};
use crate::pattern::{self, assert_same};
use crate::process::{Running, output_of};
use crate::record::{RECEIVED, Records, SENT};

/// Answers every request with the file `body`; prints its port.
const PYTHON_SERVER: &str = r#"
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open('body', 'rb').read()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
"#;

const PYTHON_CLIENT: &str = r#"
import http.client, ssl, sys
connection = http.client.HTTPSConnection('localhost', int(sys.argv[1]), context=ssl.create_default_context(cafile='cert.pem'))
connection.request('GET', '/from-python')
sys.stdout.buffer.write(connection.getresponse().read())
"#;

const NODE_SERVER: &str = r"
const fs = require('fs');
const options = { cert: fs.readFileSync('cert.pem'), key: fs.readFileSync('key.pem') };
const server = require('https').createServer(options, (request, response) => response.end(fs.readFileSync('body')));
server.listen(0, '127.0.0.1', () => console.log('ready ' + server.address().port));
";

const NODE_CLIENT: &str = r"
const options = { host: '127.0.0.1', port: process.argv[1], path: '/from-node', rejectUnauthorized: false, agent: false };
require('https').get(options, response => response.pipe(process.stdout));
";

const PERL_CLIENT: &str = r#"
use IO::Socket::SSL;
my $s = IO::Socket::SSL->new(PeerHost => '127.0.0.1', PeerPort => $ARGV[0], SSL_verify_mode => SSL_VERIFY_NONE) or die $SSL_ERROR;
print $s "GET /from-perl HTTP/1.0\r\nHost: localhost\r\n\r\n";
local $/; my $all = <$s>; $all =~ s/.*?\r\n\r\n//s; print $all;
"#;

fn body() -> Vec<u8> {
    pattern::body(4, 100_000)
}

/// Both ends of one request must have been shown; `server` none when it was not captured.
#[track_caller]
fn assert_exchange(client: &Records, server: Option<&Records>, path: &str) {
    let (sent, received) = client.both_ways();
    assert!(sent.starts_with(format!("GET {path} HTTP/1.").as_bytes()), "{}", sent.escape_ascii());
    assert!(sent.ends_with(b"\r\n\r\n"));
    assert!(received.starts_with(b"HTTP/1."), "{}", received[..20].escape_ascii());
    if let Some(server) = server {
        let (answered, asked) = server.both_ways();
        assert_same(&asked, &sent, "the request at the server");
        assert_same(&answered, &received, "the answer at the server");
    }
}

/// A client program against the Python server, both of which use the library of the lab.
#[track_caller]
fn client_of_python(program: &str, arguments: impl Fn(u16) -> Vec<String>, path: &str) {
    let lab = Lab::new();
    lab.file("body", body());
    let server = lab.https_server(PYTHON_SERVER);
    let capture = lab.capture();
    let client = Running::start(lab.command(program).args(arguments(server.port)));
    let pid = client.pid();
    let got = client.finish().succeeded().stdout;
    assert_same(&got, &body(), "what the client got");
    let records = capture.stop().complete();
    assert_exchange(&records.of(pid), Some(&records.of(server.running.pid())), path);
    assert!(records.of(pid).both_ways().1.ends_with(&body()));
}

#[test]
fn python_client_and_server() {
    let arguments = |port: u16| vec!["-c".into(), PYTHON_CLIENT.into(), port.to_string()];
    client_of_python("/usr/bin/python3", arguments, "/from-python");
}

#[test]
fn perl_client() {
    client_of_python("perl", |port| vec!["-e".into(), PERL_CLIENT.into(), port.to_string()], "/from-perl");
}

#[test]
fn socat_client() {
    let lab = Lab::new();
    lab.file("body", body());
    let server = lab.https_server(PYTHON_SERVER);
    let capture = lab.capture();
    let request = lab.file("request", "GET /from-socat HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let address = format!("OPENSSL:127.0.0.1:{},verify=0", server.port);
    let mut command = lab.command("socat");
    // Half of it would close the connection when the request was sent.
    command.args(["-t", "10", "-", &address]).stdin(fs::File::open(request).expect("a file"));
    let client = Running::start_with_input(&mut command);
    let pid = client.pid();
    assert!(client.finish().succeeded().stdout.ends_with(&body()));
    let records = capture.stop().complete();
    assert_exchange(&records.of(pid), Some(&records.of(server.running.pid())), "/from-socat");
}

#[test]
fn apache_bench_with_parallel_connections() {
    let lab = Lab::new();
    lab.file("body", body());
    let server = lab.https_server(PYTHON_SERVER);
    let capture = lab.capture_much();
    let url = format!("https://127.0.0.1:{}/from-ab", server.port);
    let client = Running::start(lab.command("ab").args(["-q", "-n", "20", "-c", "5", &url]));
    let pid = client.pid();
    client.finish().succeeded();
    let records = capture.stop().complete();
    let connections = records.of(pid).connections();
    assert_eq!(connections.len(), 20);
    for connection in connections {
        assert!(connection.way(SENT).bytes().starts_with(b"GET /from-ab HTTP/1.0\r\n"));
        assert!(connection.way(RECEIVED).bytes().ends_with(&body()));
    }
}

#[test]
fn openssl_s_client_and_s_server() {
    let lab = Lab::new();
    lab.file("body", body());
    let mut command = lab.command("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-WWW"]);
    let server = Running::start(&mut command);
    let port = accept_port(&server);
    let capture = lab.capture();
    let mut command = lab.command("openssl");
    command.args(["s_client", "-quiet", "-ign_eof", "-connect", &format!("127.0.0.1:{port}")]);
    let request = lab.file("request", "GET /body HTTP/1.0\r\n\r\n");
    let client = Running::start_with_input(command.stdin(fs::File::open(request).expect("a file")));
    let pid = client.pid();
    assert!(client.finish().stdout.ends_with(&body()));
    let records = capture.stop().complete();
    assert_exchange(&records.of(pid), Some(&records.of(server.pid())), "/body");
}

/// The port of `openssl s_server -accept 127.0.0.1:0`.
fn accept_port(server: &Running) -> u16 {
    server.line("\"ACCEPT\"", |line| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok())
}

#[test]
fn a_server_that_uses_bio_f_ssl() {
    let lab = Lab::new();
    let mut command = lab.command("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-www"]);
    let server = Running::start(&mut command);
    let port = accept_port(&server);
    let capture = lab.capture();
    let (curl, finished) = lab.curl(&["--http1.0", &format!("https://127.0.0.1:{port}/status")]);
    let records = capture.stop().complete();
    let page = finished.stdout;
    assert!(page.windows(7).any(|seven| seven == b"s_serve"), "the status page");
    assert_exchange(&records.of(curl), Some(&records.of(server.pid())), "/status");
    assert!(records.of(server.pid()).both_ways().0.ends_with(&page));
}

/// A client and a server of Node.js, which may carry OpenSSL in the executable or use the system's.
#[track_caller]
fn node(program: &Path) {
    let lab = Lab::new();
    lab.file("body", body());
    let inside = !output_of("ldd", &[program.to_str().expect("UTF-8")]).contains("libnode");
    let capture = if inside { Capture::of(program) } else { lab.capture() };
    let server = Running::start(lab.command(program).args(["-e", NODE_SERVER]));
    let port = ready_port(&server);
    let client = Running::start(lab.command(program).args(["-e", NODE_CLIENT, &port.to_string()]));
    let pid = client.pid();
    assert_same(&client.finish().succeeded().stdout, &body(), "what the client got");
    let captured = capture.stop();
    assert_eq!(captured.attached(""), 1, "{}", captured.stderr);
    let records = captured.complete();
    let (client, server) = (records.of(pid), records.of(server.pid()));
    // Node's server sends in chunks of its own; the client of the test asks for no keep-alive.
    assert_exchange(&client, Some(&server), "/from-node");
    let received = client.both_ways().1;
    assert!(received.windows(64).any(|line| line == &body()[..64]) && received.ends_with(&body()[99_936..]));
}

#[test]
fn node_of_the_distribution() {
    node(Path::new("/usr/bin/node"));
}

#[test]
fn node_of_npm() {
    node(npm_node());
}

/// The official binary of Node.js, fetched once.
fn npm_node() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm");
        let program = kept.join("node_modules/node/bin/node");
        if !program.exists() {
            fs::create_dir_all(&kept).expect("a directory");
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"])
                .arg(&kept)
                .arg("node@22");
            Running::start(&mut npm).finish().succeeded();
        }
        program
    })
}
