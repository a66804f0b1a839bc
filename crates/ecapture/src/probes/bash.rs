//! bash, and the readline library that it may share with other programs.

use inspect::Binary;

use super::named::Named;
use super::{Point, Verdict};
use crate::bpf::{Field, FieldKind, Start, TextHook, Values};

/// What a thread keeps: whether it reads a command right now, whether it is an interactive shell, and where the probe on
/// `read_command` is.
const READING: u8 = 0;
const INTERACTIVE: u8 = 1;
const PROBE: u8 = 2;

const FUNCTIONS: [&str; 6] = [
    "read_command",
    "readline",
    "pre_process_line",
    "exit_shell",
    "shell_execve",
    "execute_command_internal",
];
const VARIABLES: [&str; 3] = ["interactive", "last_command_exit_value", "global_command"];

/// The hooks of a shell, or of a file with the readline library alone.
pub fn hooks(binary: &Binary<'_>) -> Verdict {
    let mut named = match Named::new(binary, &FUNCTIONS, &VARIABLES) {
        Ok(named) => named,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    if !named.has("read_command") || !named.has("execute_command_internal") {
        return library(binary, named);
    }
    let (Some(interactive), Some(status), Some(command)) = (
        named.variable("interactive", FieldKind::U32),
        named.variable("last_command_exit_value", FieldKind::U32),
        named.distance("read_command", "global_command"),
    ) else {
        return Verdict::Unusable("a bash whose symbols do not name its variables".into());
    };
    let number = |value| Field::value(Start::Number(value));
    let is_reading = || Field::value(Start::Kept(READING));
    let is_interactive = || Field::value(Start::Kept(INTERACTIVE));
    let told = |point: Point, fields| TextHook::new(point as u32, fields).only_if(0, Values::NOT_ZERO);

    named.at(
        "read_command",
        told(
            Point::BashRead,
            vec![
                interactive,
                status,
                number(1).kept_in(READING),
                number(1).kept_in(INTERACTIVE),
                Field::value(Start::Probe).kept_in(PROBE),
            ],
        ),
    );
    named.after(
        "read_command",
        told(
            Point::BashReadDone,
            vec![
                is_reading(),
                Field::value(Start::Returned),
                Field::new(Start::Kept(PROBE), FieldKind::U64).over(&[], command),
                number(0).kept_in(READING),
            ],
        ),
    );
    named.after("readline", line());
    named.at(
        "pre_process_line",
        told(Point::BashExpand, vec![is_reading(), Field::new(Start::Argument(1), FieldKind::Text)]),
    );
    named.after(
        "pre_process_line",
        told(Point::BashExpanded, vec![is_reading(), Field::new(Start::Returned, FieldKind::Text)]),
    );
    named.at("exit_shell", told(Point::BashExit, vec![is_interactive(), Field::value(Start::Argument(1))]));
    named.at(
        "shell_execve",
        told(Point::BashExec, vec![is_interactive(), Field::new(Start::Argument(1), FieldKind::Text)]),
    );
    Verdict::Hooks(named.found("bash"))
}

/// A line that was typed, if a bash reads a command with it: readline serves others as well.
fn line() -> TextHook {
    let text = Field::new(Start::Returned, FieldKind::Text);
    TextHook::new(Point::BashLine as u32, vec![Field::value(Start::Kept(READING)), text])
        .only_if(0, Values::NOT_ZERO)
}

fn library(binary: &Binary<'_>, mut named: Named<'_>) -> Verdict {
    // Libraries of other kinds have a function of that name, too; this one they do not have.
    let is_readline =
        binary.symbols(&["rl_discard_argument"]).is_ok_and(|found| found.iter().next().is_some());
    if is_readline && named.after("readline", line()) {
        Verdict::Hooks(named.found("readline"))
    } else {
        Verdict::Nothing
    }
}
