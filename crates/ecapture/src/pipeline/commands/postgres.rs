//! What clients ask of PostgreSQL: simple queries, and the prepared statements of the extended protocol.

use rustc_hash::FxHashMap;

use super::Reader;
use super::call::Call;
use super::out::{Command, Out};
use super::sql::{self, Dialect};
use crate::probes::Point;
use crate::record::{Failure, Outcome, Parameter, Session};
use crate::targets;

/// Most portals of a session whose values are remembered.
const MOST_PORTALS: usize = 1 << 10;

/// Every backend, by its process.
#[derive(Default)]
pub struct Postgres {
    backends: FxHashMap<u32, Backend>,
}

#[derive(Default)]
struct Backend {
    session: Session,
    /// Its title was read, in which the client is.
    titled: bool,
    /// The statement that is prepared or runs.
    open: Option<Open>,
    /// Values by portal.
    portals: FxHashMap<Vec<u8>, Vec<Parameter>>,
    /// The portal that was bound last, or is executed.
    portal: Vec<u8>,
}

struct Open {
    command: Command,
    /// Type of the last message about it.
    message: u8,
}

impl Reader for Postgres {
    fn take(&mut self, mut call: Call, out: &mut Out) {
        let backend = self.backends.entry(call.pid).or_default();
        match call.point {
            Point::PgSession => {
                (backend.session.database, backend.session.user) = (call.name(0), call.name(1));
                backend.read_title(call.pid);
            }
            Point::PgBind => backend.message(call.values[0] as u8, &call.text(2)),
            Point::PgActivity => backend.activity(call, out),
            Point::PgRows => backend.complete(call.time, Some(call.values[0]), out),
            Point::PgTag => {
                let rows = rows_of_tag(&call.text(0));
                backend.complete(call.time, rows, out);
            }
            Point::PgError => {
                let failure = failure(&call.text(2));
                backend.tell(Some(call.time), Outcome::Error(&failure), out);
            }
            Point::PgReady => backend.ready(call.time, out),
            _ => {}
        }
    }

    fn over(&mut self, pid: u32, out: &mut Out) {
        if let Some(mut backend) = self.backends.remove(&pid) {
            backend.tell(None, Outcome::Ended, out);
        }
    }

    fn finish(&mut self, out: &mut Out) {
        for (_, mut backend) in self.backends.drain() {
            backend.tell(None, Outcome::Unknown, out);
        }
    }
}

impl Backend {
    /// A Bind or Execute message came in.
    fn message(&mut self, kind: u8, body: &[u8]) {
        let Some((portal, values)) = split_at_nul(body) else { return };
        if kind == b'B' {
            if self.portals.len() >= MOST_PORTALS {
                self.portals.clear();
            }
            self.portals.insert(portal.to_vec(), parameters(values).unwrap_or_default());
        }
        self.portal = portal.to_vec();
    }

    /// A statement is parsed, bound or run.
    fn activity(&mut self, mut call: Call, out: &mut Out) {
        self.session.application = call.name(2);
        if !self.titled {
            self.read_title(call.pid);
            self.titled = true;
        }
        let message = call.values[0] as u8;
        let kind = match message {
            b'Q' => "postgres query",
            b'P' => "postgres parse",
            b'B' => "postgres bind",
            _ => "postgres execute",
        };
        // Rows were left in the portal before.
        if self.open.as_ref().is_some_and(|open| open.message == b'E') {
            self.tell(Some(call.time), Outcome::Done, out);
        }
        let text = call.text(1);
        let began = self.open.as_ref().map_or(call.time, |open| open.command.began);
        let mut command = Command { began, ..out.begin(&call, kind, text) };
        if matches!(message, b'B' | b'E') {
            command.parameters = self.portals.get(&self.portal).cloned().unwrap_or_default();
        }
        self.open = Some(Open { command, message });
    }

    /// A statement is complete; a simple query may have more of them.
    fn complete(&mut self, time: u64, rows: Option<u64>, out: &mut Out) {
        let Some(open) = &mut self.open else { return };
        if let Some(rows) = rows {
            open.command.rows = Some(open.command.rows.unwrap_or(0).saturating_add(rows));
        }
        if open.message == b'E' {
            self.tell(Some(time), Outcome::Done, out);
        }
    }

    /// The backend waits for the client. What was only prepared has not run.
    fn ready(&mut self, time: u64, out: &mut Out) {
        match &self.open {
            Some(Open { message: b'Q' | b'E', .. }) => self.tell(Some(time), Outcome::Done, out),
            _ => self.open = None,
        }
    }

    fn tell(&mut self, ended: Option<u64>, outcome: Outcome<'_>, out: &mut Out) {
        let Some(Open { command, .. }) = self.open.take() else { return };
        let rows = command.rows.filter(|rows| *rows != 0 || may_count_rows(&command.text));
        let command = Command { text: sql::mask(command.text, Dialect::Postgres), rows, ..command };
        out.whole(&command, ended, outcome, Some(&self.session));
    }

    /// `postgres: [cluster: ]user database host(port) activity`: only a title of exactly that form.
    fn read_title(&mut self, pid: u32) {
        let title = targets::command_line(pid);
        let Some(title) = title.strip_prefix("postgres: ") else { return };
        let words: Vec<&str> = title.split(' ').collect();
        let words = if words[0].ends_with(':') { &words[1..] } else { &words[..] };
        let [user, database, client, _, ..] = words else { return };
        let is_client = *client == "[local]" || client.ends_with(')') && client.contains('(');
        let agrees = |known: &Option<String>, word: &str| known.as_ref().is_none_or(|known| known == word);
        if is_client && agrees(&self.session.user, user) && agrees(&self.session.database, database) {
            self.session.user = Some((*user).to_owned());
            self.session.database = Some((*database).to_owned());
            self.session.client = Some((*client).to_owned());
        }
    }
}

/// Whether its completion counts rows: of other commands a count of 0 means nothing.
fn may_count_rows(sql: &[u8]) -> bool {
    const COUNTED: [&str; 11] =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "FETCH", "MOVE", "COPY", "VALUES", "TABLE", "WITH"];
    let sql = sql.trim_ascii_start();
    let verb = sql.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    COUNTED.iter().any(|counted| sql[..verb].eq_ignore_ascii_case(counted.as_bytes()))
}

/// The last word of `INSERT 0 3`.
fn rows_of_tag(tag: &[u8]) -> Option<u64> {
    std::str::from_utf8(tag).ok()?.rsplit_once(' ')?.1.parse().ok()
}

/// An ErrorResponse: fields of a letter and a C string.
fn failure(mut body: &[u8]) -> Failure {
    let mut failure = Failure::default();
    while let Some((&field, rest)) = body.split_first()
        && let Some((text, rest)) = split_at_nul(rest)
    {
        match field {
            b'C' => failure.state = String::from_utf8_lossy(text).into_owned(),
            b'M' => failure.message = text.to_vec(),
            _ => {}
        }
        body = rest;
    }
    failure
}

fn split_at_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The values of a Bind message, behind the name of the portal. `None`: it does not add up.
fn parameters(body: &[u8]) -> Option<Vec<Parameter>> {
    let (_statement, mut rest) = split_at_nul(body)?;
    let formats = (0..short(&mut rest)?).map(|_| short(&mut rest)).collect::<Option<Vec<_>>>()?;
    let mut values = Vec::new();
    for index in 0..short(&mut rest)? {
        let length = i32::from_be_bytes(*take(&mut rest, 4)?.first_chunk()?);
        let format = formats.get(if formats.len() == 1 { 0 } else { index }).copied().unwrap_or(0);
        values.push(match usize::try_from(length) {
            Err(_) => Parameter::Null,
            Ok(length) if format == 0 => Parameter::Text(take(&mut rest, length)?.to_vec()),
            Ok(length) => Parameter::Binary(take(&mut rest, length)?.to_vec()),
        });
    }
    Some(values)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn short(rest: &mut &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*take(rest, 2)?.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_bind_message() {
        let body = b"stmt\0\0\x02\0\0\0\x01\0\x03\0\0\0\x02hi\0\0\0\x01\xff\xff\xff\xff\xff\0\0";
        let expected = vec![Parameter::Text(b"hi".to_vec()), Parameter::Binary(vec![0xff]), Parameter::Null];
        assert_eq!(parameters(body), Some(expected));
        assert_eq!(parameters(b"\0\0\0\0\x01\0\0\0\x02x"), None);
    }

    #[test]
    fn errors_and_tags() {
        let expected = Failure { number: None, state: "42601".into(), message: b"syntax error".to_vec() };
        assert_eq!(failure(b"SERROR\0C42601\0Msyntax error\0\0"), expected);
        assert_eq!(rows_of_tag(b"INSERT 0 3"), Some(3));
        assert_eq!(rows_of_tag(b"CREATE TABLE"), None);
    }
}
