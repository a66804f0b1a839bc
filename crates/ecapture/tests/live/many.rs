//! Many messages on one connection: each response belongs to its request, in the order of the program.

use std::collections::BTreeMap;
use std::path::Path;

use crate::capture::{Capture, ROOMY};
use crate::lab::{Lab, ready_port};
use crate::process::{Finished, Running, output_of};
use crate::record::{RECEIVED, Records, SENT};

/// Answers each request with its path, later ones often before earlier ones.
const HTTP2_SERVER: &str = r"
const fs = require('fs'), http2 = require('http2');
const server = http2.createSecureServer({ cert: fs.readFileSync('cert.pem'), key: fs.readFileSync('key.pem') });
let count = 0;
server.on('stream', (stream, headers) => {
  stream.respond({ ':status': 200 });
  stream.write('answer ');
  setTimeout(() => stream.end('to ' + headers[':path']), 7 * count++ % 10);
});
server.listen(0, '127.0.0.1', () => console.log('ready ' + server.address().port));
";

/// Makes so many requests, so many of them at once.
const HTTP2_CLIENT: &str = r"
const [port, requests, streams] = process.argv.slice(1).map(Number);
const session = require('http2').connect('https://127.0.0.1:' + port, { rejectUnauthorized: false });
let next = 0, done = 0;
function ask() {
  if (next === requests) return;
  const path = '/' + next++;
  const request = session.request({ ':path': path });
  let body = '';
  request.setEncoding('utf8');
  request.on('data', text => body += text);
  request.on('end', () => {
    if (body !== 'answer to ' + path) process.exit(1);
    if (++done === requests) session.close();
    ask();
  });
}
for (let n = 0; n < streams; n++) ask();
";

const REQUESTS: usize = 10_000;

const NODE: &str = "/usr/bin/node";

/// What was asked in each stream, or in each exchange of HTTP/1.
#[track_caller]
fn paths(records: &Records, key: &str, before: &str) -> BTreeMap<u64, String> {
    let mut paths = BTreeMap::new();
    for request in records.only(|record| record.kind().ends_with(" request")).0 {
        let head = String::from_utf8(request.data()).expect("text");
        let path = head.split(before).nth(1).and_then(|rest| rest.split(['\r', ' ']).next()).expect("a path");
        assert_eq!(paths.insert(request.number(key), path.to_owned()), None, "asked twice");
    }
    paths
}

/// What came in each of them.
fn answers(records: &Records, key: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut answers: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for piece in records.only(|record| record.kind().ends_with(" response")).0 {
        answers.entry(piece.number(key)).or_default().extend(piece.data());
    }
    answers
}

/// Every request has its answer, on both ends.
#[track_caller]
fn assert_paired(records: &Records, ends: [u32; 2], key: &str, before: &str, count: usize) {
    for (pid, asked, answered) in [(ends[0], SENT, RECEIVED), (ends[1], RECEIVED, SENT)] {
        let one = records.of(pid).connection();
        let (paths, answers) = (paths(&one.way(asked), key, before), answers(&one.way(answered), key));
        assert_eq!((paths.len(), answers.len()), (count, count));
        for (number, path) in paths {
            let expected = format!("\r\n\r\nanswer to {path}");
            let answer = &answers[&number];
            assert!(answer.ends_with(expected.as_bytes()), "{path}: {}", answer.escape_ascii());
        }
    }
}

#[test]
fn ten_thousand_requests_over_a_hundred_streams() {
    let lab = Lab::new();
    let server = Running::start(lab.command(NODE).args(["-e", HTTP2_SERVER]));
    let port = ready_port(&server).to_string();
    let has_openssl_inside = !output_of("ldd", &[NODE]).contains("libnode");
    let library = if has_openssl_inside { Path::new(NODE) } else { &lab.libssl };
    let capture = Capture::of_much(library, ROOMY);
    let client = Running::start(lab.command(NODE).args(["-e", HTTP2_CLIENT]).args([
        &port,
        &REQUESTS.to_string(),
        "100",
    ]));
    let pid = client.pid();
    client.finish().succeeded();
    let records = capture.stop().complete();
    assert_paired(&records, [pid, server.pid()], "stream", ":path: ", REQUESTS);
    let exchanges = |records: Records| -> BTreeMap<u64, u64> {
        records.0.iter().map(|record| (record.number("stream"), record.number("exchange"))).collect()
    };
    let of_client = records.of(pid);
    let requests = of_client.way(SENT).only(|record| record.kind() == "HTTP/2 request");
    let responses = of_client.way(RECEIVED).only(|record| record.kind() == "HTTP/2 response");
    assert_eq!(exchanges(requests), exchanges(responses));
}

/// Answers each request with its path.
const HTTP1_SERVER: &str = r"
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
with context.wrap_socket(listener.accept()[0], server_side=True) as s:
    held = b''
    while more := s.recv(5000):
        *requests, held = (held + more).split(b'\r\n\r\n')
        for request in requests:
            body = b'answer to ' + request.split(b' ')[1]
            s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
";

/// Sends all requests before it reads an answer.
const HTTP1_CLIENT: &str = r"
import socket, ssl, sys
context = ssl.create_default_context(cafile='cert.pem')
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost') as s:
    s.sendall(b''.join(b'GET /%d HTTP/1.1\r\nHost: a\r\n\r\n' % n for n in range(1000)))
    got = b''
    while got.count(b'answer') < 1000 or not got.endswith(b'/999'):
        got += s.recv(100000)
";

fn python(lab: &Lab, source: &str, port: u16) -> (u32, Finished) {
    let client = Running::start(lab.command("/usr/bin/python3").args(["-c", source]).arg(port.to_string()));
    (client.pid(), client.finish().succeeded())
}

#[test]
fn a_thousand_pipelined_requests() {
    let lab = Lab::new();
    let server = lab.python_server(HTTP1_SERVER);
    let capture = lab.capture_much();
    let (pid, _) = python(&lab, HTTP1_CLIENT, server.port);
    let records = capture.stop().complete();
    assert_paired(&records, [pid, server.running.pid()], "exchange", "GET ", 1000);
}

/// Answers each message at once.
const ECHO_SERVER: &str = r"
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
with context.wrap_socket(listener.accept()[0], server_side=True) as s:
    while more := s.recv(5):
        s.sendall(b'back ' + more)
";

/// Sends and receives in an order without a pattern, and tells it.
const ECHO_CLIENT: &str = r"
import random, socket, ssl, sys
context = ssl.create_default_context(cafile='cert.pem')
random.seed(8)
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost') as s:
    sent = received = 0
    while received < 2000:
        if sent < 2000 and (sent == received or random.random() < 0.5):
            text = '%05d' % sent
            s.sendall(text.encode())
            print('sent', text)
            sent += 1
        else:
            print('received', s.recv(10).decode())
            received += 1
";

/// Direction and text; pieces of one direction that follow one another are one.
fn turns<'a>(pieces: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, String)> {
    let mut turns: Vec<(&str, String)> = Vec::new();
    for (direction, text) in pieces {
        match turns.last_mut() {
            Some(last) if last.0 == direction => last.1.push_str(text),
            _ => turns.push((direction, text.to_owned())),
        }
    }
    turns
}

#[test]
fn both_directions_show_in_the_order_of_the_program() {
    let lab = Lab::new();
    let server = lab.python_server(ECHO_SERVER);
    let capture = Capture::of_much(&lab.libssl, ROOMY);
    let (pid, told) = python(&lab, ECHO_CLIENT, server.port);
    let records = capture.stop().complete().of(pid);
    let told = told.text();
    let told = told.lines().map(|line| line.split_once(' ').expect("a direction and a text"));
    let captured = records.0.iter().map(|record| (record.text("dir"), record.text("data")));
    assert_eq!(turns(captured), turns(told));
}
