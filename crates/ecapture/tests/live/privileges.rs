//! Rights: what is enough, what is missed, and what is given up.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::capture::{Capture, ECAPTURE, clean};
use crate::http::{answer, request};
use crate::lab::{Lab, read_text};
use crate::pattern::assert_same;
use crate::process::Running;

const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// A copy of ecapture that every user can run.
fn copy_for_all(lab: &Lab) -> PathBuf {
    let copy = lab.path("ecapture");
    fs::copy(ECAPTURE, &copy).expect("copy ecapture");
    copy
}

/// `setpriv OPTIONS ecapture`
fn with_rights(lab: &Lab, options: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    clean(&mut command);
    command.args(options).arg(copy_for_all(lab));
    command
}

/// A capture of one exchange must work as that user.
#[track_caller]
fn captures(options: &[&str], by_library: bool) -> String {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let library = lab.libssl.to_str().expect("UTF-8");
    let command = with_rights(&lab, options);
    let capture = if by_library {
        Capture::with(command, ["--libssl", library])
    } else {
        Capture::everywhere_with(command)
    };
    let client = lab.client(server.port, "/bytes/70000/7", &[]);
    let captured = capture.stop();
    assert_eq!((captured.code, captured.attached(library)), (0, 1), "{}", captured.stderr);
    for pid in [client, server.running.pid()] {
        let connection = captured.records.of(pid).connection();
        assert!(
            connection.0.iter().all(|record| record.has("src") && record.has("dst")),
            "addresses: {}",
            captured.stderr
        );
    }
    let (sent, received) = captured.records.of(client).both_ways();
    assert_same(&sent, &request("/bytes/70000/7", None, 0, 0, 1), "the request");
    assert_same(&received, &answer(7, 70_000), "the answer");
    captured.stderr
}

#[test]
fn nobody_is_told_what_is_missing() {
    let lab = Lab::new();
    for arguments in [&["tls"][..], &["tls", "--libssl", lab.libssl.to_str().expect("UTF-8")]] {
        let finished = Running::start(with_rights(&lab, &NOBODY).args(arguments)).finish();
        assert_eq!(finished.code(), 1, "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("root") && finished.stderr.contains("CAP_BPF"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn each_missing_capability_is_named() {
    let lab = Lab::new();
    for (missing, words) in [("bpf", "CAP_BPF"), ("perfmon", "CAP_PERFMON")] {
        let bounding = format!("--bounding-set=-{missing},-sys_admin");
        let finished = Running::start(with_rights(&lab, &[&bounding]).arg("tls")).finish();
        assert_eq!(finished.code(), 1, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[test]
fn four_capabilities_are_enough() {
    let held = "+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let (inherited, ambient) = (format!("--inh-caps={held}"), format!("--ambient-caps={held}"));
    let options = [&NOBODY[..], &[&inherited, &ambient]].concat();
    captures(&options, false);
    captures(&options, true);
}

#[test]
fn without_the_right_to_raise_limits() {
    let stderr = captures(&["--bounding-set=-sys_resource"], false);
    assert!(!stderr.contains(" WARN "), "{stderr}");
}

/// Name and effective capabilities of each thread.
fn threads(pid: u32) -> Vec<(String, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let each = |status: String| {
        let value = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned()
        };
        (
            value("Name:"),
            u64::from_str_radix(&value("CapEff:"), 16).expect("hex")
                | u64::from_str_radix(&value("CapPrm:"), 16).expect("hex"),
        )
    };
    threads.map(|thread| each(read_text(thread.expect("an entry").path().join("status")))).collect()
}

/// DAC_READ_SEARCH, SYS_PTRACE, PERFMON, BPF, CHECKPOINT_RESTORE: to attach to programs that start later.
const TO_ATTACH: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39 | 1 << 40;

#[test]
fn rights_are_given_up() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    for by_library in [false, true] {
        let capture = if by_library { lab.capture() } else { Capture::everywhere() };
        // All threads run by then.
        let client = lab.client(server.port, "/bytes/100/7", &[]);
        capture.wait_for_record("the exchange", |record| record.pid() == client);
        let threads = threads(capture.pid());
        assert!(
            ["ring", "pipeline"].iter().all(|name| threads.iter().any(|thread| thread.0 == *name)),
            "{threads:?}"
        );
        for (name, held) in &threads {
            let may = match &**name {
                "output" => 1 << 1, // DAC_OVERRIDE, to make new files
                _ if by_library => 0,
                "ecapture" => TO_ATTACH,
                "ready" => 1 << 38 | 1 << 39, // PERFMON, BPF
                _ => 0,
            };
            assert_eq!(held & !may, 0, "{name} holds {held:#x}");
        }
        capture.stop().complete();
    }
}
