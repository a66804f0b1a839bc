//! rustls: what a client writes and reads in all ways, and its keys.

use std::path::Path;

use rustix::process::Signal;

use crate::capture::{Capture, ecapture, own_cgroup};
use crate::keys::lines;
use crate::lab::{Lab, Server, target};
use crate::pattern::{assert_same, body};
use crate::process::Running;

/// With either provider of cryptography, and with names of either scheme.
const CLIENTS: [&str; 3] = ["rustls_ring", "rustls_ring_v0", "rustls_aws_lc"];
/// What tells a client its version, and the lines that a connection has in a key log.
const VERSIONS: [(&[&str], usize); 2] = [(&[], 5), (&["-tls12"], 1)];

/// Sends back so many bytes as the 8 digits before them say; writes its own key log.
const ECHO: &str = r"
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
context.keylog_filename = 'server.keys'
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
while True:
    connection = context.wrap_socket(listener.accept()[0], server_side=True)
    file = connection.makefile('rwb')
    while length := file.read(8):
        file.write(file.read(int(length)))
        file.flush()
";

/// Runs a client that waits until it is attached.
fn visit(lab: &Lab, client: &str, server: &Server, options: &[&str]) -> u32 {
    let mut command = lab.command(target(client));
    command.arg(server.port.to_string()).arg(lab.path("text")).args(options);
    let running = Running::start(&mut command);
    let pid = running.pid();
    running.finish().succeeded();
    pid
}

/// `ecapture tls -m keylog` of programs of that name: not of the server.
fn keys_of(client: &str, path: &Path) -> Running {
    let mut command = ecapture();
    command.args(["tls", "-m", "keylog", "--comm", client, "--cgroup_path"]).arg(own_cgroup());
    let running = Running::start(command.arg("-k").arg(path));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    running
}

#[test]
#[ignore = "fetches and builds rustls"]
fn all_ways_to_write_and_read_and_the_keys() {
    let text = body(5, 300_000);
    for client in CLIENTS {
        for (options, count) in VERSIONS {
            let lab = Lab::new();
            lab.file("text", &text);
            let server = lab.python_server(ECHO);
            let captured = lab.path("captured.keys");
            let (capture, keys) = (Capture::everywhere(), keys_of(client, &captured));
            let pid = visit(&lab, client, &server, options);
            keys.signal(Signal::INT);
            keys.finish().succeeded();
            let (sent, received) = capture.stop().complete().of(pid).both_ways();
            assert_same(&sent, &[b"00300000", &text[..]].concat().repeat(2), &format!("sent by {client}"));
            assert_same(&received, &text.repeat(2), &format!("received by {client}"));
            assert_eq!(lines(&captured), lab.server_keys(), "{client}");
            assert_eq!(lines(&captured).len(), count, "{client}");
        }
    }
}

/// A program that writes a key log itself has no other lines, and none twice.
#[test]
#[ignore = "fetches and builds rustls"]
fn keys_of_a_program_with_a_key_log() {
    for (options, _) in VERSIONS {
        let lab = Lab::new();
        lab.file("text", "short");
        let server = lab.python_server(ECHO);
        let captured = lab.path("captured.keys");
        let keys = keys_of("rustls_ring", &captured);
        let mut command = lab.command(target("rustls_ring"));
        command.env("SSLKEYLOGFILE", lab.path("client.keys"));
        command.arg(server.port.to_string()).arg(lab.path("text")).arg("-keylog").args(options);
        Running::start(&mut command).finish().succeeded();
        keys.signal(Signal::INT);
        keys.finish().succeeded();
        assert_eq!(lines(&captured), lines(&lab.path("client.keys")));
        assert_eq!(lines(&captured), lab.server_keys());
    }
}

/// Without symbols nothing is guessed, and it is said why.
#[test]
#[ignore = "fetches and builds rustls"]
fn without_symbols_it_is_named() {
    let lab = Lab::new();
    lab.file("text", "short");
    let server = lab.python_server(ECHO);
    let capture = Capture::everywhere();
    let pid = visit(&lab, "rustls_stripped", &server, &[]);
    let captured = capture.stop();
    assert!(captured.records.of(pid).0.is_empty());
    let line = captured.stderr.lines().find(|line| line.contains("/rustls_stripped")).expect("a message");
    assert!(line.contains("rustls 0.23") && line.contains("without symbols"), "{line}");
}
