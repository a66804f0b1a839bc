//! NSS: every way in which a program may call it yields exactly the bytes that went through TLS, and keys, in several
//! versions.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use crate::capture::{Capture, Captured, ROOM_FOR_ALL, own_cgroup};
use crate::keys::{lines, lines_once};
use crate::lab::{Lab, Server, target};
use crate::packages::unpacked;
use crate::pattern::{self, assert_same};
use crate::process::{Running, output_of};
use crate::record::{RECEIVED, Record, SENT};

/// Versions of TLS, and the number of lines that a connection has in a key log.
const VERSIONS: [(&str, usize); 2] = [("1.2", 1), ("1.3", 5)];

const LENGTH: usize = 300_000;

/// Takes a line in clear and, in TLS, so many bytes, and gives them back. Keeps a key log.
const ECHO: &str = r"
import socket, ssl, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
context.keylog_filename = 'server.keys'
def serve(plain):
    assert plain.recv(9, socket.MSG_WAITALL) == b'STARTTLS\n'
    with context.wrap_socket(plain, server_side=True) as tls:
        body = b''
        while len(body) < 300000:
            body += tls.recv(65536)
        tls.sendall(body)
        tls.recv(1)
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// A lab whose programs use the NSS of another directory, if one is given.
struct Installed {
    lab: Lab,
    server: Server,
    /// What a run is told to hook.
    files: Vec<PathBuf>,
}

/// Libraries of NSS that depend on each other, and find each other in their directory.
const LIBRARIES: [&str; 6] =
    ["libssl3.so", "libnss3.so", "libnssutil3.so", "libsoftokn3.so", "libfreeblpriv3.so", "libsmime3.so"];
/// What that of Firefox needs.
const OF_FIREFOX: &str = "libmozsqlite3.so";

impl Installed {
    /// With copies of the libraries, as other programs may use these.
    fn from(directories: &[PathBuf]) -> Self {
        let lab = Lab::new();
        let server = lab.python_server(ECHO);
        for name in LIBRARIES {
            let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.exists());
            fs::copy(found.expect("a library of NSS"), lab.path("lib").join(name)).expect("copy it");
        }
        if let Some(found) = directories.iter().map(|at| at.join(OF_FIREFOX)).find(|path| path.exists()) {
            fs::copy(found, lab.path("lib").join(OF_FIREFOX)).expect("copy it");
        }
        let files = ["libssl3.so", "libfreeblpriv3.so"].map(|name| lab.path("lib").join(name));
        Self { lab, server, files: files.to_vec() }
    }

    fn of_this_system() -> Self {
        Self::from(&[system()])
    }

    /// Sends a body in one way, and receives it in another; answers how often calls were made again.
    fn run(&self, sending: &str, receiving: &str, version: &str) -> (Captured, u64, Vec<u8>) {
        let body = pattern::body(9, LENGTH);
        self.lab.file("body", &body);
        let capture = Capture::of_nss(&self.files, &self.lab.path("captured.keys"), &ROOM_FOR_ALL);
        let mut command = self.lab.command(target("nss_forms"));
        command.args([sending, receiving, version, &self.server.port.to_string()]);
        let ended = Running::start(&mut command).finish().succeeded();
        (capture.stop(), ended.text().trim().parse().expect("a number"), body)
    }

    #[track_caller]
    fn assert(&self, sending: &str, receiving: &str, is_again: bool) {
        for (version, count) in VERSIONS {
            let (captured, again, body) = self.run(sending, receiving, version);
            for (part, expected) in
                [("keys", count), ("keys_not_seen", 0), ("keys_refused", 0), ("keys_lost", 0)]
            {
                assert_eq!(captured.summary().get(part), expected as u64, "{part}: {}", captured.stderr);
            }
            let records = captured.complete();
            assert_same(&records.way(SENT).bytes(), &body, "sent");
            assert_same(&records.way(RECEIVED).bytes(), &body, "received");
            assert_eq!(again != 0, is_again, "{sending}: {again} calls were made again");
            let port = format!("127.0.0.1:{}", self.server.port);
            assert_eq!(*records.way(SENT).same("dst"), port);
        }
        // Both connections of this lab.
        assert_eq!(lines_once(&self.lab.path("captured.keys")), lines(&self.lab.path("server.keys")));
    }
}

/// Where this system has NSS.
fn system() -> PathBuf {
    let needed = output_of("ldd", &[target("nss_forms").to_str().expect("UTF-8")]);
    let line = needed.lines().find(|line| line.contains("libssl3.so")).expect("it uses NSS");
    let path = line.split_ascii_whitespace().find(|word| word.starts_with('/')).expect("a path");
    PathBuf::from(path).parent().expect("a directory").to_owned()
}

#[test]
fn every_way_to_send_and_receive() {
    for (sending, receiving) in [("write", "read"), ("send", "recv"), ("writev", "peek"), ("file", "read")] {
        Installed::of_this_system().assert(sending, receiving, false);
    }
}

#[test]
fn calls_that_are_made_again_count_once() {
    Installed::of_this_system().assert("nonblocking", "recv", true);
}

#[test]
fn libraries_are_chosen_by_name_or_command() {
    let nspr = system().join("libnspr4.so");
    let nspr = nspr.to_str().expect("UTF-8");
    let cgroup = own_cgroup().to_str().expect("UTF-8");
    for (command, choice) in [("tls", ["--lib", "nss"]), ("nss", ["--nspr", nspr])] {
        let lab = Lab::new();
        let server = lab.python_server(ECHO); // by OpenSSL
        let body = pattern::body(9, LENGTH);
        lab.file("body", &body);
        let arguments = choice.into_iter().chain(["--cgroup_path", cgroup]).chain(ROOM_FOR_ALL);
        let capture = Capture::commands(command, arguments);
        // Nobody used NSS before, and this is over soon.
        let mut client = lab.command(target("nss_forms"));
        client.env_remove("LD_LIBRARY_PATH").args(["send", "recv", "1.3", &server.port.to_string()]);
        let client = Running::start(&mut client);
        let pid = client.pid();
        client.finish().succeeded();
        let records = capture.stop().complete();
        assert!(records.0.iter().all(|record| record.pid() == pid), "{records:#?}");
        assert_same(&records.way(SENT).bytes(), &body, "sent");
        assert_same(&records.way(RECEIVED).bytes(), &body, "received");
    }
}

/// What Firefox gets, and an authority for the certificate.
const PAGE: &str = r"
import http.server, ssl, subprocess
def openssl(words):
    subprocess.run(['openssl', *words.split()], check=True, capture_output=True)
openssl('req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Tests -keyout ca.key -out ca.pem')
openssl('req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out request.pem')
open('names', 'w').write('subjectAltName=DNS:localhost')
openssl('x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out cert.pem')
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = open('body', 'rb').read() if self.path == '/page' else b''
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
context.keylog_filename = 'server.keys'
server.socket = context.wrap_socket(server.socket, server_side=True)
print('ready', server.server_port, flush=True)
server.serve_forever()
";

/// So that it talks to nobody else.
const PREFERENCES: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("network.trr.mode", 5);
user_pref("security.OCSP.enabled", 0);
user_pref("toolkit.telemetry.enabled", false);
"#;

#[test]
#[ignore = "needs Firefox"]
fn firefox() {
    let lab = Lab::new();
    let body = pattern::body(9, LENGTH);
    lab.file("body", &body);
    let server = lab.python_server(PAGE);
    fs::create_dir(lab.path("profile")).expect("a directory");
    lab.file("profile/user.js", PREFERENCES);
    for words in ["-N --empty-password", "-A -n tests -t C,, -i ca.pem"] {
        let mut certutil = lab.command("certutil");
        certutil.args(["-d", "sql:profile"]).args(words.split(' '));
        Running::start(&mut certutil).finish().succeeded();
    }
    let keys = lab.path("captured.keys");
    let only = ["--cgroup_path".as_ref(), own_cgroup().as_os_str(), "-m".as_ref(), "text,keylog".as_ref()];
    let arguments = only.into_iter().chain(["-k".as_ref(), keys.as_os_str()]);
    let capture = Capture::commands("nss", arguments.chain(ROOM_FOR_ALL.map(OsStr::new)));
    let mut firefox = lab.command("firefox-esr");
    firefox.env_remove("LD_LIBRARY_PATH").env("HOME", lab.path(""));
    firefox.args(["--headless", "--no-remote", "--profile", "profile", "--screenshot", "page.png"]);
    firefox.arg(format!("https://localhost:{}/page", server.port));
    Running::start(&mut firefox).finish().succeeded();
    let captured = capture.stop();
    assert_eq!(lines_once(&keys), lines(&lab.path("server.keys")), "{}", captured.stderr);
    assert_eq!(captured.summary().get("keys_not_seen"), 0, "{}", captured.stderr);
    let records = captured.complete();
    let [sent, received] = [SENT, RECEIVED].map(|way| records.way(way).0);
    let holds = |records: &[Record], text: &[u8]| {
        let bytes: Vec<u8> = records.iter().flat_map(Record::data).collect();
        memchr::memmem::find(&bytes, text).is_some()
    };
    assert!(holds(&sent, b"GET /page HTTP/1.1\r\n"), "{sent:#?}");
    assert!(holds(&received, &body), "the page");
    assert!(sent.iter().all(|record| record.text("comm") == "Socket Thread"), "{sent:#?}");
}

#[test]
#[ignore = "fetches packages"]
fn other_versions() {
    let debian = unpacked("bullseye", "libnss3").map(|at| vec![at.join("nss"), at]);
    let firefox = ["/usr/lib/firefox-esr", "/usr/lib/firefox"].map(PathBuf::from);
    let firefox = firefox.into_iter().find(|at| at.exists()).map(|at| vec![at, system()]);
    let versions: Vec<_> = [debian, firefox].into_iter().flatten().collect();
    assert!(!versions.is_empty(), "no other version is to be had");
    for directories in versions {
        println!("{}", directories[0].display());
        Installed::from(&directories).assert("send", "recv", false);
    }
}
