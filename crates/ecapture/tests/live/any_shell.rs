//! Programs that shells run, and lines that they read: dash stands for all that have nothing to hook.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::capture::{Capture, ecapture, own_cgroup};
use crate::process::{Running, wait_for};
use crate::record::{Record, Records};
use crate::terminal::{PROMPT, Terminal};

/// `ecapture shell`, of what these tests start.
fn capture() -> Capture {
    Capture::commands("shell", [OsStr::new("--cgroup_path"), own_cgroup().as_os_str()])
}

fn dash() -> Command {
    let mut command = Command::new("dash");
    command.arg("-i");
    command
}

/// `dash -c`, which runs to its end; answers its process id.
fn script(arguments: &[OsString]) -> u32 {
    let running = Running::start(Command::new("dash").arg("-c").args(arguments));
    let pid = running.pid();
    running.finish();
    pid
}

/// Starts or ends of the programs of a shell.
fn programs(records: &Records, shell: u32, stage: &str) -> Vec<Record> {
    let of_shell = |record: &Record| {
        record.0["shell_pid"] == shell && record.text("stage") == stage && record.kind() == "shell program"
    };
    records.clone().only(of_shell).0
}

/// Lines that a shell read.
fn lines(records: &Records, shell: u32) -> Vec<String> {
    let lines = records.of(shell).only(|record| record.kind() == "shell line");
    lines.0.iter().map(|record| record.text("data").to_owned()).collect()
}

/// Waits until a shell that has shown all else waits for a line.
fn wait_until_it_reads(shell: &Terminal) {
    let stat = format!("/proc/{}/stat", shell.running.pid());
    wait_for("a shell that reads", || {
        let sleeps = fs::read_to_string(&stat).expect("it runs").contains(") S ");
        (sleeps && shell.screen().ends_with(PROMPT)).then_some(())
    });
}

#[test]
fn programs_have_their_arguments_and_status() {
    let capture = capture();
    let mut shell = Terminal::shell(&mut dash());
    let pid = shell.running.pid();
    shell.type_in("/bin/echo 'a b' '' über \"it's\"\n(env sh -c 'exit 7')\nexec /bin/sh -c 'kill -9 $$'\n");
    shell.running.finish();
    let records = capture.stop().complete_commands();

    let starts = programs(&records, pid, "start");
    let told: Vec<_> = starts.iter().map(|it| (it.text("data"), it.text("path"), &it.0["argv"])).collect();
    let last = json!(["/bin/sh", "-c", "kill -9 $$"]);
    assert_eq!(
        told[0],
        (r"/bin/echo 'a b' '' über 'it'\''s'", "/bin/echo", &json!(["/bin/echo", "a b", "", "über", "it's"]))
    );
    assert_eq!(told.last(), Some(&("/bin/sh -c 'kill -9 $$'", "/bin/sh", &last)));
    let echo = &starts[0];
    assert_eq!((echo.text("comm"), echo.text("shell_comm")), ("echo", "dash"));
    assert!(echo.text("tty").starts_with("pts/"), "{echo:?}");

    let env = records.clone().only(|record| record.text("data") == "env sh -c 'exit 7'");
    let told: Vec<_> = env.0.iter().map(|it| (it.text("stage"), it.0["status"].as_i64())).collect();
    assert_eq!(told, [("start", None), ("end", Some(7))]);
    let end = programs(&records, pid, "end").pop().expect("the end of sh");
    assert_eq!((end.pid(), end.text("result"), end.0["status"].as_i64()), (pid, "killed", Some(137)));
    assert_eq!(
        lines(&records, pid),
        ["/bin/echo 'a b' '' über \"it's\"", "(env sh -c 'exit 7')", "exec /bin/sh -c 'kill -9 $$'"]
    );
}

#[test]
fn long_arguments_of_any_bytes_are_whole() {
    let capture = capture();
    let long: Vec<Vec<u8>> =
        (0..8).map(|n| (0..130_000u32).map(|i| (i * 7 + n) as u8 | 1).collect()).collect();
    let mut arguments = vec![OsString::from("/bin/true \"$@\"; :"), OsString::from("name")];
    arguments.extend(long.iter().cloned().map(OsString::from_vec));
    let shell = script(&arguments);
    let records = capture.stop().complete_commands();
    let [start] = &programs(&records, shell, "start")[..] else { panic!("one program") };
    let argv = start.0["argv"].as_array().expect("arguments");
    assert_eq!(argv[0], "/bin/true");
    let decoded = argv[1..].iter().map(|word| STANDARD.decode(word["data_b64"].as_str().expect("base64")));
    assert!(decoded.map(|word| word.expect("base64")).eq(long));
}

#[test]
fn many_programs_at_once_are_told_once_each() {
    let capture = capture();
    let loop_of = |n: u32| format!("for i in $(seq 50); do /bin/echo {n}.$i > /dev/null & done; wait");
    let shells: Vec<Running> =
        (0..4).map(|n| Running::start(Command::new("dash").args(["-c", &loop_of(n)]))).collect();
    let pids: Vec<u32> = shells.iter().map(Running::pid).collect();
    shells.into_iter().for_each(|shell| drop(shell.finish()));
    let records = capture.stop().complete_commands();
    for (n, pid) in pids.into_iter().enumerate() {
        for stage in ["start", "end"] {
            let echo = programs(&records, pid, stage).into_iter().filter(|it| it.text("path") == "/bin/echo");
            let mut told: Vec<Value> = echo.map(|record| record.0["argv"][1].clone()).collect();
            told.sort_by_key(|word| word.as_str().map(|word| word[2..].parse::<u32>().expect("a number")));
            let expected: Vec<Value> = (1..=50).map(|i| json!(format!("{n}.{i}"))).collect();
            assert_eq!(told, expected, "{stage}");
        }
    }
}

#[test]
fn scripts_with_their_own_name_are_shells() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("task");
    fs::write(&script, "#!/bin/sh\n/bin/true 1\n/bin/false 2\n:\n").expect("write");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let capture = capture();
    let running = Running::start(&mut Command::new(&script));
    let pid = running.pid();
    running.finish();
    let records = capture.stop().complete_commands();
    let told: Vec<_> = programs(&records, pid, "end")
        .iter()
        .map(|record| (record.text("data").to_owned(), record.0["status"].as_i64()))
        .collect();
    assert_eq!(told, [("/bin/true 1".to_owned(), Some(0)), ("/bin/false 2".to_owned(), Some(1))]);
    assert_eq!(programs(&records, pid, "start")[0].text("shell_comm"), "task");
}

#[test]
fn what_is_typed_without_echo_is_not_recorded() {
    let capture = capture();
    let mut shell = Terminal::shell(&mut dash());
    let pid = shell.running.pid();
    shell.type_in("stty -echo; /bin/echo asks; read x; stty echo; /bin/echo has $x | wc -c\n");
    shell.wait_for("\r\nasks");
    shell.type_in("s3cret\n");
    shell.wait_for("\r\n11");
    wait_until_it_reads(&shell);
    // Typed before anyone reads it, which happens when echo is on again.
    shell.type_in("stty -echo; /bin/echo waits; sleep 1; stty echo\n");
    shell.wait_for("\r\nwaits");
    shell.type_in("/bin/echo un''seen s3''cret\n");
    shell.wait_for("unseen");
    wait_until_it_reads(&shell);
    shell.type_in("/bin/echo visible again\n");
    shell.wait_for("\r\nvisible again");
    shell.type_in("/bin/echo 1\n/bin/echo 2\nexit\n");
    shell.running.finish();
    let records = capture.stop().complete_commands();
    let told = lines(&records, pid);
    assert!(told[0].starts_with("stty -echo;") && told[1].starts_with("stty -echo;"), "{told:?}");
    assert_eq!(told[2..], ["/bin/echo visible again", "/bin/echo 1", "/bin/echo 2", "exit"]);
    let of_lines = records.only(|record| record.kind() == "shell line");
    let is_secret = |record: &Record| ["s3", "seen"].iter().any(|it| record.text("data").contains(it));
    assert!(!of_lines.0.iter().any(is_secret), "{of_lines:?}");
}

#[test]
fn secrets_in_arguments_are_hidden_everywhere() {
    let capture = Capture::commands("shell", ["--redact"]);
    let shell = script(&[OsString::from("/bin/true 'Authorization: Bearer s3cret4711'; /bin/true plain; :")]);
    let starts = programs(&capture.stop().complete_commands(), shell, "start");
    let [hidden, plain] = &starts[..] else { panic!("two programs") };
    assert!(hidden.text("data").contains("[redacted]") && !hidden.has("argv"), "{hidden:?}");
    assert!(!format!("{hidden:?}").contains("s3cret"), "{hidden:?}");
    assert_eq!(plain.0["argv"], json!(["/bin/true", "plain"]));
}

#[test]
fn only_programs_if_asked() {
    let capture = Capture::commands("shell", ["--no-lines"]);
    let mut shell = Terminal::shell(&mut dash());
    let pid = shell.running.pid();
    shell.type_in("/bin/true 1\nexit\n");
    shell.running.finish();
    let records = capture.stop().complete_commands();
    assert_eq!((programs(&records, pid, "end").len(), lines(&records, pid).len()), (1, 0));
}

#[test]
fn only_what_descends_from_a_process() {
    let mut shells = [Terminal::shell(&mut dash()), Terminal::shell(&mut dash())];
    let pids = [shells[0].running.pid(), shells[1].running.pid()];
    let capture = Capture::commands("shell", ["-p", &pids[0].to_string()]);
    for shell in &mut shells {
        shell.type_in("env sh -c '/bin/true inner; :'\n/bin/echo d''one\n");
        shell.wait_for("done");
    }
    let records = capture.stop().complete_commands();
    assert!(programs(&records, pids[1], "start").is_empty());
    let starts = records.only(|record| record.text("stage") == "start");
    let told: Vec<_> = starts.0.iter().map(|record| record.text("data")).collect();
    assert_eq!(told, ["env sh -c '/bin/true inner; :'", "/bin/true inner", "/bin/echo done"]);
}

#[test]
fn only_programs_of_a_user_or_with_a_name_or_status() {
    let shell = |uid| {
        let mut command = Command::new("dash");
        Running::start(command.args(["-c", "/bin/true; /bin/false; /bin/echo 1; :"]).uid(uid)).finish();
    };
    for (options, expected) in [
        (["-u", "65534"], &["/bin/true", "/bin/false", "/bin/echo 1"][..]),
        (["--comm", "echo"], &["/bin/echo 1", "/bin/echo 1"]),
        (["-e", "1"], &["/bin/false", "/bin/false"]),
    ] {
        let own = [OsStr::new("--cgroup_path"), own_cgroup().as_os_str()];
        let capture = Capture::commands("shell", own.into_iter().chain(options.map(OsStr::new)));
        shell(0);
        shell(65534);
        let records = capture.stop().complete_commands().only(|record| record.text("stage") != "end");
        let told: Vec<_> = records.0.iter().map(|record| record.text("data")).collect();
        assert_eq!(told, expected, "{options:?}");
    }
}

#[test]
fn programs_of_other_names_are_shells_if_the_user_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("own-shell");
    fs::copy("/bin/dash", &copy).expect("copy");
    for (options, expected) in [(&["--shell", "own-shell"][..], 1), (&[], 0)] {
        let capture = Capture::commands("shell", options);
        let running = Running::start(Command::new(&copy).args(["-c", "/bin/true; :"]));
        let pid = running.pid();
        running.finish();
        assert_eq!(programs(&capture.stop().complete_commands(), pid, "start").len(), expected);
    }
}

#[test]
fn older_kernels_see_any_shell_as_well() {
    let mut command = ecapture();
    command.env("ECAPTURE_DISABLE_FEATURES", "modern");
    let capture =
        Capture::launch_as("shell", command, [OsStr::new("--cgroup_path"), own_cgroup().as_os_str()]);
    capture.wait_until_ready();
    let mut shell = Terminal::shell(&mut dash());
    let pid = shell.running.pid();
    let long = format!("/bin/echo {}", "x".repeat(4000));
    shell.type_in(format!("{long}\n(exit 3)\nexit\n"));
    shell.running.finish();
    let records = capture.stop().complete_commands();
    assert_eq!(lines(&records, pid), [&long, "(exit 3)", "exit"]);
    let ends = programs(&records, pid, "end");
    assert_eq!((ends.len(), ends[0].text("data")), (1, &*long));

    let mut command = ecapture();
    command.env("ECAPTURE_DISABLE_FEATURES", "btf");
    let refused = Running::start(command.arg("shell")).finish();
    assert!(refused.code() == 1 && refused.stderr.contains("no BTF"), "{}", refused.stderr);
}

#[test]
fn programs_for_people() {
    let mut command = ecapture();
    let running = Running::start(command.arg("shell").arg("--cgroup_path").arg(own_cgroup()));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    let shell = script(&[OsString::from("/bin/sh -c 'kill -9 $$' '\u{1b}[31m'; :")]);
    running.signal(Signal::INT);
    let text = running.finish().succeeded().text();
    let shown = format!("Comm:sh, Shell:{shell} (dash), Path:/bin/sh, Type:shell program, ID:");
    assert!(text.contains(&shown), "{text}");
    assert!(text.contains(", Line:\n/bin/sh -c 'kill -9 $$' '\\x1b[31m'\n"), "{text}");
    assert!(text.contains(", Retvalue:137, Result:killed, Duration:0."), "{text}");
}
