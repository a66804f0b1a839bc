//! What is left out, and what is hidden.

use std::path::Path;

use crate::capture::{Capture, Captured};
use crate::lab::Lab;
use crate::process::Running;
use crate::record::{RECEIVED, SENT};

/// Requests of `/page` and `/none` by HTTP/1.1 and HTTP/2; what a capture with these arguments shows of them.
fn shown(arguments: &[&str]) -> Vec<String> {
    let lab = Lab::new();
    let nginx = lab.nginx("http2");
    lab.file("www/page", "the body");
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let port = nginx.port.to_string();
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "PORT" { &*port } else { *argument }).collect();
    let capture = Capture::start([&["--libssl", libssl, "--comm", "curl"], &arguments[..]].concat());
    let url = |path| format!("https://localhost:{}{path}", nginx.port);
    for version in ["--http1.1", "--http2"] {
        lab.curl(&[version, &url("/page?q=1"), "-o", "page"]);
        lab.curl(&[version, &url("/none"), "-o", "none"]);
    }
    let captured = capture.stop();
    assert_eq!(captured.code, 0, "{}", captured.stderr);
    let records = captured
        .records
        .0
        .iter()
        .filter(|record| record.kind().ends_with("request") || record.kind().ends_with("response"));
    records
        .map(|record| {
            let text = String::from_utf8(record.data()).expect("text");
            let is_page = text.contains("/page") || text.contains(" 200");
            let body = if text.contains("the body") { " with body" } else { "" };
            format!("{} {}{body}", record.kind(), if is_page { "page" } else { "none" })
        })
        .collect()
}

/// The same of both versions of HTTP.
fn both(messages: &[&str]) -> Vec<String> {
    ["HTTP/1.1", "HTTP/2"]
        .iter()
        .flat_map(|version| messages.iter().map(move |message| format!("{version} {message}")))
        .collect()
}

#[test]
fn conditions_select_messages() {
    let [ask_page, page, ask_none, none] =
        ["request page", "response page with body", "request none", "response none"];
    let cases: [(&[&str], &[&str]); 13] = [
        (&[], &[ask_page, page, ask_none, none]),
        (&["--path", "/page"], &[ask_page, page]),
        (&["--path", "/no*", "--path", "/x"], &[ask_none, none]),
        (&["--host", "LOCAL*"], &[ask_page, page, ask_none, none]),
        (&["--host", "example.org"], &[]),
        (&["--method", "post"], &[]),
        (&["--status", "4xx"], &[none]),
        (&["--path", "/page", "--status", "404"], &[]),
        (&["--only", "response", "--path", "/page"], &[page]),
        (&["--only", "headers", "--path", "/page"], &[ask_page, "response page"]),
        (&["--grep", "q=[0-9]"], &[ask_page, page]),
        (&["--grep", "the b.dy"], &[page]),
        (&["--port", "PORT", "--method", "GET", "--status", "200"], &[page]),
    ];
    for (arguments, messages) in cases {
        assert_eq!(shown(arguments), both(messages), "{arguments:?}");
    }
    assert_eq!(shown(&["--port", "1"]), [""; 0]);
}

#[test]
fn what_is_left_out_is_counted() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let libssl = lab.libssl.to_str().expect("UTF-8");
    let capture = Capture::start(["--libssl", libssl, "--comm", "tls_client", "--status", "500"]);
    lab.client(server.port, "/bytes/1000/7", &[]);
    let captured = capture.stop();
    assert_eq!(captured.summary().get("left_out"), 2);
    assert!(captured.complete().0.is_empty());
}

/// Sends its head in pieces, with pauses that are longer than any patience of ecapture.
const SLOW: &str = r#"
import socket, ssl, sys, time
context = ssl.create_default_context(cafile='cert.pem')
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost') as s:
    for piece in ['GET /page?token=S3cr', '3t HTTP/1.1\r\nHost: a\r\nAuthoriz', 'ation: Basic S3c', 'r3tS3cr3t\r\nCookie: a=S3cr3t',
                  ';b=S3cr3t\r\nConnection: close\r\n\r\n']:
        s.sendall(piece.encode())
        time.sleep(0.3)
    while s.recv(100000):
        pass
"#;

#[track_caller]
fn assert_hidden(captured: &Captured, others: &[&Path]) {
    let texts = others.iter().map(|path| std::fs::read_to_string(path).expect("text"));
    for text in texts.chain(captured.records.0.iter().map(|record| record.0.to_string())) {
        assert!(!text.contains("S3c") && !text.contains("r3t"), "{text}");
    }
}

#[test]
fn secrets_reach_no_sink() {
    let lab = Lab::new();
    let nginx = lab.nginx("http2");
    lab.file("www/page", r#"{"access_token": "S3cr3t", "name": "Ann Other", "id": 1234}"#);
    let rules = lab.file("rules", "# a number\n\"id\": (\\d+)\n");
    let also = lab.path("also");
    let [libssl, rules, also_text] = [&lab.libssl, &rules, &also].map(|path| path.to_str().expect("UTF-8"));
    let arguments = ["--libssl", libssl, "--redact", "--redact-rules", rules, "--eventaddr", also_text];
    let capture = Capture::start(arguments);
    let url = format!("https://127.0.0.1:{}/page", nginx.port);
    let (http2, _) =
        lab.curl(&["--http2", "-u", "ann:S3cr3t", "-b", "a=S3cr3t", "-H", "X-Api-Key: S3cr3t", &url]);
    let slow = Running::start(lab.command("/usr/bin/python3").args(["-c", SLOW, &nginx.port.to_string()]));
    let slow_pid = slow.pid();
    slow.finish().succeeded();
    let captured = capture.stop();
    assert_hidden(&captured, &[&also]);
    let text = |pid, way| {
        let bytes = captured.records.of(pid).way(way).0.iter().flat_map(|record| record.data()).collect();
        String::from_utf8(bytes).expect("text")
    };
    assert!(text(http2, SENT).contains("authorization: [redacted]\r\n"), "{}", text(http2, SENT));
    assert!(text(http2, SENT).contains("x-api-key: [redacted]\r\n"));
    assert!(
        text(http2, RECEIVED)
            .contains(r#"{"access_token": "[redacted]", "name": "Ann Other", "id": [redacted]}"#)
    );
    assert_eq!(
        text(slow_pid, SENT),
        "GET /page?token=[redacted] HTTP/1.1\r\nHost: a\r\nAuthorization: [redacted]\r\n\
         Cookie: [redacted]\r\nConnection: close\r\n\r\n"
    );
}
