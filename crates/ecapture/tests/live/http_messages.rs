//! HTTP/1 messages are separated, named and decoded.

use std::fs;
use std::process::{Command, Stdio};

use crate::lab::{Lab, read_text};
use crate::pattern::{self, assert_same};
use crate::process::Running;
use crate::record::{RECEIVED, SENT};

const REQUEST: &str = "HTTP/1.1 request";
const RESPONSE: &str = "HTTP/1.1 response";

#[test]
fn keep_alive_messages_are_separate() {
    let lab = Lab::new();
    let nginx = lab.nginx("");
    let bodies: Vec<Vec<u8>> = (0..3).map(|index| pattern::body(index, 1000 + 64 * index as usize)).collect();
    for (index, body) in bodies.iter().enumerate() {
        lab.file(&format!("www/{index}"), body);
    }
    let capture = lab.capture();
    let url = |index| format!("https://127.0.0.1:{}/{index}", nginx.port);
    let (curl, _) = lab.curl(&[&url(0), &url(1), &url(2)]);
    let records = capture.stop().complete();
    for (pid, asked, answered) in [(curl, SENT, RECEIVED), (nginx.running.pid(), RECEIVED, SENT)] {
        let one = records.of(pid).connection();
        let requests = one.way(asked).messages();
        let responses = one.way(answered).messages();
        assert_eq!((requests.len(), responses.len()), (3, 3), "{one:#?}");
        for (index, body) in bodies.iter().enumerate() {
            assert_eq!((&*requests[index].0, &*responses[index].0), (REQUEST, RESPONSE));
            assert!(requests[index].2.starts_with(format!("GET /{index} HTTP/1.1\r\n").as_bytes()));
            assert!(responses[index].2.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(responses[index].2.ends_with(body));
        }
    }
}

/// Sends everything in one call, then reads until the server closes.
const ONE_WRITE: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile='cert.pem')
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost') as s:
    s.sendall(sys.argv[2].encode())
    while s.recv(100000):
        pass
"#;

#[test]
fn pipelined_messages_are_separate() {
    let lab = Lab::new();
    let nginx = lab.nginx("");
    lab.file("www/a", "first");
    lab.file("www/b", "second");
    let capture = lab.capture();
    let requests = [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /b HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n",
    ];
    let client = Running::start(lab.command("/usr/bin/python3").args([
        "-c",
        ONE_WRITE,
        &nginx.port.to_string(),
        &requests.concat(),
    ]));
    let pid = client.pid();
    client.finish().succeeded();
    let records = capture.stop().complete();
    for (pid, asked, answered) in [(pid, SENT, RECEIVED), (nginx.running.pid(), RECEIVED, SENT)] {
        let one = records.of(pid).connection();
        let found: Vec<(String, Vec<u8>)> =
            one.way(asked).messages().into_iter().map(|(kind, _, data)| (kind, data)).collect();
        let expected: Vec<(String, Vec<u8>)> =
            requests.iter().map(|text| (REQUEST.to_owned(), text.as_bytes().to_vec())).collect();
        assert_eq!(found, expected);
        let responses = one.way(answered).messages();
        let ends = ["first", "second", "</html>\r\n"];
        assert_eq!(responses.len(), 3);
        for ((kind, _, data), end) in responses.iter().zip(ends) {
            assert_eq!(kind, RESPONSE);
            assert!(
                data.starts_with(b"HTTP/1.1 ") && data.ends_with(end.as_bytes()),
                "{}",
                data.escape_ascii()
            );
        }
    }
}

/// Answers `/CODING` with the file of that name, encoded already; with `chunked` in the path, in chunks.
const ENCODED_SERVER: &str = r#"
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        name = self.path.strip('/')
        data = open(name, 'rb').read()
        self.send_response(200)
        coding = name.split('-')[0]
        if coding != 'plain':
            self.send_header('Content-Encoding', coding)
        if 'chunked' in name:
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for at in range(0, len(data), 777):
                piece = data[at:at + 777]
                self.wfile.write(b'%x;ext=1\r\n%s\r\n' % (len(piece), piece))
            self.wfile.write(b'0\r\nX-Trailer: yes\r\n\r\n')
        else:
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)
    def log_message(self, *args):
        pass
"#;

/// What a program makes of a file.
fn filtered(file: &std::path::Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let input = fs::File::open(file).expect("a file");
    let mut command = Command::new(program);
    Running::start_with_input(command.args(arguments).stdin(Stdio::from(input))).finish().succeeded().stdout
}

#[test]
fn bodies_are_shown_decoded() {
    let lab = Lab::new();
    let body = pattern::body(9, 200_000);
    let plain = lab.file("plain-chunked", &body);
    let deflate = |wbits: &str| {
        let code = format!(
            "import sys, zlib\nc = zlib.compressobj(wbits={wbits})\nd = c.compress(sys.stdin.buffer.read()) + c.flush()\nsys.stdout.buffer.write(d)"
        );
        filtered(&plain, "/usr/bin/python3", &["-c", &code])
    };
    lab.file("gzip", filtered(&plain, "gzip", &["-c"]));
    lab.file("gzip-chunked", filtered(&plain, "gzip", &["-c"]));
    lab.file("deflate", deflate("15"));
    lab.file("deflate-raw", deflate("-15"));
    lab.file("br", filtered(&plain, "brotli", &["-c", "-"]));
    lab.file("zstd", filtered(&plain, "zstd", &["-c"]));
    let server = lab.https_server(ENCODED_SERVER);
    let capture = lab.capture();
    let names = ["plain-chunked", "gzip", "gzip-chunked", "deflate", "deflate-raw", "br", "zstd"];
    let clients = names.map(|name| {
        lab.curl(&[
            "-o",
            name.replace('-', "_").as_str(),
            &format!("https://127.0.0.1:{}/{name}", server.port),
        ])
        .0
    });
    let records = capture.stop().complete();
    let served = records.of(server.running.pid()).connections();
    for (index, name) in names.iter().enumerate() {
        for shown in [records.of(clients[index]).connection().way(RECEIVED), served[index].way(SENT)] {
            let messages = shown.messages();
            assert_eq!(messages.len(), 1, "{name}");
            let (kind, note, data) = &messages[0];
            assert_eq!((&**kind, &**note), (RESPONSE, ""), "{name}");
            let trailer: &[u8] = if name.contains("chunked") { b"X-Trailer: yes\r\n" } else { b"" };
            let head = data.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            let rest = &data[head..];
            assert_same(&rest[..body.len().min(rest.len())], &body, name);
            let after = rest[body.len()..].escape_ascii().to_string();
            assert!(
                rest[body.len()..].starts_with(trailer) && rest.len() <= body.len() + trailer.len() + 2,
                "{name}: {after}"
            );
        }
    }
}

#[test]
fn a_decompression_bomb_is_cut() {
    let lab = Lab::new();
    let zeros = lab.file("zeros", vec![0; 256 << 20]);
    lab.file("gzip", filtered(&zeros, "gzip", &["-c1"]));
    let server = lab.https_server(ENCODED_SERVER);
    let mut capture = crate::capture::Capture::start([
        "--libssl",
        lab.libssl.to_str().expect("UTF-8"),
        "-p",
        &server.running.pid().to_string(),
    ]);
    lab.curl(&["-o", "/dev/null", &format!("https://127.0.0.1:{}/gzip", server.port)]);
    capture.wait_for_record("the end of the message", |record| {
        record.text("dir") == SENT && record.0["last"] == true
    });
    let status = read_text(format!("/proc/{}/status", capture.running().pid()));
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
        .expect("VmHWM");
    assert!(peak < 128 << 10, "{peak} KiB");
    let messages = capture.stop().complete().way(SENT).messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].1.contains("decoded up to the limit only"), "{}", messages[0].1);
    assert!(messages[0].2.len() < 17 << 20, "{}", messages[0].2.len());
}
