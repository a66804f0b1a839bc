//! Outputs that are slow, far away or rotated: nothing is lost that need not be, and what is lost is counted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use flate2::read::GzDecoder;
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tungstenite::Message;

use crate::capture::{Capture, ecapture};
use crate::lab::Lab;
use crate::process::{Running, output_of, wait_for};
use crate::record::{self, RECEIVED};

/// Numbers of the line that tells what became of an output.
#[track_caller]
fn delivery(stderr: &str, output: &str, name: &str) -> u64 {
    let prefix = format!("output {output}");
    let line = stderr.lines().find(|line| line.contains(&prefix)).unwrap_or_else(|| panic!("{stderr}"));
    let number = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name}: {line}"))
}

fn listen(scheme: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("{scheme}://localhost:{port}"))
}

/// Lines of the first connection, when it is over.
fn lines(listener: TcpListener) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        BufReader::new(stream).lines().map(|line| line.expect("text")).collect()
    })
}

/// Text messages of the first WebSocket, when it is over.
fn messages(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> JoinHandle<Vec<String>> {
    fn read(stream: impl Read + std::io::Write) -> Vec<String> {
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        let mut messages = Vec::new();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message {
                messages.push(text.to_string());
            }
        }
        messages
    }
    thread::spawn(move || {
        let (stream, _): (TcpStream, _) = listener.accept().expect("a connection");
        match tls {
            None => read(stream),
            Some(config) => {
                read(StreamOwned::new(ServerConnection::new(config).expect("a configuration"), stream))
            }
        }
    })
}

/// A certificate for a server: that of the lab may sign others, which a server's must not.
fn server_config(lab: &Lab) -> Arc<ServerConfig> {
    let (cert, key) = (lab.path("peer.pem"), lab.path("peer.key"));
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    let (cert_path, key_path) = (text(&cert), text(&key));
    let mut arguments: Vec<&str> = command.split_ascii_whitespace().collect();
    arguments.extend(["-keyout", &key_path, "-out", &cert_path]);
    output_of("openssl", &arguments);
    let certificate = CertificateDer::from_pem_file(cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key));
    Arc::new(config.expect("a configuration"))
}

#[test]
fn peers_get_the_same_as_files() {
    for scheme in ["tcp", "ws", "wss"] {
        let lab = Lab::new();
        let server = lab.server(&[]);
        let (listener, address) = listen(scheme);
        let received = match scheme {
            "tcp" => lines(listener),
            "ws" => messages(listener, None),
            _ => messages(listener, Some(server_config(&lab))),
        };
        let mut command = ecapture();
        command.env("SSL_CERT_FILE", lab.path("peer.pem"));
        let libssl = lab.libssl.to_str().expect("UTF-8");
        let capture = Capture::with(command, ["--libssl", libssl, "--eventaddr", &address]);
        let pid = lab.client(server.port, "/bytes/300000/7", &[]);
        let captured = capture.stop();
        let received = record::parse(&received.join().expect("no panic").join("\n"));
        let values = |records: &record::Records| -> Vec<Value> {
            records.0.iter().map(|record| record.0.clone()).collect()
        };
        assert_eq!(values(&received), values(&captured.records), "{scheme}");
        assert_eq!(delivery(&captured.stderr, &address, "written"), received.0.len() as u64);
        assert_eq!(delivery(&captured.stderr, &address, "dropped"), 0);
        captured.complete().of(pid).both_ways();
    }
}

#[test]
fn a_peer_that_reads_nothing_stalls_nothing() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (listener, address) = listen("tcp");
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture =
        Capture::start(["--libssl", libssl, "--eventaddr", &address, "--queue", "1", "--mapsize", "65536"]);
    let (peer, _) = listener.accept().expect("a connection");
    let pid = lab.client(server.port, "/bytes/30000000/7", &[]);
    let captured = capture.stop();
    let dropped = delivery(&captured.stderr, &address, "dropped");
    let written = delivery(&captured.stderr, &address, "written");
    assert!(dropped > 0, "{}", captured.stderr);
    assert_eq!(dropped + written, captured.records.0.len() as u64);
    drop(peer);
    let records = captured.complete().of(pid);
    assert!(records.way(RECEIVED).bytes().len() > 30_000_000);
}

#[test]
fn a_peer_that_is_not_there_is_counted() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (listener, address) = listen("tcp");
    drop(listener);
    let capture = Capture::start(["--libssl", lab.libssl.to_str().expect("UTF-8"), "--eventaddr", &address]);
    lab.client(server.port, "/bytes/1000/7", &[]);
    let captured = capture.stop();
    assert_eq!(captured.code, 0);
    assert_eq!(delivery(&captured.stderr, &address, "dropped"), captured.records.0.len() as u64);
    assert!(captured.stderr.contains("Connection refused"), "{}", captured.stderr);
}

#[test]
fn the_log_goes_to_a_peer() {
    let lab = Lab::new();
    let (listener, address) = listen("tcp");
    let log = lines(listener);
    let (events, events_address) = listen("tcp");
    let records = lines(events);
    let server = lab.server(&[]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--logaddr", &address, "--eventaddr", &events_address]);
    lab.client(server.port, "/bytes/1000/7", &[]);
    let captured = capture.stop();
    assert_eq!(records.join().expect("no panic").len(), captured.records.0.len());
    let log = log.join().expect("no panic");
    let messages: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(messages.iter().any(|line| line["message"].as_str().is_some_and(|m| m.starts_with("summary: "))));
}

/// `ecapture tls` that writes to `out` in the lab.
fn start(lab: &Lab, arguments: &[&str]) -> Running {
    let mut command = ecapture();
    command.args(["tls", "--format", "json", "--libssl"]).arg(&lab.libssl);
    let running = Running::start(command.arg("-o").arg(lab.path("out/log")).args(arguments));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    running
}

#[test]
fn rotated_files_have_every_record() {
    for (rotate_size, compress) in [("--rotate-size", true), ("--eventroratesize", false)] {
        let lab = Lab::new();
        fs::create_dir(lab.path("out")).expect("a directory");
        let server = lab.server(&[]);
        let mut arguments = vec![rotate_size, "1", "--mapsize", "65536"];
        arguments.extend(compress.then_some("--rotate-compress"));
        let running = start(&lab, &arguments);
        let pid = lab.client(server.port, "/bytes/5000000/7", &[]);
        running.signal(Signal::INT);
        running.finish().succeeded();
        let mut files: Vec<_> = fs::read_dir(lab.path("out"))
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files.rotate_left(1); // the one that was written last has no time in its name
        assert!(files.len() > 5, "{files:?}");
        let mut text = String::new();
        for path in &files {
            let mut file = File::open(path).expect("a file");
            if path.extension().is_some_and(|extension| extension == "gz") {
                GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
            } else {
                file.read_to_string(&mut text).expect("text");
            }
        }
        assert_eq!(files[0].extension().is_some_and(|extension| extension == "gz"), compress);
        let (_, received) = record::parse(&text).of(pid).both_ways();
        assert!(received.len() > 5_000_000);
    }
}

#[test]
fn a_file_that_was_moved_away_is_opened_again() {
    let lab = Lab::new();
    fs::create_dir(lab.path("out")).expect("a directory");
    let server = lab.server(&[]);
    let running = start(&lab, &[]);
    let (file, moved) = (lab.path("out/log"), lab.path("out/moved"));
    let pids = [&file, &moved].map(|_| {
        let pid = lab.client(server.port, "/bytes/1000/7", &[]);
        wait_for("records", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            (text.contains(&format!("\"pid\":{pid}")) && text.ends_with('\n')).then_some(())
        });
        if !moved.exists() {
            fs::rename(&file, &moved).expect("renamed");
            running.signal(Signal::HUP);
            wait_for("a new file", || file.exists().then_some(()));
        }
        pid
    });
    running.signal(Signal::INT);
    running.finish().succeeded();
    for (path, pid) in [moved, file].iter().zip(pids) {
        let records = record::parse(&fs::read_to_string(path).expect("text"));
        assert!(!records.of(pid).0.is_empty());
    }
}
