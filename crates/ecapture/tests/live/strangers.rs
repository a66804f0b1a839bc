//! TLS libraries that can not be captured are named.

use std::process::{Command, Stdio};

use crate::capture::Capture;
use crate::lab::Lab;
use crate::packages::unpacked;
use crate::process::Running;

/// Runs a program that says `ready` and waits for the end of its input; ecapture must name what it has.
#[track_caller]
fn assert_named(program: &mut Command, file: &str, what: &str) {
    let program = Running::start_with_input(program.stdin(Stdio::piped()));
    program.line("\"ready\"", |line| (line == "ready").then_some(()));
    let captured = Capture::start(["-p", &program.pid().to_string()]).stop();
    program.finish().succeeded();
    let named: Vec<_> =
        captured.stderr.lines().filter(|line| line.contains(": can not be captured: ")).collect();
    let is_right = |line: &str| line.contains(file) && line.contains(what);
    assert!(matches!(named[..], [line] if is_right(line)), "{}", captured.stderr);
}

/// Says that it runs, and waits.
const JAVA: &str = r#"class Wait {
    public static void main(String[] arguments) throws Exception {
        System.out.println("ready");
        System.in.read();
    }
}"#;

#[test]
#[ignore = "needs a JDK"]
fn java() {
    let lab = Lab::new();
    lab.file("Wait.java", JAVA);
    assert_named(lab.command("java").arg("Wait.java"), "/libjvm.so", "Java");
}

#[test]
#[ignore = "fetches packages"]
fn mbed_tls() {
    let packages = ["libmbedtls14", "libmbedx509-1", "libmbedcrypto7"];
    let directories: Vec<_> = packages.iter().filter_map(|package| unpacked("bookworm", package)).collect();
    let lab = Lab::new();
    let mut python = lab.command("/usr/bin/python3");
    python.env("LD_LIBRARY_PATH", std::env::join_paths(directories).expect("paths")).args([
        "-c",
        "import ctypes, sys; ctypes.CDLL('libmbedtls.so.14'); print('ready', flush=True); sys.stdin.read()",
    ]);
    assert_named(&mut python, "/libmbedtls.so.14", "Mbed TLS");
}
