//! Passwords in statements.

const HIDDEN: &[u8] = b"'(hidden)'";
/// Words before a quoted password.
const WORDS: [&[u8]; 4] = [b"identified by", b"password", b"using", b"old_password"];

/// A statement without the strings that follow such a word, `=`, `(` or spaces between them.
pub(super) fn without_passwords(statement: &[u8]) -> Vec<u8> {
    let lower = statement.to_ascii_lowercase();
    if !WORDS[..2].iter().any(|word| memchr::memmem::find(&lower, word).is_some()) {
        return statement.to_vec();
    }
    let (mut shown, mut at) = (Vec::new(), 0);
    while let Some(quote) = memchr::memchr2(b'\'', b'"', &statement[at..]).map(|n| at + n) {
        let end = string_end(statement, quote);
        shown.extend_from_slice(&statement[at..quote]);
        let before = lower[..quote].trim_ascii_end();
        let before = before.strip_suffix(b"(").unwrap_or(before).trim_ascii_end();
        let before = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
        let is_secret = WORDS.iter().any(|word| before.ends_with(word));
        shown.extend_from_slice(if is_secret { HIDDEN } else { &statement[quote..end] });
        at = end;
    }
    shown.extend_from_slice(&statement[at..]);
    shown
}

/// Where the string that begins at `quote` ends; doubled and escaped quotes are part of it.
fn string_end(statement: &[u8], quote: usize) -> usize {
    let mark = statement[quote];
    let mut at = quote + 1;
    while let Some(&b) = statement.get(at) {
        match b {
            b'\\' => at += 2,
            _ if b == mark && statement.get(at + 1) == Some(&mark) => at += 2,
            _ if b == mark => return at + 1,
            _ => at += 1,
        }
    }
    statement.len()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_passwords_are_hidden() {
        let cases = [
            ("select 'password'", "select 'password'"),
            ("create user x identified by 'it''s\\' so'", "create user x identified by '(hidden)'"),
            (
                "ALTER ROLE r PASSWORD 'p' VALID UNTIL 'now'",
                "ALTER ROLE r PASSWORD '(hidden)' VALID UNTIL 'now'",
            ),
            ("set password = PASSWORD('p')", "set password = PASSWORD('(hidden)')"),
            ("set password='unfinished", "set password='(hidden)'"),
        ];
        for (statement, shown) in cases {
            let hidden = super::without_passwords(statement.as_bytes());
            assert_eq!(String::from_utf8_lossy(&hidden), shown);
        }
    }
}
