//! Request and status lines: recognise one in bytes that may be anything, and read it.
use memchr::{memchr, memchr3};

use super::fields::line_ends;
use crate::part::{Kind, Version};
use crate::sniff::Verdict;

/// The longest method that we believe. The longest registered one has 17 letters (RFC 9110, 18.2).
const METHOD_MAX: usize = 32;
const PREFIX: &[u8] = b"HTTP/1.";

/// Reads the first line at the start of `bytes`, line ends before it skipped (RFC 9112, 2.2). Sure only if
/// all of `method target HTTP/1.x` or `HTTP/1.x 123` is there, with what must follow it.
pub(crate) fn first_line(bytes: &[u8]) -> Verdict<Kind<'_>> {
    let line = &bytes[line_ends(bytes)..];
    match line.first() {
        None => Verdict::Open,
        // A method may begin like this too, but none does.
        Some(b'H') if agrees(line, PREFIX) => status_line(line),
        Some(_) => request_line(line),
    }
}

/// `HTTP/1.x 123`, then a space or the end of the line.
fn status_line(line: &[u8]) -> Verdict<Kind<'_>> {
    let shape = |n: usize, b: u8| match n {
        0..7 => b == PREFIX[n],
        8 => b == b' ',
        7 | 9..12 => b.is_ascii_digit(),
        _ => matches!(b, b' ' | b'\r' | b'\n'),
    };
    if !line.iter().take(13).enumerate().all(|(n, &b)| shape(n, b)) {
        return Verdict::No;
    }
    let Some(&[minor, _, a, b, c, _]) = line.get(7..13) else { return Verdict::Open };
    let status = [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let end = memchr(b'\n', line).unwrap_or(line.len());
    let reason = line[12..end.max(12)].trim_ascii();
    Verdict::Sure(Kind::Response { status, reason, version: http1(minor) })
}

/// `method target HTTP/1.x`, then the end of the line.
fn request_line(line: &[u8]) -> Verdict<Kind<'_>> {
    let method = line.iter().take(METHOD_MAX + 1).take_while(|&&b| is_token(b)).count();
    if method == line.len() && method <= METHOD_MAX {
        return Verdict::Open;
    }
    if method == 0 || method > METHOD_MAX || line[method] != b' ' {
        return Verdict::No;
    }
    let (method, rest) = (&line[..method], &line[method + 1..]);
    let Some(end) = memchr3(b' ', b'\r', b'\n', rest) else {
        return if is_target(rest) { Verdict::Open } else { Verdict::No };
    };
    let (target, version) = (&rest[..end], &rest[end..]);
    if target.is_empty() || version[0] != b' ' || !is_target(target) || !agrees(&version[1..], PREFIX) {
        return Verdict::No;
    }
    match version.get(8..10) {
        None if version.get(8).is_none_or(u8::is_ascii_digit) => Verdict::Open,
        Some(&[minor, b'\r' | b'\n']) if minor.is_ascii_digit() => {
            let method = std::str::from_utf8(method).unwrap_or_default();
            Verdict::Sure(Kind::Request { method, target, version: http1(minor) })
        }
        _ => Verdict::No,
    }
}

fn http1(minor: u8) -> Version {
    Version { major: 1, minor: minor - b'0' }
}

/// Whether `bytes` and `prefix` are the same as far as both go.
fn agrees(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(a, b)| a == b)
}

/// No controls, no spaces. Bytes beyond ASCII are not allowed there but seen in practice.
fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |fine, &b| fine & (b > b' ') & (b != 0x7F))
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds() {
        let Verdict::Sure(Kind::Request { method, target, version }) = first_line(b"GET /a?b HTTP/1.0\n")
        else {
            panic!()
        };
        assert_eq!((method, target, version.to_string().as_str()), ("GET", &b"/a?b"[..], "HTTP/1.0"));
        let Verdict::Sure(Kind::Response { status, reason, version }) =
            first_line(b"\r\nHTTP/1.1 404 Not Found\r\nA")
        else {
            panic!()
        };
        assert_eq!((status, reason, version.minor), (404, &b"Not Found"[..], 1));
        assert!(matches!(first_line(b"HTTP/1.1 200\r\n"), Verdict::Sure(Kind::Response { reason: b"", .. })));
    }

    #[test]
    fn every_prefix_is_open() {
        for line in [&b"patch /x HTTP/1.1\r"[..], b"HTTP/1.1 200 ", b"\r\nCONNECT a:1 HTTP/1.1\r"] {
            for cut in 0..line.len() {
                assert_eq!(first_line(&line[..cut]), Verdict::Open, "{cut}");
            }
            assert!(matches!(first_line(line), Verdict::Sure(_)));
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        let lines: [&[u8]; 10] = [
            b"\x16\x03\x01",
            b"hello, world ",
            b"the quick brown",
            b"GET  HTTP/1.1\r\n",
            b"GET /\r\n",
            b"GET / HTTP/2.0\r\n",
            b"GET / HTTP/1.1 \r\n",
            b"HTTP/1.1 20x ",
            b"HTTP/1.1 2000",
            b"PRI * HTTP/2.0\r\n\r\nSM",
        ];
        for line in lines {
            assert_eq!(first_line(line), Verdict::No, "{line:?}");
        }
        assert_eq!(first_line(&[b'A'; 33]), Verdict::No);
    }
}
