//! Go programs: what both ends say, their addresses and their keys.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::Signal;

use crate::capture::{Capture, ecapture};
use crate::keys::lines;
use crate::lab::{Lab, Server, free_port, say, target, wait_for_port};
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

/// The type of the transport tells nothing; the goroutine uses the socket inside of its calls.
#[test]
fn transports_of_other_types_have_addresses() {
    for client in ["go_client", "go_client_pie"] {
        let lab = Lab::new();
        let server = serve(&lab, &[("text", b"hello")]);
        let capture = Capture::of_go();
        let pid = visit(&lab, client, server.port, "text", &["-wrap", "-k", "2"]);
        let records = capture.stop().complete().of(pid).way("sent");
        assert_eq!(records.same("dst").as_str(), Some(format!("127.0.0.1:{}", server.port).as_str()));
        assert!(records.same("fd").as_i64().is_some_and(|fd| fd > 2), "{records:?}");
    }
}

/// Only the end of the connection tells where the answer ends, and both programs go on.
#[test]
fn ends_of_connections_are_seen() {
    let lab = Lab::new();
    let capture = Capture::of_go();
    let _forms = run_forms(&lab, &capture);
    for way in ["sent", "received"] {
        let record = capture.wait_for_record("the end of the answer", |record| {
            record.text("dir") == way && record.data().ends_with(b"This is all.") && record.0["last"] == true
        });
        assert_eq!(record.kind(), "HTTP/1.0 response");
    }
}

#[test]
fn older_kernels() {
    let text = body(6, 70_000);
    for features in ["uprobe_multi", "modern", "cookie", "btf", "cookie,uprobe_multi,modern,btf"] {
        let lab = Lab::new();
        let server = serve(&lab, &[("text", &text)]);
        let mut command = ecapture();
        command.env("ECAPTURE_DISABLE_FEATURES", features);
        let program = target("go_client");
        let capture = Capture::launch_as("gotls", command, [OsStr::new("--elfpath"), program.as_os_str()]);
        capture.wait_until_ready();
        let pid = visit(&lab, "go_client", server.port, "text", &["-k", "2"]);
        let captured = capture.stop();
        let summary = captured.summary();
        assert_eq!((summary.get("lost"), summary.get("gaps")), (0, 0), "{}", captured.stderr);
        let records = captured.records.of(pid);
        let (asked, answered) = both_ways(&records.connection());
        assert_eq!(asked.windows(4).filter(|part| part == b"\r\n\r\n").count(), 2, "{features}");
        assert!(answered.ends_with(&text), "{features}");
        let address = format!("127.0.0.1:{}", server.port);
        let known = records.way("sent").0.iter().all(|record| record.0["dst"] == address);
        assert_eq!(known, !features.contains("btf"), "{features}");
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

/// Both ends of one visit, and the keys of the client.
fn assert_all_is_seen(client: &str, options: &[&str]) {
    let text = body(9, 200_000);
    let lab = Lab::new();
    let server = serve(&lab, &[("text", &text)]);
    let (captured, truth) = (lab.path("captured.keys"), lab.path("client.keys"));
    let capture = Capture::of_go();
    let keys = keys_of(&target(client), &captured);
    let options: Vec<&str> =
        options.iter().copied().chain(["-keylog", truth.to_str().expect("UTF-8")]).collect();
    let pid = visit(&lab, client, server.port, "text", &options);
    keys.signal(Signal::INT);
    keys.finish().succeeded();
    let records = capture.stop().complete();
    let (asked, answered) = both_ways(&records.of(pid).connection());
    let (sent, received) = both_ways(&records.of(server.running.pid()).connection());
    assert_same(&asked, &received, &format!("what {client} asked"));
    assert_same(&answered, &sent, &format!("what was answered to {client}"));
    assert!(answered.ends_with(&text), "{client}");
    assert_eq!(lines(&captured), lines(&truth), "{client}");
    assert!(!lines(&truth).is_empty(), "{client}");
}

#[test]
fn other_ways_to_build() {
    for client in ["go_client_boring", "go_client_fips", "go_client_static_cgo"] {
        assert_all_is_seen(client, &[]);
    }
}

#[test]
#[ignore = "fetches many versions of Go"]
fn versions() {
    let is_version = |name: &str| name.starts_with("go1.");
    let build = std::fs::read_dir(target("")).expect("programs");
    let names = build.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let versions: Vec<String> = names.filter(|name| is_version(name)).collect();
    assert!(versions.len() >= 6, "{versions:?}");
    for version in versions {
        for way in ["client", "client_stripped", "client_pie"] {
            if (version.as_str(), way) == ("go1.16.15", "client_pie") {
                continue; // refused: where the goroutine is does not show in its code
            }
            let client = format!("{version}/{way}");
            assert_all_is_seen(&client, &[]);
            assert_all_is_seen(&client, &["-tls12", "-wrap"]);
        }
    }
}

#[test]
fn a_library_in_another_program() {
    const PROGRAM: &str = "\
import ctypes, sys, time
library = ctypes.CDLL(sys.argv[1])
library.Fetch.restype = ctypes.c_int64
time.sleep(2)
print(library.Fetch(sys.argv[2].encode()))
";
    let text = body(4, 100_000);
    let lab = Lab::new();
    let server = serve(&lab, &[("text", &text)]);
    let capture = Capture::of_go();
    let mut command = lab.command("python3");
    command.args(["-c", PROGRAM]).arg(target("libgo_shared.so"));
    let running = Running::start(command.arg(format!("https://127.0.0.1:{}/text", server.port)));
    let pid = running.pid();
    assert_eq!(running.finish().succeeded().text().trim(), "100000");
    let connection = capture.stop().complete().of(pid).connection();
    assert!(both_ways(&connection).1.ends_with(&text));
    let address = format!("127.0.0.1:{}", server.port);
    assert_eq!(connection.way("sent").same("dst").as_str(), Some(address.as_str()));
}

/// `forms` after it has made all its connections; it runs until its input ends.
fn run_forms(lab: &Lab, capture: &Capture) -> (Running, ChildStdin) {
    let mut command = lab.command(target("go_forms"));
    command.args(["cert.pem", "key.pem"]).stdin(Stdio::piped());
    let mut running = Running::start_with_input(&mut command);
    running.line("\"ready\"", |line| (line == "ready").then_some(()));
    capture.wait_for_line("/go_forms ");
    let mut input = running.input();
    say(&mut input, "go\n");
    running.line("\"done\"", |line| (line == "done").then_some(()));
    (running, input)
}

/// The stack of a goroutine moves inside of a call, goroutines leave calls by a panic or end in them, TLS is inside of TLS.
#[test]
fn calls_that_go_on_in_unusual_ways() {
    let lab = Lab::new();
    let capture = Capture::of_go();
    let pid = run_forms(&lab, &capture).0.pid();
    let records = capture.stop().complete().of(pid);
    for name in ["grown", "after a panic", "after an exit", "nested"] {
        let text = format!("{name}\n").repeat(1000).into_bytes();
        let all: Vec<_> = records.connections().iter().map(both_ways).collect();
        let whole = all.iter().filter(|ways| ways.0 == text && ways.1 == text).count();
        assert_eq!(whole, 2, "{name}");
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
