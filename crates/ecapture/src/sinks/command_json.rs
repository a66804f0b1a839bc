//! Commands as JSON objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use super::json::VERSION;
use crate::record::{Command, Execution, Outcome, Parameter, Stage};

/// The object of a line. Fields that do not apply are left out.
#[derive(Serialize)]
pub struct Line<'a> {
    version: u32,
    time: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Ties the lines of one command.
    id: u64,
    stage: &'static str,
    pid: u32,
    tid: u32,
    uid: u32,
    comm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell_comm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Word<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    argv: Vec<Word<'a>>,
    #[serde(flatten)]
    text: Bytes<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<Option<Bytes<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

/// Text when it is UTF-8, base64 otherwise.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Bytes<'a> {
    Data(&'a str),
    DataB64(String),
}

/// A string when it is UTF-8, else an object.
#[derive(Serialize)]
#[serde(untagged)]
enum Word<'a> {
    Text(&'a str),
    Binary { data_b64: String },
}

impl<'a> Word<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes)
            .map_or_else(|_| Self::Binary { data_b64: STANDARD.encode(bytes) }, Self::Text)
    }
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    state: &'a str,
    message: String,
}

impl<'a> Bytes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::binary(bytes), Self::Data)
    }

    fn binary(bytes: &[u8]) -> Self {
        Self::DataB64(STANDARD.encode(bytes))
    }
}

impl<'a> Line<'a> {
    /// The line of a command.
    pub fn of(command: &'a Command<'_>) -> Self {
        let session = command.session;
        let execution = command.execution;
        let words =
            |execution: &'a Execution| execution.arguments.iter().map(|word| Word::of(word)).collect();
        let parameter = |parameter: &'a Parameter| match parameter {
            Parameter::Null => None,
            Parameter::Text(text) => Some(Bytes::of(text)),
            Parameter::Binary(bytes) => Some(Bytes::binary(bytes)),
        };
        Self {
            version: VERSION,
            time: format!("{:.9}", Timestamp::from_nanosecond(command.time.into()).unwrap_or_default()),
            kind: command.kind,
            id: command.id,
            stage: Stage::name(command.stage),
            pid: command.thread.process.pid,
            tid: command.thread.tid,
            uid: command.thread.process.uid,
            comm: &command.thread.process.comm,
            login_uid: command.origin.login_uid,
            tty: command.origin.terminal.as_deref(),
            container: command.thread.process.container.as_deref(),
            user: session.and_then(|session| session.user.as_deref()),
            client: session.and_then(|session| session.client.as_deref()),
            database: session.and_then(|session| session.database.as_deref()),
            application: session.and_then(|session| session.application.as_deref()),
            shell_pid: execution.map(|execution| execution.shell),
            shell_comm: execution.map(|it| &*it.shell_comm).filter(|comm| !comm.is_empty()),
            path: execution.map(|execution| Word::of(&execution.path)),
            argv: execution.map(words).unwrap_or_default(),
            text: Bytes::of(command.text),
            parameters: command.parameters.iter().map(parameter).collect(),
            duration_ns: command.duration,
            result: command.outcome.map(Outcome::name),
            status: command.outcome.and_then(Outcome::status),
            error: match command.outcome {
                Some(Outcome::Error(failure)) => Some(Error {
                    number: failure.number,
                    state: &failure.state,
                    message: String::from_utf8_lossy(&failure.message).into_owned(),
                }),
                _ => None,
            },
            rows: command.rows,
            note: command.note,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::{Failure, Origin, Process, Session, Thread};

    /// A command with everything or with nothing that may be absent, as a line.
    fn line(is_full: bool, outcome: Option<Outcome<'_>>, text: &[u8]) -> Value {
        let some = |text: &str| is_full.then(|| text.to_owned());
        let container = is_full.then(|| "a1".repeat(32).into());
        let process = Process { pid: 1, uid: 0, comm: "bash".to_owned(), container };
        let origin = Origin { login_uid: is_full.then_some(1000), terminal: some("pts/3") };
        let session = Session {
            user: some("ann"),
            client: some("[local]"),
            database: some("d"),
            application: some("a"),
        };
        let execution = Execution {
            shell: 3,
            shell_comm: "dash".to_owned(),
            path: b"/bin/echo".to_vec(),
            arguments: vec![b"echo".to_vec(), b"\xff".to_vec()],
        };
        let parameters = [Parameter::Null, Parameter::Text(b"x".to_vec()), Parameter::Binary(Vec::new())];
        let command = Command {
            id: 1,
            stage: if outcome.is_some() { Stage::Whole } else { Stage::Start },
            time: 1_700_000_000_000_000_001,
            duration: is_full.then_some(2),
            thread: Thread { tid: 2, process: &process },
            origin: &origin,
            session: is_full.then_some(&session),
            kind: "bash command",
            text,
            execution: is_full.then_some(&execution),
            parameters: if is_full { &parameters } else { &[] },
            outcome,
            rows: is_full.then_some(3),
            note: if is_full { "odd" } else { "" },
        };
        serde_json::to_value(Line::of(&command)).expect("JSON")
    }

    #[test]
    fn lines_are_as_the_schema_says() {
        let schema = include_str!("../../../../docs/events.schema.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let failure = Failure { number: Some(1064), state: "42000".to_owned(), message: b"no".to_vec() };
        for is_full in [false, true] {
            for outcome in [None, Some(Outcome::Done), Some(Outcome::Exit(1)), Some(Outcome::Error(&failure))]
            {
                for text in [&b"true"[..], b"\xff"] {
                    let line = line(is_full, outcome, text);
                    assert!(validator.is_valid(&line), "{:?}: {line}", validator.validate(&line));
                }
            }
        }
        let good = line(true, None, b"true");
        for field in ["version", "id", "stage", "data"] {
            let mut bad = good.clone();
            bad.as_object_mut().expect("an object").remove(field);
            assert!(!validator.is_valid(&bad), "without {field}");
        }
        for (field, value) in [("new", json!(1)), ("conn", json!(1)), ("result", json!("odd"))] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(!validator.is_valid(&bad), "with another {field}");
        }
    }
}
