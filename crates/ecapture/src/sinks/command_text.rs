//! Commands as text, in the shape of eCapture: a line that says who, where and what, then the command.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Output, Style, hexdump};
use crate::escape;
use crate::record::{Command, Outcome, Parameter, Stage};

/// Writes one command.
pub fn write(out: &mut Output, style: Style, command: &Command<'_>) -> io::Result<()> {
    header(out, command)?;
    // Of a command that was shown when it began, people still see the text.
    if command.stage != Stage::End {
        payload(out, style, command.text)?;
    }
    for (index, parameter) in command.parameters.iter().enumerate() {
        write!(out, "${} = ", index + 1)?;
        match parameter {
            Parameter::Null => out.write_all(b"NULL\n")?,
            Parameter::Text(text) => payload(out, style, text)?,
            Parameter::Binary(bytes) => {
                out.write_all(b"\\x")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
                out.write_all(b"\n")?;
            }
        }
    }
    if let Some(Outcome::Error(failure)) = command.outcome {
        out.write_all(b"ERROR")?;
        if let Some(number) = failure.number {
            write!(out, " {number}")?;
        }
        write!(out, " ({}): ", escape::name(&failure.state))?;
        line(out, &failure.message)?;
    }
    out.write_all(b"\n")
}

fn header(out: &mut Output, command: &Command<'_>) -> io::Result<()> {
    let time = Timestamp::from_nanosecond(command.time.into()).unwrap_or_default();
    let process = command.thread.process;
    write!(out, "{time:.9} PID:{}, UID:{}, Comm:{}", process.pid, process.uid, escape::name(&process.comm))?;
    if command.thread.tid != process.pid {
        write!(out, ", TID:{}", command.thread.tid)?;
    }
    if let Some(uid) = command.origin.login_uid {
        write!(out, ", Login:{uid}")?;
    }
    let session = command.session;
    let texts = [
        ("TTY", command.origin.terminal.as_deref()),
        ("Container", process.container.as_deref()),
        ("User", session.and_then(|session| session.user.as_deref())),
        ("Client", session.and_then(|session| session.client.as_deref())),
        ("Database", session.and_then(|session| session.database.as_deref())),
        ("Application", session.and_then(|session| session.application.as_deref())),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            write!(out, ", {name}:{}", escape::name(text))?;
        }
    }
    if let Some(execution) = command.execution {
        write!(out, ", Shell:{}", execution.shell)?;
        if !execution.shell_comm.is_empty() {
            write!(out, " ({})", escape::name(&execution.shell_comm))?;
        }
        write!(out, ", Path:{}", escape::name(&String::from_utf8_lossy(&execution.path)))?;
    }
    write!(out, ", Type:{}, ID:{}", command.kind, command.id)?;
    match command.outcome {
        None => {}
        Some(outcome) => match outcome.status() {
            Some(status) => write!(out, ", Retvalue:{status}")?,
            None => write!(out, ", Result:{}", outcome.name())?,
        },
    }
    if let Some(Outcome::SyntaxError(_) | Outcome::Exit(_) | Outcome::Signal(_)) = command.outcome {
        write!(out, ", Result:{}", command.outcome.map_or("", Outcome::name))?;
    }
    if let Some(duration) = command.duration {
        write!(out, ", Duration:{}.{:06}s", duration / 1_000_000_000, duration / 1000 % 1_000_000)?;
    }
    if let Some(rows) = command.rows {
        write!(out, ", Rows:{rows}")?;
    }
    if !command.note.is_empty() {
        write!(out, ", Note:{}", command.note)?;
    }
    if command.stage == Stage::End {
        return out.write_all(b",\n");
    }
    out.write_all(b", Line:\n")
}

fn payload(out: &mut Output, style: Style, bytes: &[u8]) -> io::Result<()> {
    let most = style.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (shown, cut) = bytes.split_at(bytes.len().min(most));
    if style.hex {
        hexdump::write(out, shown, 0)?;
    } else {
        line(out, shown)?;
    }
    if cut.is_empty() { Ok(()) } else { writeln!(out, "... {} more bytes", cut.len()) }
}

fn line(out: &mut Output, bytes: &[u8]) -> io::Result<()> {
    escape::write(out, bytes)?;
    if bytes.last() == Some(&b'\n') { Ok(()) } else { out.write_all(b"\n") }
}
