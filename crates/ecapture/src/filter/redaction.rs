//! Hides secrets. What was hidden is marked.
//!
//! A secret may come in pieces, so the end of what is held waits until more comes, or until nothing will.

use std::borrow::Cow;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Stands in place of a secret.
pub const MARK: &[u8] = b"[redacted]";

/// Bytes at the end of a piece in which a secret may have begun. Longer ones in the middle of a long body or of
/// bytes of no known protocol may show in part.
const HELD: usize = 4 << 10;

/// Longest piece that is held as a whole because one secret goes all the way through it.
const HELD_MOST: usize = 64 << 10;

/// What `--redact` hides: of each match the first group that took part, else all of it.
const KNOWN: [&str; 5] = [
    // Header fields, with lines folded into them (RFC 9112, 5.2). Names may have anything before them: `X-Authorization`.
    r"(?im)^(?:[\w-]*authorization|cookie|set-cookie2?|[\w-]*api-?key|[\w-]*token|[\w-]*secret|[\w-]*password)[ \t]*:[ \t]*([^\r\n]+(?:\r?\n[ \t]+[^\r\n]*)*)",
    // Members of JSON.
    r#"(?i)"[\w-]*(?:token|secret|password|passwd|api_?key)"\s*:\s*"((?:[^"\\]|\\.)+)"#,
    // Forms and queries.
    r#"(?i)\b[\w-]*(?:token|secret|password|passwd|api_?key)=([^\s&"';,]+)"#,
    // Credentials by their scheme, outside of header fields.
    r"(?i)\b(?:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{8,})",
    // JSON Web Tokens (RFC 7519); keys of AWS, GitHub, Slack, and those that begin with sk-.
    r"\b(?:eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|xox[abeoprs]-[\w-]{10,}|sk[-_][\w-]{20,})",
];

/// Rules that say what a secret is.
#[derive(Debug)]
pub struct Redaction {
    rules: Vec<Regex>,
}

impl Redaction {
    /// The known rules if wanted, and those of a text: a regular expression in each line. Empty lines and those that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn new(with_known: bool, own: &str) -> Result<Self, String> {
        let known = if with_known { &KNOWN[..] } else { &[] };
        let mut rules = Vec::new();
        for pattern in known {
            rules.push(compile(pattern)?);
        }
        for (number, line) in (1..).zip(own.lines()) {
            if !line.trim().is_empty() && !line.starts_with('#') {
                rules.push(compile(line).map_err(|error| format!("line {number}: {error}"))?);
            }
        }
        Ok(Self { rules })
    }

    /// The bytes with every secret replaced.
    pub fn apply<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.rules.iter().fold(Cow::Borrowed(bytes), |bytes, rule| match rule.is_match(&bytes) {
            false => bytes,
            true => rule.replace_all(&bytes, replacement).into_owned().into(),
        })
    }

    /// How many bytes at the front can be shown while more may come.
    pub fn safe_length(&self, bytes: &[u8]) -> usize {
        let floor = bytes.len().saturating_sub(HELD);
        let line = bytes[floor..].iter().rposition(|byte| *byte == b'\n').map_or(floor, |at| floor + at + 1);
        let mut safe = line;
        loop {
            let is_open = |end: usize| bytes[end..].iter().all(|byte| b"\r\n".contains(byte)); // it may go on
            let mut found = self.rules.iter().flat_map(|rule| rule.find_iter(bytes));
            let earlier =
                found.find(|found| found.start() < safe && (found.end() > safe || is_open(found.end())));
            match earlier {
                Some(found) => safe = found.start(),
                None => break,
            }
        }
        if safe == 0 && bytes.len() >= HELD_MOST { bytes.len() } else { safe }
    }
}

/// Bytes, not characters: a byte that is not UTF-8 must not end a secret.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).unicode(false).build().map_err(|error| error.to_string())
}

fn replacement(found: &Captures<'_>) -> Vec<u8> {
    let Some(whole) = found.get(0) else { return MARK.to_vec() };
    let secret = found.iter().skip(1).flatten().next().unwrap_or(whole);
    let (start, end) = (secret.start() - whole.start(), secret.end() - whole.start());
    [&whole.as_bytes()[..start], MARK, &whole.as_bytes()[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Redaction {
        Redaction::new(true, "").expect("rules")
    }

    fn redacted(redaction: &Redaction, text: &[u8]) -> String {
        String::from_utf8_lossy(&redaction.apply(text)).into_owned()
    }

    /// Text, and what is left of it.
    const CASES: [(&str, &str); 15] = [
        (
            "GET / HTTP/1.1\r\nAuthorization: Basic S3cr3tS3cr3t\r\nA: b\r\n",
            "GET / HTTP/1.1\r\nAuthorization: [redacted]\r\nA: b\r\n",
        ),
        ("cookie: a=S3cr3t\r\n\tb=S3cr3t\r\nx: y", "cookie: [redacted]\r\nx: y"),
        (
            "Set-Cookie: a=S3cr3t; Path=/\r\nSet-Cookie: b=S3cr3t\r\n",
            "Set-Cookie: [redacted]\r\nSet-Cookie: [redacted]\r\n",
        ),
        ("proxy-authorization:S3cr3t\n", "proxy-authorization:[redacted]\n"),
        ("X-Api-Key: S3cr3t\n", "X-Api-Key: [redacted]\n"),
        ("Cookie : S3cr3t\n", "Cookie : [redacted]\n"),
        ("{\"access_token\": \"S3cr\\\"3t\", \"n\": 1}", "{\"access_token\": \"[redacted]\", \"n\": 1}"),
        ("user=a&password=S3cr3t&b=c", "user=a&password=[redacted]&b=c"),
        ("GET /?api_key=S3cr3t HTTP/1.1", "GET /?api_key=[redacted] HTTP/1.1"),
        ("curl -H 'bearer S3cr3tS3cr3t'", "curl -H 'bearer [redacted]'"),
        ("x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.S3cr3t y", "x [redacted] y"),
        ("AKIAABCDEFGHIJKLMNOP", "[redacted]"),
        ("ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "[redacted]"),
        ("a cookie: no field", "a cookie: no field"),
        (
            "Content-Type: text/html\r\n\"token_type\": \"x\"",
            "Content-Type: text/html\r\n\"token_type\": \"x\"",
        ),
    ];

    #[test]
    fn known_secrets_are_hidden_and_nothing_else() {
        for (text, expected) in CASES {
            assert_eq!(redacted(&known(), text.as_bytes()), expected);
        }
        assert_eq!(redacted(&known(), b"cookie: a\xff\xfeb\r\nc"), "cookie: [redacted]\r\nc");
    }

    /// However a text is cut into pieces, what is shown of them together is the same.
    #[test]
    fn splits_leak_nothing() {
        let redaction = known();
        for (text, expected) in CASES {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let (mut held, mut shown) = (Vec::new(), Vec::new());
                    for piece in [&text[..first], &text[first..second], &text[second..]] {
                        held.extend_from_slice(piece.as_bytes());
                        let safe = redaction.safe_length(&held);
                        shown.extend_from_slice(&redaction.apply(&held[..safe]));
                        held.drain(..safe);
                    }
                    shown.extend_from_slice(&redaction.apply(&held));
                    assert_eq!(String::from_utf8_lossy(&shown), expected, "cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let redaction = known();
        for filling in [&b"x"[..], b"cookie: ", b"x\n"] {
            let long = filling.repeat(HELD_MOST);
            assert!(long.len() - redaction.safe_length(&long) <= HELD, "{filling:?}");
        }
    }

    #[test]
    fn rules_of_the_user() {
        let rules = Redaction::new(false, "# people\n\nuser=(\\w+)\n\\d{4}-\\d{4}\n").expect("rules");
        assert_eq!(redacted(&rules, b"user=ann 1234-5678 cookie"), "user=[redacted] [redacted] cookie");
        let error = Redaction::new(false, "a\n(").expect_err("an open group");
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
