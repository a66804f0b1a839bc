//! The messages that the test programs exchange.

use crate::pattern;

/// The answer of `tls_server` to `/bytes/LENGTH/STREAM`.
pub fn answer(stream: u32, length: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.extend(pattern::body(stream, length));
    answer
}

/// The answer of `tls_server` to an upload.
pub fn upload_answer(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{length:08}\n").into_bytes()
}

/// A request of `tls_client`: the `request`-th of `requests` on its `connection`-th connection.
pub fn request(
    path: &str,
    upload: Option<usize>,
    connection: usize,
    request: usize,
    requests: usize,
) -> Vec<u8> {
    let method = if upload.is_some() { "POST" } else { "GET" };
    let keep = if request + 1 == requests { "close" } else { "keep-alive" };
    let length = upload.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {keep}\r\n{length}X-Probe: conn-{connection}-req-{request}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.extend(pattern::body(pattern::UPLOAD, upload.unwrap_or(0)));
    request
}
