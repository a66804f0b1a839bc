//! Go programs: what both ends say, their addresses and their keys.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::capture::{Capture, ecapture};
use crate::keys::lines;
use crate::lab::{Lab, Server, free_port, target, wait_for_port};
use crate::pattern::{assert_same, body};
use crate::process::Running;
use crate::record::{Record, Records};

/// Client programs: with symbols, without, and without at any address.
const CLIENTS: [&str; 3] = ["go_client", "go_client_stripped", "go_client_pie"];

/// A Go server of the files in `www`.
fn serve(lab: &Lab, files: &[(&str, &[u8])]) -> Server {
    std::fs::create_dir(lab.path("www")).expect("a directory");
    for (name, contents) in files {
        lab.file(&format!("www/{name}"), contents);
    }
    let port = free_port();
    let mut command = lab.command(target("go_server"));
    let running =
        Running::start(command.arg(format!("127.0.0.1:{port}")).args(["cert.pem", "key.pem", "www"]));
    wait_for_port(port);
    Server { running, port }
}

/// Runs a client that waits until it is attached.
fn visit(lab: &Lab, client: &str, port: u16, file: &str, options: &[&str]) -> u32 {
    let mut command = lab.command(target(client));
    command.args(["-sleep", "2000"]).args(options).arg(format!("https://127.0.0.1:{port}/{file}"));
    let running = Running::start(&mut command);
    let pid = running.pid();
    running.finish().succeeded();
    pid
}

/// Everything that was sent and received. Not by message: an answer may be read before the call that sent the request
/// has returned, and then it is not clear where it ends.
fn both_ways(connection: &Records) -> (Vec<u8>, Vec<u8>) {
    let bytes = |way: &str| connection.way(way).0.iter().flat_map(Record::data).collect();
    (bytes("sent"), bytes("received"))
}

#[test]
fn both_ends_tell_the_same_and_it_is_what_was_sent() {
    let large = body(7, 8 << 20);
    for client in CLIENTS {
        for version in [&["-k", "2"][..], &["-k", "2", "-tls12"]] {
            let lab = Lab::new();
            let server = serve(&lab, &[("large", &large)]);
            let capture = Capture::of_go();
            let pid = visit(&lab, client, server.port, "large", version);
            let records = capture.stop().complete();
            let (asked, answered) = both_ways(&records.of(pid).connection());
            let (sent, received) = both_ways(&records.of(server.running.pid()).connection());
            assert_same(&asked, &received, "what the client asked");
            assert_same(&answered, &sent, "what the server answered");
            assert_eq!(answered.windows(large.len()).filter(|part| *part == large).count(), 2, "{client}");
        }
    }
}

#[test]
fn many_goroutines() {
    let text = body(3, 100_000);
    let lab = Lab::new();
    let server = serve(&lab, &[("text", &text)]);
    let capture = Capture::of_go();
    let pid = visit(&lab, "go_client", server.port, "text", &["-c", "40", "-n", "3", "-k", "4"]);
    let records = capture.stop().complete();
    let connections = records.of(pid).connections();
    assert_eq!(connections.len(), 120);
    for connection in connections {
        let (asked, answered) = both_ways(&connection);
        let count = |all: &[u8], part: &[u8]| all.windows(part.len()).filter(|other| *other == part).count();
        assert_eq!((count(&asked, b"GET /text "), count(&answered, &text)), (4, 4));
    }
}

#[test]
fn connections_have_addresses_and_descriptors() {
    let lab = Lab::new();
    let server = serve(&lab, &[("text", b"hello")]);
    let capture = Capture::of_go();
    let pid = visit(&lab, "go_client_pie", server.port, "text", &[]);
    let records = capture.stop().complete();
    for (pid, way) in [(pid, "sent"), (server.running.pid(), "received")] {
        let request = records.of(pid).way(way);
        assert_eq!(request.same("dst").as_str(), Some(format!("127.0.0.1:{}", server.port).as_str()));
        assert!(request.same("fd").as_i64().is_some_and(|fd| fd > 2), "{request:?}");
    }
}

#[test]
fn http2_is_decoded() {
    let lab = Lab::new();
    let server = lab.nginx("http2");
    lab.file("www/text", body(5, 50_000));
    let capture = Capture::of_go();
    let pid = visit(&lab, "go_client_stripped", server.port, "text", &["-h1=false", "-k", "2"]);
    let records = capture.stop().complete();
    let kinds = records.of(pid).connection().kinds();
    for kind in ["HTTP/2 request", "HTTP/2 response"] {
        assert!(kinds.iter().any(|other| other == kind), "{kinds:?}");
    }
}

/// `ecapture gotls -m keylog` of one program.
fn keys_of(program: &Path, path: &Path) -> Running {
    let mut command: Command = ecapture();
    command.args(["gotls", "-m", "keylog", "--elfpath"]).arg(program).arg("-k").arg(path);
    let running = Running::start(&mut command);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    running
}

#[test]
fn key_logs_are_those_of_the_programs() {
    for client in CLIENTS {
        for (options, count) in [(&["-n", "2"][..], 8), (&["-n", "2", "-tls12"], 2)] {
            let lab = Lab::new();
            let server = serve(&lab, &[("text", b"hello")]);
            let captured = lab.path("captured.keys");
            let capture = keys_of(&target(client), &captured);
            let truth = lab.path("client.keys");
            let options: Vec<&str> =
                options.iter().copied().chain(["-keylog", truth.to_str().expect("UTF-8")]).collect();
            visit(&lab, client, server.port, "text", &options);
            capture.signal(Signal::INT);
            capture.finish().succeeded();
            assert_eq!(lines(&captured), lines(&truth), "{client}");
            assert_eq!(lines(&truth).len(), count, "{client}");
        }
    }
}

/// The server has no key log of its own.
#[test]
fn keys_of_a_server_without_a_key_log() {
    let lab = Lab::new();
    let server = serve(&lab, &[("text", b"hello")]);
    let captured = lab.path("captured.keys");
    let capture = keys_of(&target("go_server"), &captured);
    let truth = lab.path("client.keys");
    visit(&lab, "go_client", server.port, "text", &["-keylog", truth.to_str().expect("UTF-8")]);
    capture.signal(Signal::INT);
    capture.finish().succeeded();
    assert_eq!(lines(&captured), lines(&truth));
    assert_eq!(lines(&truth).len(), 4);
}
