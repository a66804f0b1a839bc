//! What a hook of the shape "command text" has to tell: which of its values are what.

use crate::bpf::shell_points;

/// A function of a shell or server that we hook. The comment names its fields, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Point {
    /// bash begins to read a command: is interactive, status of the last command.
    BashRead,
    /// It has read one: is reading, result (0: no error), the command (0: none).
    BashReadDone,
    /// A line was typed: is reading, text.
    BashLine,
    /// A line before history expansion: is reading, text.
    BashExpand,
    /// The same line after it: is reading, text.
    BashExpanded,
    /// It ends: is interactive, status.
    BashExit,
    /// It runs a program in its place: is interactive, path.
    BashExec,
    /// zsh tells its hooks something: name of the hook, text.
    ZshHook,
    /// It runs what was read: context.
    ZshRun,
    /// It is about to prompt: status of the last command.
    ZshPrompt,
    /// It ends: status.
    ZshExit,
    /// A server thread of MySQL begins a command: number, text length, text, session.
    MySqlCommand,
    /// It ends one.
    MySqlDone,
    /// Text of the statement that runs: command, length, text.
    MySqlStatement,
    /// A client connected: command, format, and three texts that it describes.
    MySqlConnect,
    /// An error: number, message, SQLSTATE.
    MySqlError,
    /// Success: rows that were changed.
    MySqlOk,
    /// Rows that were sent to the client.
    MySqlRows,
    /// A PostgreSQL backend knows its database and user.
    PgSession,
    /// It runs a statement: message type, text, name of the application.
    PgActivity,
    /// A message with parameters: type, length, body.
    PgBind,
    /// A message to the client: type, length, body.
    PgError,
    /// A statement is complete: tag as text.
    PgTag,
    /// A statement is complete: rows.
    PgRows,
    /// It waits for the client.
    PgReady,
    /// Any shell runs a program: see [`shell_points::PROGRAM`].
    Program = shell_points::PROGRAM,
    /// The program is over: status.
    ProgramEnd = shell_points::PROGRAM_END,
    /// Any shell read from a terminal: length, bytes.
    Line = shell_points::LINE,
}

impl Point {
    const ALL: [Self; 28] = [
        Self::BashRead,
        Self::BashReadDone,
        Self::BashLine,
        Self::BashExpand,
        Self::BashExpanded,
        Self::BashExit,
        Self::BashExec,
        Self::ZshHook,
        Self::ZshRun,
        Self::ZshPrompt,
        Self::ZshExit,
        Self::MySqlCommand,
        Self::MySqlDone,
        Self::MySqlStatement,
        Self::MySqlConnect,
        Self::MySqlError,
        Self::MySqlOk,
        Self::MySqlRows,
        Self::PgSession,
        Self::PgActivity,
        Self::PgBind,
        Self::PgError,
        Self::PgTag,
        Self::PgRows,
        Self::PgReady,
        Self::Program,
        Self::ProgramEnd,
        Self::Line,
    ];

    /// What is known there, in words.
    pub fn about(self) -> &'static str {
        match self {
            Self::BashRead => "a command is about to be read; status of the last one",
            Self::BashReadDone => "a command was read",
            Self::BashLine => "a line was typed",
            Self::BashExpand => "a line before history expansion",
            Self::BashExpanded => "a line after history expansion",
            Self::BashExit | Self::ZshExit => "the shell ends; its status",
            Self::BashExec => "a program takes the place of the shell",
            Self::ZshHook => "a command was read; its text",
            Self::ZshRun => "it runs",
            Self::ZshPrompt => "a prompt comes; status of the last command",
            Self::MySqlCommand => "a client's command begins; its text",
            Self::MySqlDone => "it ends",
            Self::MySqlStatement => "text of the statement that runs",
            Self::MySqlConnect => "a client connects; user, host, database",
            Self::MySqlError | Self::PgError => "an error is sent to the client",
            Self::MySqlOk => "success is sent to the client; changed rows",
            Self::MySqlRows => "rows that were sent",
            Self::PgSession => "a session begins; database, user",
            Self::PgActivity => "a statement runs; its text",
            Self::PgBind => "a message of the client; values of a statement",
            Self::PgTag | Self::PgRows => "a statement is complete; rows",
            Self::PgReady => "the server waits for the client",
            Self::Program => "a program begins",
            Self::ProgramEnd => "a program ends",
            Self::Line => "a line was read",
        }
    }

    /// The point with that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|point| *point as u32 == number)
    }
}
