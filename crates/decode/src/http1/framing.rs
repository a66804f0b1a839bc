//! Where the body of a message ends (RFC 9112, 6.3).
use super::pairing::Asked;
use crate::coding::Codings;
use crate::part::Kind;

/// What the fields of a head say about its body.
#[derive(Default)]
pub(super) struct Declared {
    length: Length,
    /// Transfer codings other than chunked.
    pub transfer: Codings,
    chunked: Chunked,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Length {
    #[default]
    Absent,
    Known(u64),
    /// Not a number, or two different numbers.
    Bad,
}

/// Where chunked stands among the transfer codings.
#[derive(Clone, Copy, Default, PartialEq)]
enum Chunked {
    #[default]
    Absent,
    Last,
    /// Repeated, or something follows it: the end of the body cannot be known.
    Misplaced,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
    /// Contradictory: whatever follows the head must not be guessed at.
    Bad,
    /// No body, and what follows is another protocol.
    Switch,
}

impl Declared {
    /// A Content-Length field. The same number twice is a known harmless fault (RFC 9110, 8.6).
    pub fn length(&mut self, value: &[u8]) {
        for item in value.split(|&b| b == b',') {
            let new = number(item.trim_ascii()).map_or(Length::Bad, Length::Known);
            self.length = if self.length == Length::Absent || self.length == new { new } else { Length::Bad };
        }
    }

    /// One transfer coding, in order.
    pub fn transfer_coding(&mut self, token: &[u8]) {
        // Removed from HTTP in 2014 and harmless: it means nothing.
        if token.eq_ignore_ascii_case(b"identity") {
            return;
        }
        let is_chunked = token.eq_ignore_ascii_case(b"chunked");
        match self.chunked {
            Chunked::Absent if is_chunked => self.chunked = Chunked::Last,
            Chunked::Absent => self.transfer.add(token),
            Chunked::Last | Chunked::Misplaced => self.chunked = Chunked::Misplaced,
        }
    }

    pub fn is_chunked(&self) -> bool {
        self.chunked == Chunked::Last
    }

    pub fn has_transfer(&self) -> bool {
        self.chunked != Chunked::Absent || !self.transfer.is_empty()
    }

    pub fn known_length(&self) -> Option<u64> {
        match self.length {
            Length::Known(n) => Some(n),
            Length::Absent | Length::Bad => None,
        }
    }

    /// The rules in the order of the RFC.
    pub fn framing(&self, kind: &Kind<'_>, asked: Option<Asked>) -> Framing {
        let response = match *kind {
            Kind::Response { status, .. } => Some(status),
            Kind::Request { .. } | Kind::Other(_) => None,
        };
        match (response, asked) {
            (Some(101), _) | (Some(200..300), Some(Asked::Connect)) => return Framing::Switch,
            (Some(100..200 | 204 | 304), _) | (Some(_), Some(Asked::Head)) => return Framing::Length(0),
            _ => {}
        }
        if self.has_transfer() {
            return match self.chunked {
                Chunked::Last => Framing::Chunked,
                Chunked::Absent if response.is_some() => Framing::UntilClose,
                Chunked::Absent | Chunked::Misplaced => Framing::Bad,
            };
        }
        match self.length {
            Length::Known(n) => Framing::Length(n),
            Length::Bad => Framing::Bad,
            Length::Absent if response.is_some() => Framing::UntilClose,
            Length::Absent => Framing::Length(0),
        }
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::head::parse;
    use super::*;
    use crate::part::Version;

    const V: Version = Version { major: 1, minor: 1 };
    const REQUEST: Kind<'_> = Kind::Request { method: "POST", target: b"/", version: V };

    fn response(status: u16) -> Kind<'static> {
        Kind::Response { status, reason: b"", version: V }
    }

    fn framing(kind: Kind<'_>, asked: Option<Asked>, fields: &str) -> Framing {
        let raw = format!("first line\r\n{fields}\r\n\r\n");
        parse(kind, raw.as_bytes(), 0).declared.framing(&kind, asked)
    }

    #[test]
    fn lengths() {
        let cases = [
            ("Content-Length: 5", Framing::Length(5)),
            ("content-LENGTH:\t 5 \t", Framing::Length(5)),
            ("Content-Length: 5, 5", Framing::Length(5)),
            ("Content-Length: 5\r\nContent-Length: 5", Framing::Length(5)),
            ("Content-Length: 5\r\nContent-Length: 6", Framing::Bad),
            ("Content-Length: 5\r\nContent-Length: 6\r\nContent-Length: 5", Framing::Bad),
            ("Content-Length: +5", Framing::Bad),
            ("Content-Length: 0x5", Framing::Bad),
            ("Content-Length:", Framing::Bad),
            ("Content-Length: 99999999999999999999", Framing::Bad),
            ("X-Content-Length: 5", Framing::Length(0)),
        ];
        for (fields, expected) in cases {
            assert_eq!(framing(REQUEST, None, fields), expected, "{fields}");
        }
        assert_eq!(framing(response(200), Some(Asked::Other), "X: y"), Framing::UntilClose);
    }

    #[test]
    fn transfer_encodings() {
        let cases = [
            ("Transfer-Encoding: chunked", Framing::Chunked, Framing::Chunked),
            ("Transfer-Encoding: CHUNKED\r\nContent-Length: 7", Framing::Chunked, Framing::Chunked),
            ("Transfer-Encoding: gzip,\r\n chunked", Framing::Chunked, Framing::Chunked),
            ("Transfer-Encoding: gzip", Framing::Bad, Framing::UntilClose),
            ("Transfer-Encoding: chunked, gzip", Framing::Bad, Framing::Bad),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Framing::Bad, Framing::Bad),
            ("Transfer-Encoding: identity\r\nContent-Length: 7", Framing::Length(7), Framing::Length(7)),
        ];
        for (fields, request, reply) in cases {
            assert_eq!(framing(REQUEST, None, fields), request, "{fields}");
            assert_eq!(framing(response(200), None, fields), reply, "{fields}");
        }
    }

    #[test]
    fn responses_without_a_body() {
        let cases = [
            (100, None, Framing::Length(0)),
            (204, Some(Asked::Other), Framing::Length(0)),
            (304, None, Framing::Length(0)),
            (200, Some(Asked::Head), Framing::Length(0)),
            (200, Some(Asked::Other), Framing::Length(9)),
            (101, Some(Asked::Other), Framing::Switch),
            (200, Some(Asked::Connect), Framing::Switch),
            (407, Some(Asked::Connect), Framing::Length(9)),
        ];
        for (status, asked, expected) in cases {
            assert_eq!(framing(response(status), asked, "Content-Length: 9"), expected, "{status}");
        }
    }
}
