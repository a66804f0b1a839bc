//! What is not HTTP/1: messages of HTTP/2 by their stream, gRPC, Server-Sent Events.

use std::fs;

use crate::lab::Lab;
use crate::pattern::{self, assert_same};
use crate::process::Running;
use crate::record::{RECEIVED, Record, SENT};

#[test]
fn messages_of_http_2_are_told_apart_by_their_stream() {
    let lab = Lab::new();
    let nginx = lab.nginx("http2");
    let bodies: Vec<Vec<u8>> = (0..3).map(|index| pattern::body(index, 150_000)).collect();
    for (index, body) in bodies.iter().enumerate() {
        lab.file(&format!("www/{index}"), body);
    }
    let capture = lab.capture();
    let url = |index| format!("https://127.0.0.1:{}/{index}", nginx.port);
    let (curl, _) = lab.curl(&["--http2", "-Z", "-o", "got_#1", &format!("{}[0-2]", url(""))]);
    for (index, body) in bodies.iter().enumerate() {
        assert_same(&fs::read(lab.path(&format!("got_{index}"))).expect("a file"), body, "what curl got");
    }
    let records = capture.stop().complete();
    for (pid, asked, answered) in [(curl, SENT, RECEIVED), (nginx.running.pid(), RECEIVED, SENT)] {
        let mut paths = Vec::new();
        for one in records.of(pid).connections() {
            for request in one.way(asked).only(|record| record.kind() == "HTTP/2 request").0 {
                let response = one.way(answered).stream(request.number("stream"));
                let head = String::from_utf8(request.data()).expect("text");
                let path = head.lines().find_map(|line| line.strip_prefix(":path: /")).expect("a path");
                let index: usize = path.parse().expect("a number");
                paths.push(index);
                assert_eq!(response.same("type"), "HTTP/2 response");
                assert_eq!(response.same("exchange"), &request.0["exchange"]);
                assert!(response.0[0].has("latency_ns") && !request.has("latency_ns"));
                let bytes = response.bytes();
                assert!(bytes.starts_with(b":status: 200\r\n"), "{}", bytes[..100].escape_ascii());
                assert_same(&bytes[bytes.len() - bodies[index].len()..], &bodies[index], path);
            }
        }
        paths.sort_unstable();
        assert_eq!(paths, [0, 1, 2]);
    }
}

/// Answers a call of gRPC with two messages, the first of them in gzip, and a status.
const GRPC_SERVER: &str = r"
const fs = require('fs'), http2 = require('http2'), zlib = require('zlib');
const server = http2.createSecureServer({ cert: fs.readFileSync('cert.pem'), key: fs.readFileSync('key.pem') });
const message = (flag, bytes) => Buffer.concat([Buffer.from([flag, 0, 0, 0, bytes.length]), bytes]);
server.on('stream', stream => {
  stream.respond({ 'content-type': 'application/grpc', 'grpc-encoding': 'gzip' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '5', 'grpc-message': 'no more' }));
  stream.write(message(1, zlib.gzipSync('first')));
  stream.end(message(0, Buffer.from('second')));
});
server.listen(0, '127.0.0.1', () => console.log('ready ' + server.address().port));
";

#[test]
fn calls_of_grpc_show_their_messages_and_status() {
    let lab = Lab::new();
    let server = Running::start(lab.command("node").args(["-e", GRPC_SERVER]));
    let port = crate::lab::ready_port(&server);
    lab.file("call", b"\0\0\0\0\x02\x08\x2A");
    let capture = lab.capture();
    let url = format!("https://127.0.0.1:{port}/lab.Greeter/Say");
    let (curl, _) = lab.curl(&[
        "--http2",
        "-H",
        "content-type: application/grpc",
        "--data-binary",
        "@call",
        "-o",
        "got",
        &url,
    ]);
    let one = capture.stop().complete().of(curl).connection();
    let shown = |way| -> Vec<(String, Vec<u8>, String)> {
        let row = |record: &Record| (record.kind().to_owned(), record.data(), record.text("note").to_owned());
        one.way(way).only(|record| record.has("stream")).0.iter().map(row).collect()
    };
    let (sent, received) = (shown(SENT), shown(RECEIVED));
    assert!(sent[0].1.windows(24).any(|text| text == b":path: /lab.Greeter/Say\r"), "{sent:?}");
    assert_eq!(sent[1], ("gRPC message".to_owned(), b"\x08\x2A".to_vec(), String::new()));
    let kinds: Vec<&str> = received.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, ["HTTP/2 response", "gRPC message", "gRPC message", "HTTP/2 response"]);
    assert_eq!((received[1].1.as_slice(), received[2].1.as_slice()), (&b"first"[..], &b"second"[..]));
    assert_eq!(received[3].1, b"grpc-status: 5\r\ngrpc-message: no more\r\n");
    assert_eq!(received[3].2, "gRPC status NOT_FOUND");
}

/// Sends two events, and stays.
const EVENTS_SERVER: &str = r#"
import http.server, ssl, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.end_headers()
        self.wfile.write(b'data: one\n\ndata: two\n\n')
        time.sleep(60)
    def log_message(self, *args):
        pass
"#;

#[test]
fn events_are_shown_one_by_one_while_the_response_goes_on() {
    let lab = Lab::new();
    let server = lab.https_server(EVENTS_SERVER);
    let capture = lab.capture();
    let curl = Running::start(lab.command("curl").args([
        "-skN",
        "--noproxy",
        "*",
        &format!("https://127.0.0.1:{}/", server.port),
    ]));
    let pid = curl.pid();
    for event in ["data: one\n\n", "data: two\n\n"] {
        capture.wait_for_record(event, |record| {
            record.pid() == pid && record.kind() == "Server-Sent Event" && record.data() == event.as_bytes()
        });
    }
    drop(curl);
}
