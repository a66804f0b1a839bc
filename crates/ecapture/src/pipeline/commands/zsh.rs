//! What people type into zsh.

use rustc_hash::FxHashMap;

use super::Reader;
use super::call::Call;
use super::out::{Command, Out};
use crate::probes::Point;
use crate::record::Outcome;

/// Every shell, by its process.
#[derive(Default)]
pub struct Zsh {
    shells: FxHashMap<u32, Shell>,
}

/// A command of a shell.
struct Shell {
    command: Command,
    /// It was run; else the shell refused it.
    runs: bool,
}

impl Reader for Zsh {
    fn take(&mut self, mut call: Call, out: &mut Out) {
        let name = call.text(0);
        match call.point {
            // zsh tells its history hooks of each command, complete and expanded, before it parses it.
            Point::ZshHook if name == b"zshaddhistory" => {
                let mut text = unmetafy(&call.text(1));
                if text.last() == Some(&b'\n') {
                    text.pop();
                }
                if !text.trim_ascii().is_empty() {
                    let command = out.begin(&call, "zsh command", text);
                    out.start(&command);
                    self.shells.insert(call.pid, Shell { command, runs: false });
                }
            }
            Point::ZshRun if name == b"toplevel" => {
                if let Some(shell) = self.shells.get_mut(&call.pid) {
                    shell.runs = true;
                }
            }
            Point::ZshPrompt => {
                let status = call.values[0] as i32;
                self.end(
                    &call,
                    |shell| {
                        let is_comment = shell.command.text.trim_ascii_start().starts_with(b"#");
                        if shell.runs || is_comment {
                            Outcome::Status(status)
                        } else {
                            Outcome::SyntaxError(status)
                        }
                    },
                    out,
                );
            }
            Point::ZshExit => {
                let status = call.values[0] as i32;
                self.end(&call, |_| Outcome::Exit(status), out);
            }
            _ => {}
        }
    }

    fn over(&mut self, pid: u32, out: &mut Out) {
        if let Some(shell) = self.shells.remove(&pid) {
            out.end(&shell.command, None, Outcome::Ended);
        }
    }

    fn finish(&mut self, out: &mut Out) {
        for (_, shell) in self.shells.drain() {
            out.end(&shell.command, None, Outcome::Unknown);
        }
    }
}

impl Zsh {
    fn end(&mut self, call: &Call, outcome: impl Fn(&Shell) -> Outcome<'static>, out: &mut Out) {
        if let Some(shell) = self.shells.remove(&call.pid) {
            out.end(&shell.command, Some(call.time), outcome(&shell));
        }
    }
}

/// zsh writes some bytes as 0x83 and the byte with bit 5 turned (`Meta` in its source).
fn unmetafy(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == 0x83 { bytes.next().map_or(byte, |next| next ^ 0x20) } else { byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    #[test]
    fn metafied_bytes() {
        assert_eq!(super::unmetafy(b"a\x83\xa3b\x83 c"), b"a\x83b\0c");
    }
}
