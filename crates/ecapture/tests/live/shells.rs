//! Commands that are typed into shells.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::capture::{Capture, ecapture};
use crate::process::{Running, output_of, wait_for};
use crate::record::{Record, Records};
use crate::terminal::Terminal;

/// What is typed, and what is then told: text, result and status.
type Case<'a> = (&'a str, &'a str, &'a str, i64);

const COMMON: [Case<'_>; 9] = [
    ("false\n", "false", "done", 1),
    ("false; true\n", "false; true", "done", 0),
    ("true; (exit 7)\n", "true; (exit 7)", "done", 7),
    ("for i in 1 2; do\n echo $i\ndone\n", "for i in 1 2; do\n echo $i\ndone", "done", 0),
    ("cat <<E\none\n\ntwo\nE\n", "cat <<E\none\n\ntwo\nE", "done", 0),
    ("echo 'a\nb' \\\n c\n", "echo 'a\nb' \\\n c", "done", 0),
    ("echo über $'\\x83'\n", "echo über $'\\x83'", "done", 0),
    ("echo x\n\necho !!\n", "echo x", "done", 0),
    ("", "echo echo x", "done", 0),
];

/// No options.
fn none() -> [&'static str; 0] {
    []
}

/// The first command that ends in a shell.
#[track_caller]
fn end_in(capture: &Capture, pid: u32) -> Record {
    capture.wait_for_record("its end", |record| record.pid() == pid && record.text("stage") == "end")
}

fn bash() -> Command {
    let mut command = Command::new("bash");
    command.args(["--norc", "-i"]).env("TERM", "xterm").env("PS2", "> ");
    command
}

fn bash_without_editor() -> Command {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noediting", "-i"]);
    command
}

fn zsh() -> Command {
    let mut command = Command::new("zsh");
    command.args(["-f", "-i"]).env("TERM", "dumb");
    command
}

/// Types everything, waiting for the end of each command, and compares what was told.
#[track_caller]
fn compare(capture: &Capture, terminal: &mut Terminal, cases: &[Case<'_>]) {
    let first = ended(&capture.so_far(), terminal).0.len();
    for (index, (typed, text, result, status)) in cases.iter().enumerate() {
        terminal.type_in(typed);
        let record = wait_for(&format!("the end of {text:?}"), || {
            ended(&capture.so_far(), terminal).0.get(first + index).cloned()
        });
        let told = (record.text("data"), record.text("result"), record.0["status"].as_i64());
        assert_eq!(told, (*text, *result, Some(*status)), "{typed:?}");
    }
}

/// The ends of commands of the shell on this terminal.
fn ended(records: &Records, terminal: &Terminal) -> Records {
    records.of(terminal.running.pid()).only(|record| record.text("stage") != "start")
}

#[test]
fn bash_tells_every_command_with_its_status() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash());
    compare(&capture, &mut shell, &COMMON);
    let long = format!("echo {} | wc -c", "x".repeat(4000));
    let typed = format!("{long}\n");
    compare(
        &capture,
        &mut shell,
        &[
            (&typed, &long, "done", 0),
            ("if then\n", "if then", "syntax_error", 2),
            ("# only a comment\n", "# only a comment", "done", 2),
            ("read -e x\nsecret\n", "read -e x", "done", 0),
            ("ech\x01\x05o 1\n", "echo 1", "done", 0),
        ],
    );
    shell.type_in("sleep 20\n");
    capture.wait_for_record("the start of sleep", |record| record.text("data") == "sleep 20");
    compare(&capture, &mut shell, &[("\x03", "sleep 20", "done", 130)]);
    shell.type_in("exit 5\n");
    shell.running.finish();
    let records = capture.stop().complete_commands();
    let last = records.0.last().expect("records");
    let told = (last.text("data"), last.text("result"), last.0["status"].as_i64());
    assert_eq!(told, ("exit 5", "exit", Some(5)));
    assert!(!records.0.iter().any(|record| record.text("data").contains("secret")));
}

#[test]
fn a_command_is_told_when_it_begins() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash());
    let pid = shell.running.pid();
    shell.type_in("sleep 300\n");
    let record = capture.wait_for_record("a start", |record| record.pid() == pid);
    assert_eq!(
        (record.text("data"), record.text("stage"), record.has("status")),
        ("sleep 300", "start", false)
    );
    assert!(record.text("tty").starts_with("pts/"), "{record:?}");
    shell.running.signal(Signal::KILL);
    let end = end_in(&capture, pid);
    assert_eq!((end.text("result"), end.number("id")), ("killed", record.number("id")));
    capture.stop().complete_commands();
}

#[test]
fn another_program_in_place_of_the_shell() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash());
    let pid = shell.running.pid();
    shell.type_in("exec sleep 0.1\n");
    let end = end_in(&capture, pid);
    assert_eq!((end.text("data"), end.text("result")), ("exec sleep 0.1", "exec"));
    capture.stop().complete_commands();
}

#[test]
fn lines_that_are_pasted_into_bash() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash());
    compare(
        &capture,
        &mut shell,
        &[
            ("\x1b[200~false\ncat <<E\none\nE\necho 2\x1b[201~\n", "false", "done", 1),
            ("", "cat <<E\none\nE", "done", 0),
            ("", "echo 2", "done", 0),
        ],
    );
    capture.stop().complete_commands();
}

#[test]
fn bash_without_its_line_editor() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash_without_editor());
    compare(&capture, &mut shell, &COMMON[..4]);
    capture.stop().complete_commands();
}

#[test]
fn a_readline_library_beside_the_shell() {
    let known = output_of("/sbin/ldconfig", &["-p"]);
    let library =
        known.lines().find_map(|line| Some(line.split_once("libreadline.so.")?.1.split_once("=> ")?.1));
    let library = library.expect("libreadline");
    let capture = Capture::commands("bash", ["--bash", "/bin/bash", "--readlineso", library]);
    let mut shell = Terminal::shell(&mut bash());
    compare(&capture, &mut shell, &COMMON[..2]);
    let captured = capture.stop();
    assert_eq!(captured.attached("libreadline"), 1, "{}", captured.stderr);
    captured.complete_commands();
}

#[test]
fn an_interrupted_command_was_discarded() {
    let capture = Capture::commands("bash", none());
    let mut shell = Terminal::shell(&mut bash());
    let pid = shell.running.pid();
    shell.type_in("echo 'never\n");
    shell.wait_for("> ");
    shell.type_in("\x03");
    let end = end_in(&capture, pid);
    assert_eq!((end.text("data"), end.text("result")), ("echo 'never", "discarded"));
    capture.stop().complete_commands();
}

#[test]
fn only_commands_that_end_with_a_status() {
    let capture = Capture::commands("bash", ["-e", "3"]);
    let mut shell = Terminal::shell(&mut bash());
    let pid = shell.running.pid();
    shell.type_in("true\n(exit 3)\nfalse\nexit 3\n");
    shell.running.finish();
    let records = capture.stop().complete_commands().of(pid);
    let texts: Vec<&str> = records.0.iter().map(|record| record.text("data")).collect();
    assert_eq!(texts, ["(exit 3)", "exit 3"]);
    assert!(records.0.iter().all(|record| record.text("stage") == "whole"));
}

#[test]
fn commands_are_selected_and_redacted_for_every_output() {
    let directory = tempfile::tempdir().expect("a directory");
    let also = directory.path().join("also");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    let received = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        BufReader::new(stream).lines().map(|line| line.expect("text")).collect::<Vec<_>>()
    });
    for target in [&address, also.to_str().expect("UTF-8")] {
        let capture = Capture::commands("bash", ["--redact", "--grep", "token", "--eventaddr", target]);
        let mut shell = Terminal::shell(&mut bash());
        compare(&capture, &mut shell, &[("echo token=S3cr3t\n", "echo token=[redacted]", "done", 0)]);
        shell.type_in("echo other\necho token=S3cr3t\n");
        wait_for("the second command", || (ended(&capture.so_far(), &shell).0.len() == 2).then_some(()));
        let captured = capture.stop();
        assert!(captured.records.0.iter().all(|record| record.text("data") == "echo token=[redacted]"));
        assert!(captured.summary().get("left_out") >= 2, "start and end of a command");
    }
    let [peer, file] = [received.join().expect("no panic"), read_lines(&also)];
    for lines in [peer, file] {
        assert_eq!(lines.len(), 4, "start and end of each command");
        assert!(
            lines.iter().all(|line| line.contains("[redacted]") && !line.contains("S3cr3t")),
            "{lines:?}"
        );
    }
}

fn read_lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn shells_at_once_do_not_mix() {
    let capture = Capture::commands("bash", none());
    let mut shells: Vec<Terminal> = (0..4).map(|_| Terminal::shell(&mut bash())).collect();
    for round in 0..25 {
        for (number, shell) in shells.iter_mut().enumerate() {
            shell.type_in(format!("(exit {number}) # {number}.{round}\n"));
        }
    }
    for shell in &mut shells {
        shell.type_in("exit\n");
    }
    let pids: Vec<u32> = shells.iter().map(|shell| shell.running.pid()).collect();
    shells.into_iter().for_each(|shell| drop(shell.running.finish()));
    let records = capture.stop().complete_commands();
    for (number, pid) in pids.into_iter().enumerate() {
        let ends = records.of(pid).only(|record| record.text("stage") == "end");
        let told: Vec<_> =
            ends.0.iter().map(|record| (record.text("data"), record.0["status"].as_u64())).collect();
        let texts: Vec<String> = (0..25).map(|round| format!("(exit {number}) # {number}.{round}")).collect();
        let expected: Vec<_> = texts.iter().map(|text| (text.as_str(), Some(number as u64))).collect();
        assert_eq!(told[..25], expected);
        assert_eq!(told.len(), 26, "and exit");
    }
}

#[test]
fn zsh_tells_every_command_with_its_status() {
    let capture = Capture::commands("zsh", none());
    let mut shell = Terminal::shell(&mut zsh());
    compare(&capture, &mut shell, &COMMON);
    compare(&capture, &mut shell, &[("echo )\n", "echo )", "syntax_error", 1)]);
    shell.type_in("exit 5\n");
    shell.running.finish();
    let records = capture.stop().complete_commands();
    let last = records.0.last().expect("records");
    let told = (last.text("data"), last.text("result"), last.0["status"].as_i64());
    assert_eq!(told, ("exit 5", "exit", Some(5)));
}

#[test]
fn older_kernels_read_shells_as_well() {
    for feature in ["modern", "uprobe_multi", "modern,uprobe_multi,uprobe_session,cookie"] {
        let mut command = ecapture();
        command.env("ECAPTURE_DISABLE_FEATURES", feature);
        let capture = Capture::launch_as("bash", command, none());
        capture.wait_until_ready();
        let mut shell = Terminal::shell(&mut bash());
        compare(&capture, &mut shell, &COMMON);
        capture.stop().complete_commands();
    }
}

#[test]
fn a_shell_for_people() {
    let mut command = ecapture();
    let running = Running::start(command.arg("bash"));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    let mut shell = Terminal::shell(&mut bash());
    let pid = shell.running.pid();
    shell.type_in("printf '\\e[31m\\n' # \u{9b}2J\nexit 3\n");
    shell.running.finish();
    running.signal(Signal::INT);
    let text = running.finish().succeeded().text();
    let header = format!("PID:{pid}, UID:0, Comm:bash, ");
    assert!(text.contains(&header) && text.contains("Type:bash command"), "{text}");
    assert!(text.contains(", Line:\nprintf '\\e[31m\\n' # \\xc2\\x9b2J\n"), "{text}");
    assert!(text.contains(", Retvalue:3, Result:exit, Duration:0."), "{text}");
}
