//! Just enough of SQL to find strings: masks passwords, counts placeholders.

use std::ops::Range;

/// Where servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Backslash escapes, `"strings"`, `` `names` ``, `# comments`.
    MySql,
    /// `E'escapes'`, `"names"`, `$tag$strings$tag$`.
    Postgres,
}

/// What a piece of a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    String,
    /// A quoted name, a comment or blanks.
    Quiet,
    Placeholder,
    Other,
}

/// The pieces of a statement.
struct Tokens<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl Tokens<'_> {
    /// Where the text that begins here with a quotation mark ends; at the end if nothing closes it.
    fn quoted(&self, escapes: bool) -> usize {
        let quote = self.sql[self.at];
        let mut at = self.at + 1;
        while let Some(&byte) = self.sql.get(at) {
            at += 1;
            if byte == b'\\' && escapes {
                at += 1;
            } else if byte == quote {
                if self.sql.get(at) != Some(&quote) {
                    break;
                }
                at += 1;
            }
        }
        at.min(self.sql.len())
    }

    /// Just behind the next `end`.
    fn until(&self, end: &[u8]) -> usize {
        let found = memchr::memmem::find(&self.sql[self.at..], end);
        found.map_or(self.sql.len(), |found| self.at + found + end.len())
    }

    fn word(&self, from: usize) -> usize {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        from + self.sql[from..].iter().take_while(|byte| is_part(byte)).count()
    }

    fn next_piece(&self) -> (Token, usize) {
        let (rest, mysql) = (&self.sql[self.at..], self.dialect == Dialect::MySql);
        match rest {
            [b'-', b'-', ..] => (Token::Quiet, self.until(b"\n")),
            [b'#', ..] if mysql => (Token::Quiet, self.until(b"\n")),
            [b'/', b'*', b'!', ..] => (Token::Quiet, self.at + 3), // run by MySQL
            [b'/', b'*', ..] => (Token::Quiet, self.until(b"*/")),
            [b'\'', ..] => (Token::String, self.quoted(mysql)),
            [b'"', ..] if mysql => (Token::String, self.quoted(true)),
            [b'"' | b'`', ..] => (Token::Quiet, self.quoted(false)),
            [b'e' | b'E', b'\'', ..] if !mysql => {
                (Token::String, Tokens { at: self.at + 1, ..*self }.quoted(true))
            }
            [b'$', ..] if !mysql => self.dollar(),
            [b'?', ..] => (Token::Placeholder, self.at + 1),
            [first, ..] if first.is_ascii_whitespace() => (Token::Quiet, self.at + 1),
            [first, ..] if first.is_ascii_alphabetic() || *first == b'_' || *first >= 0x80 => {
                (Token::Word, self.word(self.at))
            }
            _ => (Token::Other, self.at + 1),
        }
    }

    /// `$1`, or a string between two equal `$tag$`.
    fn dollar(&self) -> (Token, usize) {
        let end = self.word(self.at + 1);
        if self.sql.get(end) != Some(&b'$') || self.sql[self.at + 1].is_ascii_digit() {
            return (Token::Other, end.max(self.at + 1));
        }
        let tag = &self.sql[self.at..=end];
        let body = Tokens { at: end + 1, ..*self };
        (Token::String, body.until(tag))
    }
}

impl Iterator for Tokens<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.sql.len() {
            return None;
        }
        let (token, end) = self.next_piece();
        let range = self.at..end;
        self.at = end;
        Some((token, range))
    }
}

/// How many values a prepared statement of MySQL takes.
pub fn placeholders(sql: &[u8]) -> usize {
    let tokens = Tokens { sql, at: 0, dialect: Dialect::MySql };
    tokens.filter(|(token, _)| *token == Token::Placeholder).count()
}

/// What stands in place of a password.
const MASK: &[u8] = b"'<secret>'";

/// The statement without the passwords that it sets: strings behind `PASSWORD` or `IDENTIFIED BY` and their kin, and
/// values of `password=` in strings.
pub fn mask(sql: Vec<u8>, dialect: Dialect) -> Vec<u8> {
    if !has_any(&sql, &[b"password", b"identified"]) {
        return sql;
    }
    let mut masked = Vec::with_capacity(sql.len());
    let (mut identified, mut secret, mut sets_password) = (false, false, false);
    for (token, range) in (Tokens { sql: &sql, at: 0, dialect }) {
        let text = &sql[range];
        match token {
            Token::Word => {
                let word = text.to_ascii_uppercase();
                let is_password = word.ends_with(b"PASSWORD");
                sets_password |= is_password && !identified;
                identified |= word == b"IDENTIFIED";
                secret = is_password
                    || identified && [&b"BY"[..], b"AS", b"USING", b"REPLACE"].contains(&&*word)
                    || secret && word == b"E";
            }
            Token::String if secret => {
                masked.extend_from_slice(MASK);
                secret = false;
                continue;
            }
            Token::String => {
                mask_within(text, &mut masked);
                continue;
            }
            Token::Other if text == b"=" => secret |= sets_password,
            Token::Other if text == b";" => (identified, secret, sets_password) = (false, false, false),
            Token::Other if text != b"(" && text != b":" => secret = false,
            _ => {}
        }
        masked.extend_from_slice(text);
    }
    masked
}

/// Connection strings: `'host=a password=b'`.
fn mask_within(string: &[u8], masked: &mut Vec<u8>) {
    const KEY: &[u8] = b"password=";
    let lower = string.to_ascii_lowercase();
    let Some(at) = memchr::memmem::find(&lower, KEY).map(|at| at + KEY.len()) else {
        masked.extend_from_slice(string);
        return;
    };
    let end =
        string[at..].iter().position(|byte| b" \t\n&'\"".contains(byte)).map_or(string.len(), |end| at + end);
    masked.extend_from_slice(&string[..at]);
    masked.extend_from_slice(b"<secret>");
    mask_within(&string[end..], masked);
}

fn has_any(text: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(sql: &str, dialect: Dialect) -> String {
        String::from_utf8(mask(sql.into(), dialect)).expect("UTF-8")
    }

    #[test]
    fn passwords_are_masked() {
        for (sql, expected) in [
            (
                "CREATE USER a IDENTIFIED BY 'x\\'y' REQUIRE SSL",
                "CREATE USER a IDENTIFIED BY '<secret>' REQUIRE SSL",
            ),
            ("alter user a@b identified with p by \"x\"", "alter user a@b identified with p by '<secret>'"),
            (
                "SET PASSWORD FOR 'bob'@'h' = PASSWORD('x')",
                "SET PASSWORD FOR 'bob'@'h' = PASSWORD('<secret>')",
            ),
            ("set password = 'x'; select 'a'", "set password = '<secret>'; select 'a'"),
            (
                "CHANGE MASTER TO MASTER_PASSWORD='x', MASTER_HOST='h'",
                "CHANGE MASTER TO MASTER_PASSWORD='<secret>', MASTER_HOST='<secret>'",
            ),
            (
                "CREATE USER a IDENTIFIED VIA ed25519 USING PASSWORD('x')",
                "CREATE USER a IDENTIFIED VIA ed25519 USING PASSWORD('<secret>')",
            ),
        ] {
            assert_eq!(masked(sql, Dialect::MySql), expected);
        }
        for (sql, expected) in [
            (
                "ALTER ROLE a ENCRYPTED PASSWORD 'x''y' VALID UNTIL 'z'",
                "ALTER ROLE a ENCRYPTED PASSWORD '<secret>' VALID UNTIL 'z'",
            ),
            ("ALTER ROLE a PASSWORD $q$x$q$", "ALTER ROLE a PASSWORD '<secret>'"),
            ("ALTER ROLE a PASSWORD E'x\\'y'", "ALTER ROLE a PASSWORD '<secret>'"),
            ("SELECT dblink('host=h password=x user=u')", "SELECT dblink('host=h password=<secret> user=u')"),
        ] {
            assert_eq!(masked(sql, Dialect::Postgres), expected);
        }
    }

    #[test]
    fn other_statements_stay() {
        for sql in ["SELECT password FROM t WHERE name > 'x'", "-- password\nselect 'x'", "select 'password'"]
        {
            assert_eq!(masked(sql, Dialect::Postgres), sql);
        }
    }

    #[test]
    fn placeholders_are_those_outside_of_strings() {
        assert_eq!(placeholders(b"select ?, '?', \"?\", `?`, '\\'?' /* ? */ -- ?\n, ? # ?"), 2);
        assert_eq!(placeholders(b""), 0);
    }
}
