//! What any shell does: programs that it runs, lines that it reads from its terminal.

use rustc_hash::FxHashMap;

use super::Reader;
use super::call::Call;
use super::out::{Command, Out};
use crate::probes::Point;
use crate::record::{Execution, Outcome};

/// Most bytes of a line that is read in pieces; a terminal holds 4096.
const LONGEST_LINE: usize = 64 << 10;

/// Every shell and what it runs, by process.
#[derive(Default)]
pub struct Shells {
    programs: FxHashMap<u32, Command>,
    /// Lines of which the end was not read: some shells read byte by byte.
    lines: FxHashMap<u32, Command>,
}

impl Reader for Shells {
    fn take(&mut self, mut call: Call, out: &mut Out) {
        match call.point {
            Point::Program => {
                self.end(&call, Outcome::Exec, out);
                let execution = execution(&mut call);
                let text = quoted(&execution.arguments);
                let command =
                    Command { execution: Some(execution), ..out.begin(&call, "shell program", text) };
                out.start(&command);
                self.programs.insert(call.pid, command);
            }
            Point::ProgramEnd => self.end(&call, outcome(call.values[0] as i32), out),
            Point::Line => self.line(&mut call, out),
            _ => {}
        }
    }

    fn over(&mut self, pid: u32, out: &mut Out) {
        if let Some(line) = self.lines.remove(&pid) {
            out.line(&line);
        }
        if let Some(program) = self.programs.remove(&pid) {
            out.end(&program, None, Outcome::Ended);
        }
    }

    fn finish(&mut self, out: &mut Out) {
        self.lines.drain().for_each(|(_, line)| out.line(&line));
        self.programs.drain().for_each(|(_, program)| out.end(&program, None, Outcome::Unknown));
    }
}

impl Shells {
    fn end(&mut self, call: &Call, outcome: Outcome<'_>, out: &mut Out) {
        if let Some(program) = self.programs.remove(&call.pid) {
            out.end(&program, Some(call.time), outcome);
        }
    }

    fn line(&mut self, call: &mut Call, out: &mut Out) {
        let read = call.text(1);
        let line = self.lines.entry(call.pid).or_insert_with(|| out.begin(call, "shell line", Vec::new()));
        line.text.extend(read);
        if line.text.last() != Some(&b'\n') && line.text.len() < LONGEST_LINE {
            return;
        }
        let Some(mut line) = self.lines.remove(&call.pid) else { return };
        if line.text.last() == Some(&b'\n') {
            line.text.pop();
        }
        if !line.text.trim_ascii().is_empty() {
            out.line(&line);
        }
    }
}

fn execution(call: &mut Call) -> Execution {
    let name = call.values[3..5].iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0);
    let name: Vec<u8> = name.collect();
    let arguments = call.text(2);
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(&arguments);
    Execution {
        shell: call.values[0] as u32,
        shell_comm: String::from_utf8_lossy(&name).into_owned(),
        path: call.text(5),
        arguments: arguments.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(),
    }
}

/// A status of wait(2).
fn outcome(status: i32) -> Outcome<'static> {
    match status & 0x7f {
        0 => Outcome::Status(status >> 8 & 0xff),
        signal => Outcome::Signal(signal),
    }
}

/// Words as a shell would need them.
fn quoted(words: &[Vec<u8>]) -> Vec<u8> {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_@%+=:,./-".contains(byte);
    let mut text = Vec::new();
    for word in words {
        if !text.is_empty() {
            text.push(b' ');
        }
        if !word.is_empty() && word.iter().all(is_plain) {
            text.extend_from_slice(word);
        } else {
            text.push(b'\'');
            for byte in word {
                text.extend_from_slice(if *byte == b'\'' { b"'\\''" } else { std::slice::from_ref(byte) });
            }
            text.push(b'\'');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_needed() {
        let words = ["a-b", "", "c d", "it's", "über", "$x"].map(|word| word.as_bytes().to_vec());
        assert_eq!(String::from_utf8_lossy(&quoted(&words)), "a-b '' 'c d' 'it'\\''s' über '$x'");
    }

    #[test]
    fn statuses_of_wait() {
        assert_eq!(outcome(7 << 8), Outcome::Status(7));
        assert_eq!(outcome(9).status(), Some(137));
        assert_eq!(outcome(11 | 0x80), Outcome::Signal(11)); // with a core dump
    }
}
