//! What people type into bash: lines become commands, the next prompt tells how they ended.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Reader;
use super::call::Call;
use super::out::{Command, Out};
use crate::probes::Point;
use crate::record::Outcome;

/// Every shell, by its process.
#[derive(Default)]
pub struct Bash {
    shells: FxHashMap<u32, Shell>,
}

/// A shell.
#[derive(Default)]
struct Shell {
    /// Lines of the command that is being typed.
    lines: Vec<Vec<u8>>,
    /// Some of them were not read whole; why.
    defect: &'static str,
    /// It reads a command.
    reading: bool,
    /// Lines that were pasted at once and that no command has taken yet.
    pasted: VecDeque<Vec<u8>>,
    /// A line that history expansion may change.
    expanding: Option<Vec<u8>>,
    /// The command that runs.
    running: Option<Running>,
    /// It was told to run another program in its place.
    leaving: bool,
}

struct Running {
    command: Command,
    /// The shell refused it.
    refused: bool,
    /// When it ended and how, while pasted lines may turn out to be its own: those of a here-document.
    ended: Option<(u64, i32)>,
}

const KIND: &str = "bash command";

impl Reader for Bash {
    fn take(&mut self, mut call: Call, out: &mut Out) {
        let shell = self.shells.entry(call.pid).or_default();
        if call.after_loss && shell.defect.is_empty() {
            shell.defect = "lines may be missing: records were lost";
        }
        match call.point {
            Point::BashRead => shell.prompt(&call, out),
            Point::BashLine => shell.line(&mut call, out),
            Point::BashExpand => shell.expand(call.text(1), out),
            Point::BashExpanded => shell.expanded(call.text(1)),
            Point::BashReadDone => shell.read(&call, out),
            Point::BashExit => {
                let status = call.values[1] as i32;
                shell.settle(out);
                shell.end(call.time, Outcome::Exit(status), out);
            }
            Point::BashExec => shell.leaving = true,
            _ => {}
        }
    }

    fn over(&mut self, pid: u32, out: &mut Out) {
        let Some(mut shell) = self.shells.remove(&pid) else { return };
        shell.settle(out);
        if let Some(running) = shell.running {
            let outcome = if shell.leaving { Outcome::Exec } else { Outcome::Ended };
            out.end(&running.command, None, outcome);
        }
    }

    fn finish(&mut self, out: &mut Out) {
        for (_, mut shell) in self.shells.drain() {
            shell.settle(out);
            if let Some(running) = shell.running {
                out.end(&running.command, None, Outcome::Unknown);
            }
        }
    }
}

impl Shell {
    /// A new command is about to be read: the last one is over, with the status that the shell now has.
    fn prompt(&mut self, call: &Call, out: &mut Out) {
        let status = call.values[1] as i32;
        if self.reading && !self.is_blank() {
            // It never came back from reading: interrupted at a continuation line.
            let command = self.command(call, out);
            out.start(&command);
            out.end(&command, Some(call.time), Outcome::Discarded);
        }
        if let Some(running) = &mut self.running {
            running.ended = Some((call.time, status));
        }
        if self.pasted.is_empty() {
            self.settle(out);
        }
        self.lines.clear();
        self.reading = true;
        self.leaving = false;
        self.expanding = None;
    }

    /// What the line editor answers; several lines if they were pasted.
    fn line(&mut self, call: &mut Call, out: &mut Out) {
        if !call.defect.is_empty() {
            self.defect = call.defect;
        }
        self.give_to_running(usize::MAX);
        self.settle(out);
        if call.values[1] == 0 {
            return; // the end of input
        }
        let text = call.text(1);
        if text.contains(&b'\n') {
            self.pasted = text.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        } else {
            self.lines.push(text);
        }
    }

    /// A line is taken for a command. Without the line editor this is the first that we see of it.
    fn expand(&mut self, line: Vec<u8>, out: &mut Out) {
        let line = line.strip_suffix(b"\n").unwrap_or(&line).to_vec();
        if let Some(before) = self.pasted.iter().position(|pasted| *pasted == line) {
            if self.lines.is_empty() && self.running.is_some() {
                self.give_to_running(before);
                self.lines.extend(self.pasted.pop_front());
            } else {
                self.lines.extend(self.pasted.drain(..=before));
            }
        } else if self.lines.last() != Some(&line) {
            self.lines.push(line.clone());
        }
        self.settle(out);
        self.expanding = Some(line);
    }

    /// What history expansion made of it.
    fn expanded(&mut self, new: Vec<u8>) {
        let new = new.strip_suffix(b"\n").unwrap_or(&new);
        if let Some(old) = self.expanding.take()
            && !new.is_empty()
            && let Some(line) = self.lines.iter_mut().rfind(|line| **line == old)
        {
            *line = new.to_vec();
        }
    }

    /// A command was read, or could not be.
    fn read(&mut self, call: &Call, out: &mut Out) {
        self.reading = false;
        if self.lines.is_empty() {
            self.lines.extend(self.pasted.drain(..)); // without history nobody tells where one ends
        }
        if self.is_blank() {
            self.lines.clear();
            self.defect = "";
            return;
        }
        // The result does not tell: an interactive shell goes on after a syntax error.
        let is_comment = self.lines.iter().map(|line| line.trim_ascii_start()).all(is_comment);
        let refused = call.values[1] as i32 != 0 || call.values[2] == 0 && !is_comment;
        let command = self.command(call, out);
        out.start(&command);
        self.running = Some(Running { command, refused, ended: None });
    }

    /// Pasted lines that were read without being taken for a command belong to the command before.
    fn give_to_running(&mut self, lines: usize) {
        let Some(running) = &mut self.running else { return };
        for line in self.pasted.drain(..lines.min(self.pasted.len())) {
            running.command.text.push(b'\n');
            running.command.text.extend(line);
        }
    }

    /// Tells how the last command ended, once that is known and its text is complete.
    fn settle(&mut self, out: &mut Out) {
        let Some(Running { refused, ended: Some((time, status)), .. }) = self.running else { return };
        let outcome = if refused { Outcome::SyntaxError(status) } else { Outcome::Status(status) };
        self.end(time, outcome, out);
    }

    fn is_blank(&self) -> bool {
        self.lines.iter().all(|line| line.trim_ascii().is_empty())
    }

    /// The lines so far as a command.
    fn command(&mut self, call: &Call, out: &mut Out) -> Command {
        let text = std::mem::take(&mut self.lines).join(&b'\n');
        let note = std::mem::take(&mut self.defect);
        Command { note, ..out.begin(call, KIND, text) }
    }

    fn end(&mut self, time: u64, outcome: Outcome<'_>, out: &mut Out) {
        if let Some(running) = self.running.take() {
            out.end(&running.command, Some(time), outcome);
        }
    }
}

/// Of a line without blanks at its start.
fn is_comment(line: &[u8]) -> bool {
    line.first().is_none_or(|first| *first == b'#')
}
