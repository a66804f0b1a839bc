//! What clients ask of MySQL and MariaDB. Everything is kept by thread: a command begins and ends on one.

use rustc_hash::FxHashMap;

use super::Reader;
use super::call::Call;
use super::mysql_parameters::{self, Types};
use super::out::{Command, Out};
use super::sql::{self, Dialect};
use crate::probes::Point;
use crate::record::{Failure, Outcome, Session};

/// Most sessions, and prepared statements, that are remembered.
const MOST: usize = 1 << 16;

/// Every server.
#[derive(Default)]
pub struct MySql {
    /// By thread.
    running: FxHashMap<u32, Running>,
    /// By process and address of the session.
    sessions: FxHashMap<(u32, u64), Session>,
    /// Types of values, by process, session and number of the statement.
    types: FxHashMap<(u32, u64, u32), Types>,
}

/// A command that a thread handles.
struct Running {
    /// `enum enum_server_command`.
    number: u64,
    session: u64,
    command: Command,
    /// The packet of an execution.
    packet: Vec<u8>,
    /// Statements that were begun.
    statements: u32,
    failure: Option<Failure>,
}

const INIT_DB: u64 = 2;
const QUERY: u64 = 3;
const PREPARE: u64 = 22;
const EXECUTE: u64 = 23;

impl Reader for MySql {
    fn take(&mut self, call: Call, out: &mut Out) {
        match call.point {
            Point::MySqlCommand => self.begin(call, out),
            Point::MySqlStatement => self.statement(call, out),
            Point::MySqlDone => self.done(&call, out),
            Point::MySqlConnect => self.connect(call),
            _ => {
                if let Some(running) = self.running.get_mut(&call.tid) {
                    running.result(call);
                }
            }
        }
    }

    fn over(&mut self, pid: u32, out: &mut Out) {
        let over = self.running.extract_if(|_, running| running.command.pid == pid);
        for (_, running) in over {
            tell(&running, None, Outcome::Ended, self.sessions.get(&(pid, running.session)), out);
        }
        self.sessions.retain(|(of, _), _| *of != pid);
        self.types.retain(|(of, ..), _| *of != pid);
    }

    fn finish(&mut self, out: &mut Out) {
        for (_, running) in self.running.drain() {
            let session = self.sessions.get(&(running.command.pid, running.session));
            tell(&running, None, Outcome::Unknown, session, out);
        }
    }
}

impl MySql {
    fn begin(&mut self, mut call: Call, out: &mut Out) {
        let (number, session) = (call.values[0], call.values[3]);
        let mut text = call.text(2);
        let mut packet = Vec::new();
        let kind = match number {
            QUERY => "mysql query",
            EXECUTE => {
                packet = std::mem::take(&mut text);
                "mysql execute"
            }
            PREPARE => "mysql prepare",
            _ => "mysql use",
        };
        let command = out.begin(&call, kind, text);
        let running = Running { number, session, command, packet, statements: 0, failure: None };
        self.running.insert(call.tid, running);
    }

    /// A statement begins: of a command with several, the one before is over.
    fn statement(&mut self, mut call: Call, out: &mut Out) {
        // Another command: what PREPARE and EXECUTE of SQL do inside of a query.
        let number = call.values[0];
        let running = self.running.get_mut(&call.tid).filter(|running| running.number == number);
        let Some(running) = running else { return };
        let text = call.text(2);
        running.statements += 1;
        match running.number {
            EXECUTE => {
                let statement = mysql_parameters::statement(&running.packet).unwrap_or_default();
                let key = (running.command.pid, running.session, statement);
                if self.types.len() >= MOST {
                    self.types.clear();
                }
                let count = sql::placeholders(&text);
                if count != 0 {
                    let types = self.types.entry(key).or_default();
                    match mysql_parameters::values(&running.packet, count, types) {
                        Some(values) => running.command.parameters = values,
                        None => running.command.note = "its values could not be read",
                    }
                }
                running.command.text = text;
            }
            QUERY if running.statements > 1 => {
                let session = self.sessions.get(&(running.command.pid, running.session));
                let own = end_of_first(&running.command.text, &text);
                running.command.text.truncate(own);
                tell(running, Some(call.time), running.outcome(), session, out);
                running.command = out.begin(&call, running.command.kind, text);
                running.failure = None;
            }
            _ => {}
        }
    }

    fn done(&mut self, call: &Call, out: &mut Out) {
        let Some(running) = self.running.remove(&call.tid) else { return };
        let key = (running.command.pid, running.session);
        if running.number == PREPARE && running.failure.is_none() {
            return; // nothing was run
        }
        tell(&running, Some(call.time), running.outcome(), self.sessions.get(&key), out);
        if running.failure.is_none()
            && let Some(database) = running.new_database()
            && let Some(session) = self.sessions.get_mut(&key)
        {
            session.database = Some(database);
        }
    }

    /// `%s@%s on %s using %s`, `%s@%s as %s on %s`: user, host, database or another user.
    fn connect(&mut self, mut call: Call) {
        let format = call.text(1);
        if !format.starts_with(b"%s@%s ") {
            return; // refused: the values are others
        }
        let (user, client, third) = (call.name(2), call.name(3), call.name(4));
        let database = if format.starts_with(b"%s@%s on") { third } else { None };
        if self.sessions.len() >= MOST {
            self.sessions.clear();
        }
        let session = Session { user, client, database, application: None };
        self.sessions.insert((call.pid, call.values[5]), session);
    }
}

impl Running {
    fn outcome(&self) -> Outcome<'_> {
        self.failure.as_ref().map_or(Outcome::Done, Outcome::Error)
    }

    /// An error, or rows.
    fn result(&mut self, mut call: Call) {
        match call.point {
            Point::MySqlError => {
                let (message, state) = (call.text(1), call.text(2));
                let state = String::from_utf8_lossy(&state).into_owned();
                self.failure = Some(Failure { number: Some(call.values[0] as u32), state, message });
            }
            // With the flag it only ends the rows of a query.
            Point::MySqlOk if call.values[1] & 0xff != 0 => {}
            Point::MySqlOk | Point::MySqlRows => {
                let rows = self.command.rows.unwrap_or(0).saturating_add(call.values[0]);
                self.command.rows = Some(rows);
            }
            _ => {}
        }
    }

    /// The database of a command that changes it.
    fn new_database(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.command.text);
        if self.number == INIT_DB {
            return Some(text.into_owned());
        }
        let (verb, name) = text.trim().split_once(char::is_whitespace)?;
        let name = name.trim().trim_end_matches(';').trim_matches('`');
        (self.number == QUERY && verb.eq_ignore_ascii_case("use")).then(|| name.to_owned())
    }
}

/// Where the first of several statements ends, whose text was that of all: behind the `;` before the next one.
fn end_of_first(all: &[u8], next: &[u8]) -> usize {
    let starts = memchr::memmem::find_iter(all, next);
    let mut ends = starts.map(|start| all[..start].trim_ascii_end().len());
    ends.find(|end| all[..*end].ends_with(b";")).unwrap_or(all.len())
}

fn tell(
    running: &Running,
    ended: Option<u64>,
    outcome: Outcome<'_>,
    session: Option<&Session>,
    out: &mut Out,
) {
    let command = Command {
        text: sql::mask(running.command.text.clone(), Dialect::MySql),
        parameters: running.command.parameters.clone(),
        execution: None,
        ..running.command
    };
    out.whole(&command, ended, outcome, session);
}

#[cfg(test)]
mod tests {
    use super::end_of_first;

    #[test]
    fn the_first_of_several_statements() {
        assert_eq!(end_of_first(b"select 1; select 2; select 3", b"select 2;"), 9);
        assert_eq!(end_of_first(b"a ;\n a", b"a"), 3);
        assert_eq!(end_of_first(b"select 1", b"select 2"), 8);
    }
}
