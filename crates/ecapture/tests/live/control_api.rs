//! The control API: what it tells, and that changes hold at once and cost nothing that they do not name.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::capture::{Capture, ROOMY};
use crate::clients::{Answer, ask, connect, get, post, python, python_packages, wait_for_status};
use crate::lab::{Lab, free_port, read_text};
use crate::packages::succeeds;
use crate::record;

/// Captures the programs of a lab and serves the API.
fn serve(lab: &Lab, more: &[&str]) -> (Capture, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start([&["--libssl", libssl, "--listen", &address], more, &ROOMY].concat());
    wait_for_status(port, "targets", |status| status["targets"].get(0).map(|_| ()));
    (capture, port)
}

#[track_caller]
fn accepted(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["code"]), (200, &json!(0)), "{answer:?}");
}

/// Every route, with an answer of the form of eCapture.
#[test]
fn routes_of_ecapture() {
    let lab = Lab::new();
    let (capture, port) = serve(&lab, &[]);
    for (route, module) in [
        ("tls", "openssl"),
        ("openssl", "openssl"),
        ("boringssl", "openssl"),
        ("gotls", "gotls"),
        ("gnutls", "gnutls"),
        ("nss", "nspr"),
        ("nspr", "nspr"),
        ("bash", "bash"),
        ("zsh", "zsh"),
        ("mysqld", "mysql"),
        ("postgress", "postgres"),
        ("postgres", "postgres"),
    ] {
        let answer = post(port, &format!("/{route}"), "{}");
        let mut body = answer.json();
        let why = body["data"].take();
        let (status, code, msg) =
            if module == "openssl" { (200, 0, "RespOK") } else { (400, 3, "RespErrorNotFound") };
        assert_eq!(body, json!({ "code": code, "module_type": module, "msg": msg, "data": null }), "{route}");
        assert_eq!((answer.status, why.is_null()), (status, code == 0), "{route}");
    }
    for (body, code) in [
        ("", 4),
        ("{", 4),
        ("[]", 4),
        ("7", 4),
        (r#"{"pid": "x"}"#, 5),
        (r#"{"typo": 1}"#, 5),
        (r#"{"openssl": "/nonexistent"}"#, 5),
        (r#"{"model": "keylog"}"#, 5),
        (r#"{"event_collector_addr": "/nonexistent/file"}"#, 5),
    ] {
        let answer = post(port, "/tls", body);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body}");
    }
    assert_eq!(post(port, "/other", "{}").status, 404);
    assert_eq!(post(port, "/other", "{}").body, "404 page not found");
    assert_eq!(get(port, "/a/b").status, 404);
    assert_eq!(get(port, "/tls").status, 405);
    assert_eq!(post(port, "/tls", &format!("{{\"a\": \"{}\"}}", "x".repeat(70_000))).status, 413);
    assert_eq!(ask(connect(port), "POST /stop", "Origin: https://b.example\r\n", "").status, 403);
    assert_eq!(capture.stop().code, 0);
}

#[test]
fn status_metrics_and_events() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (capture, port) = serve(&lab, &[]);
    let mut events = connect(port);
    events.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(events).lines().map(|line| line.expect("text"));
    lines.find(|line| line.starts_with(": ecapture")).expect("the first comment");
    lab.client(server.port, "/bytes/300000/7", &[]);
    let status = wait_for_status(port, "counts", |status| {
        (status["counts"]["bytes"].as_u64()? > 600_000).then(|| status.clone())
    });
    assert_eq!(status["module"], "openssl");
    assert_eq!(status["targets"][0]["path"], lab.libssl.to_str().expect("UTF-8"));
    assert!(status["targets"][0]["hooks"].as_u64().expect("a number") > 0);
    assert_eq!(status["counts"]["connections"], 2);
    assert_eq!(status["losses"]["buffer_full"], json!({ "events": 0, "bytes": 0 }));
    assert_eq!(status["server"]["clients"], 1);
    assert!(status["outputs"][0]["written"].as_u64().expect("a number") > 0);
    let document: Value = get(port, "/openapi.json").json();
    let schema = json!({ "$ref": "#/components/schemas/Status", "components": document["components"] });
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&status), "{:?}", validator.validate(&status));
    let metrics = get(port, "/metrics");
    assert!(metrics.head.contains("text/plain; version=0.0.4"), "{}", metrics.head);
    let bytes = metrics.body.lines().find_map(|line| line.strip_prefix("ecapture_bytes_total "));
    assert!(bytes.expect("a line").parse::<u64>().expect("a number") > 600_000);
    for line in metrics.body.lines() {
        let is_value = line
            .split_once(' ')
            .is_some_and(|(name, value)| name.starts_with("ecapture_") && value.parse::<u64>().is_ok());
        assert!(
            is_value || line.starts_with("# HELP ecapture_") || line.starts_with("# TYPE ecapture_"),
            "{line}"
        );
    }
    accepted(&post(port, "/stop", ""));
    let captured = capture.finish();
    let told: Vec<String> = lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).collect();
    let values = |records: record::Records| -> Vec<Value> { records.0.into_iter().map(|it| it.0).collect() };
    assert_eq!(values(record::parse(&told.join("\n"))), values(captured.complete()));
}

/// 100 changes while a client and a server talk: the file has everything once, and so have the files of the changes
/// together.
#[test]
fn changes_lose_and_double_nothing() {
    const CHANGES: usize = 100;
    const FILES: usize = 10;
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (socket, first) = (lab.path("control"), lab.path("events-start"));
    let capture = Capture::start(
        [
            ["--libssl", lab.libssl.to_str().expect("UTF-8")],
            ["--listen", &format!("unix:{}", socket.display())],
            ["--eventaddr", first.to_str().expect("UTF-8")],
            ROOMY,
        ]
        .concat(),
    );
    let post = |body: &str| {
        let stream = UnixStream::connect(&socket).expect("a connection");
        ask(stream, "POST /tls", "Content-Type: application/json\r\n", body)
    };
    let is_over = AtomicBool::new(false);
    let pids = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut pids = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                pids.push(lab.client(server.port, "/bytes/300000/7", &[]));
            }
            pids
        });
        for number in 0..CHANGES {
            let path = lab.path(&format!("events-{}", number % FILES));
            accepted(&post(&json!({ "event_collector_addr": path }).to_string()));
            assert_eq!(post(r#"{"event_collector_addr": "udp://a:1"}"#).json()["code"], 5);
        }
        is_over.store(true, Ordering::Relaxed);
        load.join().expect("no panic")
    });
    let records = capture.stop().complete();
    let mut others = String::new();
    let names = std::iter::once("start".to_owned()).chain((0..FILES).map(|number| number.to_string()));
    for name in names {
        others += &fs::read_to_string(lab.path(&format!("events-{name}"))).expect("a file");
    }
    let others = record::parse(&others);
    for pid in &pids {
        let (sent, received) = records.of(*pid).both_ways();
        assert!(!sent.is_empty() && received.len() > 300_000);
    }
    // Files that were written in turns have the records in another order.
    let sorted = |records: &record::Records| {
        let mut lines: Vec<String> = records.0.iter().map(|record| record.0.to_string()).collect();
        lines.sort();
        lines
    };
    assert!(sorted(&others) == sorted(&records), "each record is in one of the files, once");
}

#[test]
fn a_change_chooses_processes_and_messages() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (capture, port) = serve(&lab, &[]);
    let pid = server.running.pid();
    let visit = |path: &str| lab.client(server.port, path, &[]);
    accepted(&post(port, "/openssl", &json!({ "pid": pid }).to_string()));
    let hidden = visit("/bytes/10/1");
    accepted(&post(port, "/tls", r#"{"filter": {"path": "/bytes/20/*"}}"#));
    let also_hidden = visit("/bytes/10/2");
    let shown = visit("/bytes/20/3");
    accepted(&post(port, "/tls", r#"{"pid": 1}"#));
    let last_hidden = visit("/bytes/10/4");
    accepted(&post(port, "/tls", "{}"));
    let all = visit("/bytes/10/5");
    let captured = capture.stop();
    let count = |pid| captured.records.of(pid).0.len();
    assert_eq!([hidden, also_hidden, last_hidden].map(count), [0, 0, 0]);
    assert_eq!([shown, all].map(count), [2, 2]);
    assert_eq!(count(pid), 6, "the first, third and last exchange");
    assert!(captured.summary().get("left_out") > 0);
}

/// The thread that talks to strangers may do nothing, and so may those that hand records to it.
#[test]
fn servers_have_no_capabilities() {
    let lab = Lab::new();
    let (capture, port) = serve(&lab, &[]);
    assert_eq!(get(port, "/status").status, 200);
    let tasks = Path::new("/proc").join(capture.pid().to_string()).join("task");
    let mut servers = 0;
    for task in fs::read_dir(tasks).expect("threads").flatten() {
        let status = read_text(task.path().join("status"));
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim().to_owned()
        };
        if field("Name:") == "server" {
            servers += 1;
            assert_eq!((field("CapEff:"), field("CapPrm:")), ("0".repeat(16), "0".repeat(16)));
        }
    }
    assert_eq!(servers, 1);
    assert_eq!(capture.stop().code, 0);
}

#[test]
fn a_unix_socket() {
    let lab = Lab::new();
    let path = lab.path("control");
    let capture = Capture::start([
        "--libssl",
        lab.libssl.to_str().expect("UTF-8"),
        "--listen",
        &format!("unix:{}", path.display()),
    ]);
    let connect = || UnixStream::connect(&path).expect("a connection");
    assert_eq!(ask(connect(), "GET /status", "", "").status, 200);
    accepted(&ask(connect(), "POST /stop", "", ""));
    assert_eq!(capture.finish().code, 0);
    assert!(!path.exists());
}

/// What schemathesis makes of the document, the server answers as the document says.
#[test]
#[ignore = "takes minutes"]
fn the_document_is_right() {
    let lab = Lab::new();
    let (capture, port) = serve(&lab, &[]);
    let packages = python_packages("schemathesis", &["schemathesis"]);
    let mut schemathesis: Command = python(&packages);
    schemathesis
        .args(["-m", "schemathesis.cli", "run", &format!("http://127.0.0.1:{port}/openapi.json")])
        .args(["--exclude-path", "/stop", "--exclude-path", "/events", "--rate-limit", "50/s"])
        .args(["--exclude-checks", "unsupported_method,positive_data_acceptance", "--max-examples", "30"]);
    assert!(succeeds(&mut schemathesis));
    assert_eq!(capture.stop().code, 0);
}
