//! The event stream: clients that know nothing but proto/event.proto get what the JSON output has.

use std::fs;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use crate::capture::{Capture, Captured, ecapture, own_cgroup};
use crate::clients::{ask, connect, event_client, get, post, token_file, told};
use crate::lab::{Lab, free_port, target};
use crate::process::Running;
use crate::record::Record;
use crate::server::Database;
use crate::terminal::Terminal;

fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}")
}

/// A client that has got its first heartbeat: from now on it gets every event.
fn listening(arguments: &[&str]) -> Running {
    let client = event_client(arguments);
    client.line("a heartbeat", |line| line.contains("LOG_TYPE_HEARTBEAT").then_some(()));
    client
}

/// The events of a client that has ended.
fn events(client: Running) -> Vec<Value> {
    let entries = told(&client.finish().succeeded().text());
    entries.iter().filter_map(|entry| entry.get("event_payload").cloned()).collect()
}

/// Ends a capture, and compares what a client got with its JSON records.
#[track_caller]
fn compare(captured: Captured, client: Running) -> Vec<(Record, Value)> {
    let events = events(client);
    let records = captured.records.only(|record| !record.has("stage") || record.text("stage") != "end");
    assert_eq!(records.0.len(), events.len(), "{}", captured.stderr);
    let pairs: Vec<(Record, Value)> = records.0.into_iter().zip(events).collect();
    for (record, event) in &pairs {
        let text = |field: &str| event[field].as_str().expect("a text");
        let nanoseconds: i64 = text("timestamp").parse().expect("a number");
        let time = jiff::Timestamp::from_nanosecond(nanoseconds.into()).expect("a time");
        assert_eq!(format!("{time:.9}"), record.text("time"));
        assert_eq!(text("pid"), record.pid().to_string());
        assert_eq!(text("pname"), record.text("comm"));
        let payload = STANDARD.decode(text("payload")).expect("base64");
        assert_eq!(payload, record.data());
        assert_eq!(event["length"], payload.len());
        let prefix = format!("{}_{}_{}_", record.pid(), record.number("tid"), record.text("comm"));
        assert!(text("uuid").starts_with(&prefix), "{event}");
        for (field, ip, port) in [("src", "src_ip", "src_port"), ("dst", "dst_ip", "dst_port")] {
            let address = match text(ip) {
                six if six.contains(':') => format!("[{six}]:{}", event[port]),
                four => format!("{four}:{}", event[port]),
            };
            let expected = if record.has("id") { "127.0.0.1:0" } else { record.text(field) };
            assert_eq!(address, expected);
        }
    }
    pairs
}

#[test]
fn messages_of_tls() {
    let (lab, port) = (Lab::new(), free_port());
    let server = lab.server(&[]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--ecaptureq", &url(port)]);
    let client = listening(&[&url(port)]);
    lab.client(server.port, "/bytes/3000000/7", &[]);
    let pairs = compare(capture.stop(), client);
    for (record, event) in &pairs {
        let expected = if record.kind() == "HTTP/1.1 request" { 1 } else { 3 };
        assert_eq!(event["type"], expected, "{}", record.kind());
    }
    assert!(pairs.len() > 10, "pieces of 64 KiB: {}", pairs.len());
}

#[test]
fn messages_of_go() {
    let (lab, port) = (Lab::new(), free_port());
    lab.file("page", "answer");
    let server_port = free_port();
    let mut command = lab.command(target("go_server"));
    let _server =
        Running::start(command.arg(format!("127.0.0.1:{server_port}")).args(["cert.pem", "key.pem", "."]));
    crate::lab::wait_for_port(server_port);
    let cgroup = own_cgroup().to_str().expect("UTF-8");
    let capture = Capture::commands("gotls", ["--cgroup_path", cgroup, "--ecaptureq", &url(port)]);
    let client = listening(&[&url(port)]);
    let mut go = lab.command(target("go_client"));
    let page = format!("https://127.0.0.1:{server_port}/page");
    Running::start(go.args(["-sleep", "2000", "-k", "1", &page])).finish().succeeded();
    assert!(compare(capture.stop(), client).len() >= 4);
}

#[test]
fn commands_and_statements() {
    let port = free_port();
    let capture = Capture::commands("bash", ["--ecaptureq", &url(port)]);
    let client = listening(&[&url(port)]);
    let mut shell = Terminal::shell(std::process::Command::new("bash").args(["--norc", "-i"]));
    shell.type_in("(exit 7)\n");
    capture.wait_for_record("its end", |record| record.has("status") && record.text("data") == "(exit 7)");
    assert!(!compare(capture.stop(), client).is_empty());
    for (command, database, statement) in [
        ("mysqld", Database::mariadb(), "create table d.t (id int)"),
        ("postgres", Database::postgres(), "create table t (id int)"),
    ] {
        let capture = Capture::commands(command, ["--ecaptureq", &url(port)]);
        let client = listening(&[&url(port)]);
        database.run(statement);
        capture.wait_for_record("the statement", |record| record.text("data") == statement);
        let pairs = compare(capture.stop(), client);
        assert!(pairs.iter().any(|(record, _)| record.text("data") == statement));
    }
}

/// First the log until now, then a heartbeat; then what comes.
#[test]
fn new_clients_get_the_log_and_a_heartbeat() {
    let (lab, port) = (Lab::new(), free_port());
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--ecaptureq", &url(port)]);
    for _ in 0..2 {
        let client = listening(&[&url(port)]);
        client.signal(Signal::KILL); // and the next one gets the same
        let entries = told(&client.finish().text());
        let (heartbeat, log) = entries.split_last().expect("entries");
        assert_eq!(heartbeat["heartbeat_payload"]["message"], "heartbeat:1");
        assert_eq!(heartbeat["heartbeat_payload"]["count"], "1");
        let lines: Vec<Value> = log
            .iter()
            .map(|entry| {
                assert_eq!(entry["log_type"], "LOG_TYPE_PROCESS_LOG");
                serde_json::from_str(entry["run_log"].as_str().expect("a line")).expect("JSON")
            })
            .collect();
        assert!(lines.iter().any(|line| line["message"].as_str().expect("text").contains("capturing: ")));
    }
    capture.stop().complete();
}

/// 50 clients get every byte, while one that reads nothing is dropped.
#[test]
fn a_stalled_client_is_dropped_alone() {
    const CLIENTS: usize = 50;
    let (lab, port, control) = (Lab::new(), free_port(), free_port());
    let server = lab.server(&[]);
    let arguments = [
        ["--libssl", lab.libssl.to_str().expect("UTF-8")],
        ["--ecaptureq", &url(port)],
        ["--listen", &format!("127.0.0.1:{control}")],
        ["--queue", "1"],
    ];
    let capture = Capture::start(arguments.concat());
    let clients = event_client(&["--many", &CLIENTS.to_string(), &url(port)]);
    let mut bytes = 0;
    let dropped = || get(control, "/status").json()["server"]["clients_dropped"].as_u64();
    while dropped() == Some(0) {
        // Less than may wait: only who reads nothing falls behind.
        clients.line("all clients have everything", |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            (told["all"].as_u64()? >= bytes).then_some(())
        });
        lab.client(server.port, "/bytes/250000/7", &[]);
        bytes += 2 * 250_000;
        assert!(bytes < 1 << 28, "it is never dropped");
    }
    let captured = capture.stop();
    let bytes: usize = captured.records.0.iter().map(|record| record.data().len()).sum();
    let last = clients.finish().succeeded();
    let totals = told(&last.text()).into_iter().find_map(|line| line.get("totals").cloned());
    assert_eq!(totals.expect("totals"), Value::from(vec![bytes; CLIENTS]), "each got everything");
    let dropped = captured.stderr.lines().find(|line| line.contains("output event stream:"));
    assert!(dropped.expect("a line").ends_with("dropped=0"), "{dropped:?}");
    captured.complete();
}

#[test]
fn strangers_and_rude_clients() {
    let (lab, port) = (Lab::new(), free_port());
    let server = lab.server(&[]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start([
        "--libssl",
        libssl,
        "--ecaptureq",
        &url(port),
        "--allow-origin",
        "https://a.example",
    ]);
    let refused =
        |header: &str| told(&event_client(&[&url(port), header]).finish().text())[0]["refused"].clone();
    assert_eq!(refused("Origin: https://b.example"), 403);
    for origin in ["http://localhost/", "https://a.example"] {
        listening(&[&url(port), &format!("Origin: {origin}")]).signal(Signal::KILL);
    }
    event_client(&["--rude", &url(port)]).finish().succeeded();
    assert_eq!(get(port, "/").status, 426);
    let mut garbage = connect(port);
    garbage.write_all(&[0xff; 1000]).expect("sent");
    let client = listening(&[&url(port)]);
    lab.client(server.port, "/bytes/1000/7", &[]);
    compare(capture.stop(), client);
}

#[test]
fn a_token_is_asked_for() {
    let (lab, port, control) = (Lab::new(), free_port(), free_port());
    let path = lab.path("token");
    let token = token_file(&path);
    let capture = Capture::start([
        "--libssl",
        lab.libssl.to_str().expect("UTF-8"),
        "--ecaptureq",
        &url(port),
        "--listen",
        &format!("127.0.0.1:{control}"),
        "--token-file",
        path.to_str().expect("UTF-8"),
    ]);
    let wrong = "0".repeat(64);
    for headers in [&[][..], &["Authorization: Bearer x"], &[&format!("Authorization: Bearer {wrong}")]] {
        let url = url(port);
        let arguments = [&[url.as_str()], headers].concat();
        assert_eq!(told(&event_client(&arguments).finish().text())[0]["refused"], 401, "{headers:?}");
    }
    let right = format!("Authorization: Bearer {token}");
    listening(&[&url(port), &right]).signal(Signal::KILL);
    assert_eq!(get(control, "/status").status, 401);
    assert_eq!(post(control, "/stop", "").status, 401);
    assert_eq!(ask(connect(control), "GET /status", &format!("{right}\r\n"), "").status, 200);
    let stderr = capture.stop().stderr;
    assert!(!stderr.contains(&token), "{stderr}");
}

#[test]
fn what_can_not_be_served_is_said() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    fs::write(lab.path("token"), "short").expect("written");
    let token = lab.path("token");
    for (arguments, words) in [
        (["--ecaptureq", &format!("ws://{address}")], "in use"),
        (["--listen", &address], "in use"),
        (["--listen", "0.0.0.0:0"], "--token-file"),
        (["--ecaptureq", "ws://[::]:0"], "--token-file"),
        (["--token-file", token.to_str().expect("UTF-8")], "chmod 600"),
        (["--listen", "tls"], "HOST:PORT"),
    ] {
        let mut command = ecapture();
        command.arg("tls").arg("--libssl").arg(&lab.libssl).args(arguments);
        let finished = Running::start(&mut command).finish();
        assert_eq!(finished.code(), 1, "{arguments:?}");
        assert!(finished.stderr.contains(words), "{arguments:?}: {}", finished.stderr);
    }
}
