//! `-m keylog`: the lines are, byte for byte, those that the programs write when they are told to.

use std::fs;
use std::path::Path;
use std::process::ChildStdin;

use crate::capture::{cgroup_root, ecapture};
use crate::keys::{KeyCapture, Lines, TLS13, labelled, lines};
use crate::lab::{Lab, Server, say};
use crate::packets::Packets;
use crate::process::{Running, output_of, wait_for};

/// Both versions of TLS, as options of curl, with the number of lines of a connection.
const VERSIONS: [(&str, usize); 2] = [("1.2", 1), ("1.3", 5)];

/// What an HTTPS server answers with.
const HANDLER: &str = r"
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    def log_message(self, *args): pass
";

/// Serves it, and keeps a key log.
const SERVE_AND_LOG: &str = r"
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
context.keylog_filename = 'server.keys'
server.socket = context.wrap_socket(server.socket, server_side=True)
print('ready', server.server_port, flush=True)
server.serve_forever()
";

fn serve_and_log(lab: &Lab) -> Server {
    lab.python_server(&format!("{HANDLER}{SERVE_AND_LOG}"))
}

#[test]
fn a_client_without_a_key_log() {
    for (version, count) in VERSIONS {
        let lab = Lab::new();
        let server = serve_and_log(&lab);
        let capture = KeyCapture::of(&lab, ["--comm", "curl"]);
        for _ in 0..2 {
            lab.curl(&["--tls-max", version, &format!("https://127.0.0.1:{}/", server.port)]);
        }
        let keys = capture.stop();
        assert_eq!(keys.lines, lab.server_keys());
        assert_eq!(keys.lines.len(), 2 * count, "{:?}", keys.lines);
        assert_eq!(keys.count("keys_not_seen"), 0);
    }
}

#[test]
fn a_server_without_a_key_log() {
    for (version, count) in VERSIONS {
        let lab = Lab::new();
        let server = lab.https_server(HANDLER);
        let capture = KeyCapture::of(&lab, ["-p", &server.running.pid().to_string()]);
        let url = format!("https://127.0.0.1:{}/", server.port);
        let mut curl = lab.command("curl");
        curl.args(["-sk", "--noproxy", "*", "--tls-max", version, &url]);
        Running::start(curl.env("SSLKEYLOGFILE", "client.keys")).finish().succeeded();
        let keys = capture.stop();
        assert_eq!(keys.lines, lines(&lab.path("client.keys")));
        assert_eq!(keys.lines.len(), count, "{:?}", keys.lines);
    }
}

#[test]
fn both_ends_write_each_line_once() {
    let lab = Lab::new();
    let server = serve_and_log(&lab);
    let capture = KeyCapture::of(&lab, ["--hex"; 0]);
    lab.curl(&[&format!("https://127.0.0.1:{}/", server.port)]);
    let keys = capture.stop();
    assert_eq!(keys.lines, lab.server_keys());
    assert_eq!((keys.lines.len(), keys.count("connections")), (5, 2));
}

/// A connection of s_client that ends when something came back.
fn visit(lab: &Lab, port: u16, options: &str) {
    let mut client = lab.s_client(port, options);
    let mut input = client.input();
    say(&mut input, "hello\n");
    client.line("the answer", |line| line.contains("olleh").then_some(()));
    drop(input);
    client.finish().succeeded();
}

#[test]
fn resumed_sessions() {
    for (option, full, resumed) in [("-tls1_2", 1, 1), ("-tls1_3", 5, 5)] {
        let lab = Lab::new();
        let server = lab.s_server("-rev");
        let capture = KeyCapture::of(&lab, ["-p", &server.running.pid().to_string()]);
        visit(&lab, server.port, &format!("{option} -sess_out session"));
        let mut client = lab.s_client(server.port, &format!("{option} -sess_in session"));
        client.line("\"Reused\"", |line| line.starts_with("Reused, ").then_some(()));
        drop(client.input());
        client.finish();
        let keys = capture.stop();
        assert_eq!(keys.lines, lab.server_keys(), "{option}");
        assert_eq!(keys.lines.len(), full + resumed, "{option}");
    }
}

#[test]
fn early_data() {
    let lab = Lab::new();
    let server = lab.s_server("-early_data");
    let capture = KeyCapture::of(&lab, ["--comm", "openssl"]);
    let mut first = lab.s_client(server.port, "-sess_out session");
    let mut input = first.input();
    say(&mut input, "hello\n");
    server.running.line("the first words", |line| line.contains("hello").then_some(()));
    wait_for("a session", || fs::metadata(lab.path("session")).ok());
    drop(input);
    first.finish();
    lab.file("early", "early words\n");
    let mut second = lab.s_client(server.port, "-sess_in session -early_data early");
    second.line("\"accepted\"", |line| line.contains("Early data was accepted").then_some(()));
    drop(second.input());
    second.finish();
    let keys = capture.stop();
    assert_eq!(keys.lines, lab.server_keys());
    let early = labelled(&keys.lines, &["CLIENT_EARLY_TRAFFIC_SECRET", "EARLY_EXPORTER_SECRET"]);
    assert_eq!((early.len(), labelled(&keys.lines, &TLS13).len()), (2, 10), "{:?}", keys.lines);
}

#[test]
fn dtls() {
    let lab = Lab::new();
    let server = lab.s_server("-dtls1_2");
    let capture = KeyCapture::of(&lab, ["--comm", "openssl"]);
    let mut client = lab.s_client(server.port, "-dtls1_2");
    let mut input = client.input();
    say(&mut input, "hello\n");
    server.running.line("the words", |line| line.contains("hello").then_some(()));
    drop(input);
    client.finish();
    let keys = capture.stop();
    assert_eq!(keys.lines, lab.server_keys());
    assert_eq!(labelled(&keys.lines, &["CLIENT_RANDOM"]).len(), 1);
}

/// A connection that is open before ecapture starts, and is used then; the end in `scope` is captured.
#[track_caller]
fn opened_before(
    options: &str,
    scope: fn(client: u32, server: u32) -> u32,
    more: &[&str],
) -> (Lab, KeyCapture) {
    let lab = Lab::new();
    let server = lab.s_server("-rev");
    let mut client = lab.s_client(server.port, options);
    let mut input = client.input();
    client.line("the end of the handshake", |line| line.contains("Verify return code").then_some(()));
    let pid = scope(client.pid(), server.running.pid()).to_string();
    let capture = KeyCapture::of(&lab, [&["-p", &pid], more].concat());
    for word in ["hello", "again"] {
        say(&mut input, &format!("{word}\n"));
        let turned: String = word.chars().rev().collect();
        client.line("the answer", |line| line.contains(&turned).then_some(()));
    }
    (lab, capture)
}

#[test]
fn connections_that_were_open_before() {
    for options in ["-tls1_2", "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", "-tls1_3"] {
        for scope in [|client, _| client, |_, server| server] {
            let (lab, capture) = opened_before(options, scope, &[]);
            let keys = capture.stop();
            assert_eq!(keys.lines, lab.server_keys(), "{options}");
            assert_eq!((keys.count("connections"), keys.count("keys_not_seen")), (1, 0));
        }
    }
}

/// Labels of secrets after a KeyUpdate, as OpenSSL names them.
const UPDATED: [&str; 2] = ["CLIENT_TRAFFIC_SECRET_N", "SERVER_TRAFFIC_SECRET_N"];

/// Makes s_client update the keys of both directions, for the `count`th time.
fn update_keys(lab: &Lab, client: &Running, input: &mut ChildStdin, count: usize) {
    say(input, "K\n");
    // What is read together with a command is a part of it.
    wait_for("\"KEYUPDATE\"", || {
        (client.errors_so_far().matches("KEYUPDATE").count() >= count).then_some(())
    });
    say(input, "word\n");
    wait_for("new keys", || (labelled(&lab.server_keys(), &UPDATED).len() >= 2 * count).then_some(()));
}

#[test]
fn updated_keys() {
    let lab = Lab::new();
    let server = lab.s_server("-rev");
    let capture = KeyCapture::of(&lab, ["-p", &server.running.pid().to_string()]);
    let mut client = lab.s_client(server.port, "-tls1_3");
    let mut input = client.input();
    for count in 1..=3 {
        update_keys(&lab, &client, &mut input, count);
    }
    let keys = capture.stop();
    assert_eq!(keys.lines, lab.server_keys());
    assert_eq!(keys.lines.len(), TLS13.len() + 6);
}

#[test]
fn updated_keys_are_not_taken_for_the_first_ones() {
    let lab = Lab::new();
    let server = lab.s_server("-rev");
    let mut client = lab.s_client(server.port, "-tls1_3");
    let mut input = client.input();
    update_keys(&lab, &client, &mut input, 1);
    let capture = KeyCapture::of(&lab, ["-p", &client.pid().to_string()]);
    say(&mut input, "hello\n");
    client.line("the answer", |line| line.contains("olleh").then_some(()));
    assert_eq!(capture.stop().lines, labelled(&lab.server_keys(), &TLS13));
}

#[test]
fn an_object_that_proves_nothing_is_counted() {
    // Not where the exporter secret is.
    let (_lab, capture) = opened_before("-tls1_3", |client, _| client, &["--offset", "exporter_secret=0x10"]);
    let keys = capture.stop();
    assert_eq!((keys.lines, keys.stderr.contains(" keys=0 keys_not_seen=1 ")), (Lines::new(), true));
}

/// Features of newer kernels that the test does without.
#[test]
fn older_kernels() {
    let nothing = "cookie,uprobe_multi,uprobe_session,socket_tracepoints,modern,btf";
    for features in ["uprobe_session", "uprobe_multi", "modern", "cookie", "btf", nothing] {
        let lab = Lab::new();
        let server = lab.s_server("-rev");
        let mut client = lab.s_client(server.port, "");
        let mut input = client.input();
        client.line("the end of the handshake", |line| line.contains("Verify return code").then_some(()));
        let mut command = ecapture();
        command.env("ECAPTURE_DISABLE_FEATURES", features);
        let capture = KeyCapture::with(command, &lab, ["--comm", "openssl"]);
        say(&mut input, "hello\n");
        client.line("the answer", |line| line.contains("olleh").then_some(()));
        drop(input);
        client.finish(); // the server has one at a time
        visit(&lab, server.port, "-tls1_2");
        visit(&lab, server.port, "");
        let keys = capture.stop();
        assert_eq!(keys.lines, lab.server_keys(), "{features}");
        assert_eq!((keys.lines.len(), keys.count("keys_not_seen")), (11, 0), "{features}");
    }
}

#[test]
fn filters_hold_for_secrets() {
    let lab = Lab::new();
    let server = serve_and_log(&lab);
    let root = cgroup_root();
    let root = root.to_str().expect("UTF-8");
    let cases: [(&[&str], bool); 6] = [
        (&["-p", "1"], false),
        (&["-u", "65534"], false),
        (&["-u", "0"], true),
        (&["--exclude-comm", "curl", "--exclude-comm", "python3"], false),
        (&["--comm", "curl"], true),
        (&["--cgroup_path", root], true),
    ];
    for (arguments, expected) in cases {
        let capture = KeyCapture::of(&lab, arguments);
        let before = lab.server_keys();
        lab.curl(&[&format!("https://127.0.0.1:{}/", server.port)]);
        let made: Lines = lab.server_keys().difference(&before).cloned().collect();
        let path = capture.path.clone();
        let lines = capture.stop().lines;
        assert_eq!(lines, if expected { made } else { Lines::new() }, "{arguments:?}");
        fs::remove_file(path).expect("the key log");
    }
}

#[test]
fn wireshark_decrypts_with_it() {
    for (version, _) in VERSIONS {
        let lab = Lab::new();
        let server = lab.https_server(HANDLER);
        let capture = KeyCapture::of(&lab, ["--comm", "curl"]);
        let packets = Packets::of(&lab, server.port);
        lab.curl(&["--tls-max", version, &format!("https://127.0.0.1:{}/secret-page", server.port)]);
        let keys = capture.path.clone();
        capture.stop();
        packets.assert_request("/secret-page", &keys);
    }
}

/// 8 clients with 250 connections each, in parallel or one after another.
#[track_caller]
fn short_connections(options: &[&str], parallel: bool, scope: fn(&Server) -> Vec<String>, count: usize) {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = KeyCapture::of(&lab, scope(&server));
    let options = [options, &["--connections", "250", "--keylog", "client.keys"]].concat();
    let start = |_| lab.start_client(server.port, "/bytes/1/1", &options);
    let finish = |client: Running| drop(client.finish().succeeded());
    if parallel {
        let clients: Vec<Running> = (0..8).map(start).collect();
        clients.into_iter().for_each(finish);
    } else {
        (0..8).map(start).for_each(finish);
    }
    let (keys, made) = (capture.stop(), lines(&lab.path("client.keys")));
    assert!(keys.lines == made, "{} of {}", keys.lines.len(), made.len());
    assert_eq!(keys.lines.len(), 2000 * count);
    assert_eq!(keys.count("keys_not_seen"), 0);
}

#[test]
fn many_short_connections() {
    for (options, count) in [(&["--tls12"][..], 1), (&[], 5)] {
        short_connections(
            options,
            false,
            |server| vec!["-p".into(), server.running.pid().to_string()],
            count,
        );
        short_connections(options, true, |_| Vec::new(), count);
    }
}

#[test]
fn nginx_without_a_key_log() {
    let lab = Lab::new();
    let server = lab.nginx("");
    lab.file("www/page", "ok");
    let capture = KeyCapture::of(&lab, ["-p", &server.running.pid().to_string()]);
    let mut curl = lab.command("curl");
    curl.args(["-sk", "--noproxy", "*", "--tls-max", "1.2"]);
    curl.arg(format!("https://127.0.0.1:{}/page", server.port)).env("SSLKEYLOGFILE", "client.keys");
    Running::start(&mut curl).finish().succeeded();
    let keys = capture.stop();
    assert_eq!((&keys.lines, keys.lines.len()), (&lines(&lab.path("client.keys")), 1));
}

/// The address of a function that a library exports.
fn exported(library: &Path, name: &str) -> String {
    let symbols = output_of("nm", &["-D", "--defined-only", library.to_str().expect("UTF-8")]);
    let is_it = |line: &&str| line.split(['@', ' ']).any(|word| word == name);
    let line = symbols.lines().find(is_it).unwrap_or_else(|| panic!("no {name}"));
    format!("0x{}", line.split(' ').next().expect("an address"))
}

#[test]
fn what_the_user_says_of_a_file_comes_first() {
    let lab = Lab::new();
    let server = serve_and_log(&lab);
    let symbols =
        ["SSL_read", "SSL_write"].map(|name| format!("--symbol={name}={}", exported(&lab.libssl, name)));
    // SSL_new gets no secrets: its argument is not even an object.
    let wrong = format!("--symbol=ssl_log_secret={}", exported(&lab.libssl, "SSL_new"));
    let version = "--ssl_version=openssl 3.0.0".to_owned();
    let capture = KeyCapture::of(&lab, symbols.iter().chain([&wrong, &version]));
    lab.curl(&["--tls-max", "1.2", &format!("https://127.0.0.1:{}/", server.port)]);
    let keys = capture.stop_anyhow();
    assert!(keys.stderr.contains("(openssl 3.0.0; "), "{}", keys.stderr);
    for function in ["SSL_read", "SSL_write", "keys: ssl_log_secret"] {
        assert!(keys.stderr.contains(function), "{}", keys.stderr);
    }
    assert!(keys.count("keys_lost") + keys.count("keys_refused") >= 2, "{}", keys.stderr);
    // The secrets were not handed over, but are in the objects.
    assert_eq!(keys.lines, lab.server_keys());
}
