//! Which messages are shown. Conditions of different kinds must all hold; of one kind, any.

use std::str::FromStr;

use decode::{Exchange, Head, Kind};
use regex::bytes::{Regex, RegexBuilder};

use crate::record::{Connection, Endpoint};

/// Conditions; those that are empty always hold.
#[derive(Debug, Default)]
pub struct Selection {
    /// Hosts of HTTP requests: name patterns.
    pub hosts: Vec<Regex>,
    /// Paths of HTTP requests, without the query: patterns.
    pub paths: Vec<Regex>,
    /// Methods of HTTP requests.
    pub methods: Vec<String>,
    /// Statuses of HTTP responses.
    pub statuses: Vec<Statuses>,
    /// Ports of either end.
    pub ports: Vec<u16>,
    /// What head or body contain.
    pub grep: Vec<Regex>,
    /// Parts of HTTP exchanges.
    pub only: Vec<Only>,
}

/// Parts of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// Requests.
    Request,
    /// Responses.
    Response,
    /// Heads of either, without bodies.
    Headers,
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses(u16, u16);

/// What selection has to know of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// All conditions but those on contents hold.
    pub fits: bool,
    /// It, or the request that it answers, contains what was asked for; true when nothing was.
    pub matches: bool,
}

impl FromStr for Statuses {
    type Err = String;

    /// `404`, `4xx` or `500-599`.
    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| text.parse().ok().filter(|status| (100..=999).contains(status));
        let range = match (text.split_once('-'), text.strip_suffix("xx")) {
            (Some((first, last)), _) => status(first).zip(status(last)).filter(|(first, last)| first <= last),
            (None, Some(class)) => status(&format!("{class}00")).map(|first| (first, first + 99)),
            (None, None) => status(text).map(|status| (status, status)),
        };
        range
            .map(|(first, last)| Self(first, last))
            .ok_or_else(|| "expected a status such as 404, 4xx or 500-599".to_owned())
    }
}

/// A pattern for a whole host or path: `*` stands for any characters; case counts unless `any_case`.
///
/// # Errors
/// It is too long to be compiled.
pub fn glob(pattern: &str, any_case: bool) -> Result<Regex, regex::Error> {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    RegexBuilder::new(&format!("^{}$", parts.join(".*")))
        .case_insensitive(any_case)
        .dot_matches_new_line(true)
        .unicode(false)
        .build()
}

impl Selection {
    /// Whether anything is left out.
    pub fn is_active(&self) -> bool {
        self.is_of_http() || !self.ports.is_empty() || !self.grep.is_empty()
    }

    /// Whether bodies are left out.
    pub fn drops_bodies(&self) -> bool {
        self.only.contains(&Only::Headers)
    }

    /// Whether only messages of HTTP can be selected.
    fn is_of_http(&self) -> bool {
        !(self.takes_any_request() && self.statuses.is_empty() && self.only.is_empty())
    }

    /// Judges a message by its head. `asked` is what was found of the request that a response belongs to.
    pub fn of_head(&self, head: &Head<'_>, connection: &Connection, asked: Option<Facts>) -> Facts {
        let fits = match head.kind {
            Kind::Request { method, target, .. } => {
                self.admits(Only::Request)
                    && self.statuses.is_empty()
                    && self.is_request(method, target, head)
            }
            Kind::Response { status, .. } => {
                self.admits(Only::Response)
                    && any(&self.statuses, |range| (range.0..=range.1).contains(&status))
                    && asked.map_or_else(|| self.takes_any_request(), |asked| asked.fits)
            }
            Kind::Other(_) => !self.is_of_http(),
        };
        let matches = self.grep.is_empty() || asked.is_some_and(|asked| asked.matches);
        Facts { fits: fits && self.is_port(connection), matches }
    }

    /// What a response will ask of its request: conditions that are the request's, whether it is shown or not.
    pub fn of_request(&self, head: &Head<'_>) -> bool {
        match head.kind {
            Kind::Request { method, target, .. } => self.is_request(method, target, head),
            _ => false,
        }
    }

    /// Judges what has no head: commands and replies of databases, bytes of no known protocol, gaps.
    pub fn of_rest(
        &self,
        connection: &Connection,
        exchange: Option<Exchange>,
        asked: Option<Facts>,
    ) -> Facts {
        let is_reply = matches!(exchange, Some(Exchange::Answers(_) | Exchange::Interim(_)));
        let matches = self.grep.is_empty() || is_reply && asked.is_some_and(|asked| asked.matches);
        Facts { fits: !self.is_of_http() && self.is_port(connection), matches }
    }

    /// Whether bytes contain what was asked for.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        any(&self.grep, |pattern| pattern.is_match(bytes))
    }

    /// `headers` alone admits both.
    fn admits(&self, part: Only) -> bool {
        let has = |part| self.only.contains(&part);
        has(part) || !(has(Only::Request) || has(Only::Response))
    }

    fn takes_any_request(&self) -> bool {
        self.hosts.is_empty() && self.paths.is_empty() && self.methods.is_empty()
    }

    fn is_request(&self, method: &str, target: &[u8], head: &Head<'_>) -> bool {
        let (in_target, path) = split_target(target);
        let host = in_target.or_else(|| host_field(head)).unwrap_or_default();
        any(&self.methods, |wanted| wanted.eq_ignore_ascii_case(method))
            && any(&self.paths, |wanted| wanted.is_match(path))
            && any(&self.hosts, |wanted| wanted.is_match(without_port(host)))
    }

    fn is_port(&self, connection: &Connection) -> bool {
        any(&self.ports, |port| {
            [&connection.local, &connection.remote]
                .iter()
                .any(|end| matches!(end, Endpoint::Inet(address) if address.port() == *port))
        })
    }
}

fn any<T>(conditions: &[T], holds: impl Fn(&T) -> bool) -> bool {
    conditions.is_empty() || conditions.iter().any(holds)
}

/// Authority, if it is there, and path without the query of a request target (RFC 9112, 3.2).
fn split_target(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let (authority, path) = match target.windows(3).position(|window| window == b"://") {
        Some(at) if !target.starts_with(b"/") => {
            let rest = &target[at + 3..];
            let path = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            (Some(&rest[..path]), &rest[path..])
        }
        _ if !target.starts_with(b"/") && target != b"*" => (Some(target), &b""[..]), // CONNECT
        _ => (None, target),
    };
    (authority, path.split(|byte| *byte == b'?').next().unwrap_or_default())
}

/// `Host`, or `:authority` of HTTP/2, which comes before it.
fn host_field<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    let mut fields = head.fields();
    fields
        .find(|(name, _)| name.eq_ignore_ascii_case(b"host") || *name == b":authority")
        .map(|(_, value)| value)
}

/// A host without `:PORT`; colons inside of brackets stay.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of each message of a connection on which `sent` and then `received` went.
    fn judge(selection: &Selection, sent: &str, received: &str) -> Vec<bool> {
        let mut connection = decode::Connection::new(decode::Limits::default());
        let (at, mut asked, mut found) = (Connection::default(), None, Vec::new());
        for (direction, bytes) in [(decode::Direction::Sent, sent), (decode::Direction::Received, received)] {
            connection.push(direction, bytes.as_bytes(), &mut |_, part| {
                let decode::Part::Start(head) = part else { return };
                found.push(selection.of_head(&head, &at, asked).fits);
                asked.get_or_insert(Facts { fits: selection.of_request(&head), matches: false });
            });
        }
        found
    }

    const GET: &str = "GET /a/b?c=d HTTP/1.1\r\nHost: Www.example.org:8443\r\n\r\n";
    const POST: &str = "POST http://api.example.org/x HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    fn globs(patterns: &[&str]) -> Vec<Regex> {
        patterns.iter().map(|pattern| glob(pattern, true).expect("a pattern")).collect()
    }

    #[test]
    fn conditions_of_a_request_select_its_response() {
        for (hosts, paths, methods, fits) in [
            (vec![], vec![], vec![], [true, true]),
            (vec!["www.example.org"], vec![], vec![], [true, false]),
            (vec!["*.example.org"], vec![], vec![], [true, true]),
            (vec!["example.org", "other"], vec![], vec![], [false, false]),
            (vec!["*.example.org"], vec!["/x"], vec![], [false, true]),
            (vec![], vec!["/a/*", "/x"], vec![], [true, true]),
            (vec![], vec!["/a"], vec![], [false, false]),
            (vec![], vec![], vec!["get".to_owned()], [true, false]),
        ] {
            let selection =
                Selection { hosts: globs(&hosts), paths: globs(&paths), methods, ..Selection::default() };
            for (request, fits) in [GET, POST].into_iter().zip(fits) {
                assert_eq!(judge(&selection, request, ANSWER), [fits, fits], "{hosts:?} {paths:?}");
            }
        }
    }

    #[test]
    fn statuses_select_responses_only() {
        for (text, fits) in [("404", true), ("4xx", true), ("400-410", true), ("200", false), ("5xx", false)]
        {
            let statuses = vec![text.parse().expect("a status")];
            let selection = Selection { statuses, ..Selection::default() };
            assert_eq!(judge(&selection, GET, ANSWER), [false, fits], "{text}");
        }
        for wrong in ["", "40", "x", "500-400", "4x", "1000"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_of_conditions_hold_together() {
        let selection = |host, status: &str| Selection {
            hosts: globs(&[host]),
            statuses: vec![status.parse().expect("a status")],
            ..Selection::default()
        };
        assert_eq!(judge(&selection("www.*", "404"), GET, ANSWER), [false, true]);
        assert_eq!(judge(&selection("www.*", "200"), GET, ANSWER), [false, false]);
        assert_eq!(judge(&selection("api.*", "404"), GET, ANSWER), [false, false]);
    }

    #[test]
    fn parts_of_exchanges() {
        for (only, fits) in [
            (vec![Only::Request], [true, false]),
            (vec![Only::Response], [false, true]),
            (vec![Only::Headers], [true, true]),
            (vec![Only::Response, Only::Headers], [false, true]),
        ] {
            let selection = Selection { only, ..Selection::default() };
            assert_eq!(judge(&selection, GET, ANSWER), fits);
        }
    }

    #[test]
    fn hosts_are_compared_without_ports() {
        for (host, expected) in
            [("a:1", "a"), ("a", "a"), ("[::1]:443", "[::1]"), ("[::1]", "[::1]"), ("", "")]
        {
            assert_eq!(without_port(host.as_bytes()), expected.as_bytes());
        }
    }
}
