//! How a run begins and ends, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::capture::{Capture, ECAPTURE, clean, ecapture};
use crate::http::{answer, request};
use crate::lab::{Lab, target};
use crate::pattern::{self, assert_same};
use crate::process::{Finished, Running, wait_for};

#[test]
fn signals_end_it_with_a_summary() {
    for signal in [Signal::INT, Signal::TERM] {
        let lab = Lab::new();
        let server = lab.server(&[]);
        let capture = lab.capture();
        lab.client(server.port, "/bytes/1000/7", &["--connections", "2"]);
        let captured = capture.stop_with(signal);
        assert_eq!(captured.code, 0, "{}", captured.stderr);
        assert_eq!(captured.attached(""), 1, "{}", captured.stderr);
        let summary = captured.summary();
        assert_eq!((summary.get("processes"), summary.get("connections")), (2, 4));
        let moved: usize = (0..2)
            .map(|index| answer(7, 1000).len() + request("/bytes/1000/7", None, index, 0, 1).len())
            .sum();
        assert_eq!(summary.get("bytes"), 2 * moved as u64);
        assert_eq!(summary.get("lost"), 0);
        assert!(summary.get("events") >= 8);
    }
}

#[test]
fn without_traffic() {
    let lab = Lab::new();
    let captured = lab.capture().stop();
    assert_eq!(captured.summary().get("connections"), 0);
    assert!(captured.complete().0.is_empty());
}

/// Where the code of a library is in a process and in its file: address, offset, length.
fn code_of(pid: u32, library: &Path) -> (u64, u64, usize) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let name = library.to_str().expect("UTF-8");
    let line = maps
        .lines()
        .find(|line| line.ends_with(name) && line.contains(" r-xp "))
        .expect("the library's code");
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next().and_then(|range| range.split_once('-')).expect("a range");
    let offset = words.nth(1).expect("an offset");
    let number = |text| u64::from_str_radix(text, 16).expect("a number");
    (number(start), number(offset), (number(end) - number(start)) as usize)
}

/// How many bytes of a library's code differ between a process and the file: probes.
fn changed_bytes(pid: u32, library: &Path) -> usize {
    let (address, offset, length) = code_of(pid, library);
    let (mut memory, mut file) = (vec![0; length], vec![0; length]);
    fs::File::open(format!("/proc/{pid}/mem"))
        .expect("memory")
        .read_exact_at(&mut memory, address)
        .expect("memory");
    let whole = fs::read(library).expect("the library");
    let present = whole.len().min(offset as usize + length) - offset as usize;
    file[..present].copy_from_slice(&whole[offset as usize..][..present]);
    memory[..present].iter().zip(&file[..present]).filter(|(a, b)| a != b).count()
}

/// Ids of BPF objects that a process holds.
fn bpf_objects(pid: u32) -> Vec<(&'static str, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("descriptors") {
        let info = fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
        for kind in ["prog_id:", "link_id:", "map_id:"] {
            let id = info.lines().find_map(|line| line.strip_prefix(kind)?.trim().parse().ok());
            found.extend(id.map(|id| (kind, id)));
        }
    }
    found
}

fn exists((kind, id): (&str, u32)) -> bool {
    use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
    match kind {
        "prog_id:" => ProgInfoIter::default().any(|program| program.id == id),
        "map_id:" => MapInfoIter::default().any(|map| map.id == id),
        _ => LinkInfoIter::default().any(|link| link.id == id),
    }
}

/// Names in a directory; none when it is not there.
fn names(directory: &str) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    names.sort();
    names
}

#[track_caller]
fn nothing_is_left_after(end: impl FnOnce(Capture)) {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let pid = server.running.pid();
    let temporary = lab.path("temporary");
    fs::create_dir(&temporary).expect("a directory");
    let pinned = names("/sys/fs/bpf");
    assert_eq!(changed_bytes(pid, &lab.libssl), 0);
    let mut command = ecapture();
    command.env("TMPDIR", &temporary);
    let capture = Capture::everywhere_with(command);
    lab.client(server.port, "/bytes/1000/7", &[]);
    assert_ne!(changed_bytes(pid, &lab.libssl), 0, "this test sees probes");
    let objects = bpf_objects(capture.pid());
    assert!(
        objects.iter().any(|object| object.0 == "prog_id:") && objects.iter().all(|object| exists(*object))
    );

    end(capture);
    wait_for("the end of every probe", || (changed_bytes(pid, &lab.libssl) == 0).then_some(()));
    wait_for("the end of every BPF object", || objects.iter().all(|object| !exists(*object)).then_some(()));
    assert_eq!(names("/sys/fs/bpf"), pinned);
    assert!(names(temporary.to_str().expect("UTF-8")).is_empty());
    // And the program goes on working.
    lab.client(server.port, "/bytes/1000/7", &[]);
}

#[test]
fn nothing_is_left_after_a_signal() {
    nothing_is_left_after(|capture| assert_eq!(capture.stop().code, 0));
}

#[test]
fn nothing_is_left_after_kill_9() {
    nothing_is_left_after(|capture| drop(capture.stop_with(Signal::KILL)));
}

#[test]
fn kill_9_in_the_middle_of_traffic() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let client = lab.start_client(server.port, "/bytes/100000/7", &["--connections", "200"]);
    let pid = client.pid();
    capture.wait_for_record("traffic", |record| record.pid() == pid);
    capture.stop_with(Signal::KILL);
    assert_eq!(client.finish().succeeded().text().trim(), (200 * 100_000).to_string());
    wait_for("the end of every probe", || {
        (changed_bytes(server.running.pid(), &lab.libssl) == 0).then_some(())
    });
}

/// What programs do must not depend on being watched.
#[test]
fn watched_programs_do_the_same() {
    let lab = Lab::new();
    let nginx = lab.nginx("");
    let server = lab.server(&["--early-data", "16384"]);
    lab.file("www/page", pattern::body(8, 50_000));
    let run = || {
        let client = |options: &[&str], path: &str| lab.start_client(server.port, path, options).finish();
        let curl = |path: &str| {
            let url = format!("https://127.0.0.1:{}{path}", nginx.port);
            let mut command = lab.command("curl");
            Running::start(command.args(["-sk", "-w", "%{http_code} %{size_download} %{exitcode}", &url]))
                .finish()
        };
        [
            curl("/page"),
            curl("/nothing"),
            client(&[], "/bytes/100000/7"),
            client(&["--upload", "300000", "--partial-write", "--nonblocking"], "/up"),
            client(&["--early-data", "--connections", "3"], "/bytes/100/7"),
            client(&["--memory-bio"], "/bytes/100000/7"),
            client(&["--threads", "3", "--requests", "4"], "/bytes/100000/7"),
            Running::start(lab.command(target("tls_client")).args(["127.0.0.1", "1", "/"])).finish(),
        ]
        .map(|Finished { status, stdout, stderr }| (status, stdout, stderr))
    };
    let unwatched = run();
    let capture = lab.capture();
    assert_eq!(run(), unwatched);
    capture.stop().complete();
    assert_eq!(run(), unwatched);
}

#[test]
fn a_closed_pipe_ends_it() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let script = format!(
        "{ECAPTURE} tls --libssl {} | head -n 1; echo \"codes ${{PIPESTATUS[*]}}\"",
        lab.libssl.display()
    );
    let mut command = Command::new("bash");
    clean(&mut command);
    let mut running = Running::start(command.args(["-c", &script]));
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    // It notices when it writes again.
    wait_for("the end of ecapture", || {
        lab.client(server.port, "/bytes/1000/7", &[]);
        running.ended()
    });
    let finished = running.finish();
    assert!(finished.text().ends_with("codes 0 0\n"), "{}{}", finished.text(), finished.stderr);
    assert!(finished.text().contains("PID:") && !finished.stderr.contains("ERROR"), "{}", finished.stderr);
    assert!(finished.stderr.contains("summary: "), "{}", finished.stderr);
}

#[test]
fn a_full_device_ends_it_with_2() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    for output in ["--output_file", "--eventaddr"] {
        let running = Running::start(
            ecapture().arg("tls").arg("--libssl").arg(&lab.libssl).args([output, "/dev/full"]),
        );
        running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
        lab.client(server.port, "/bytes/1000/7", &[]);
        let finished = running.finish();
        assert_eq!(finished.code(), 2, "{}", finished.stderr);
        let line = finished.stderr.lines().find(|line| line.contains("/dev/full")).expect("a message");
        assert!(line.contains("No space left on device"), "{line}");
    }
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = ecapture();
    command
        .arg("tls")
        .arg("--libssl")
        .arg(&lab.libssl)
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped());
    let running = Running::start_as_is(&mut command);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    lab.client(server.port, "/bytes/1000/7", &[]);
    let finished = running.finish();
    assert_eq!(finished.code(), 2, "{}", finished.stderr);
    assert!(finished.stderr.contains("standard output"), "{}", finished.stderr);
}

#[test]
fn a_process_that_exits_ends_it() {
    for by_library in [false, true] {
        let lab = Lab::new();
        let server = lab.server(&[]);
        let pid = server.running.pid().to_string();
        let mut arguments = vec!["-p", &pid];
        if by_library {
            arguments.extend(["--libssl", lab.libssl.to_str().expect("UTF-8")]);
        }
        let capture = Capture::start(arguments);
        lab.client(server.port, "/bytes/1000/7", &[]);
        let server_pid = server.running.pid();
        drop(server);
        let captured = capture.finish();
        assert_eq!(captured.code, 0, "{}", captured.stderr);
        assert!(captured.stderr.contains("every process given with --pid has ended"), "{}", captured.stderr);
        assert_same(
            &captured.complete().of(server_pid).both_ways().0,
            &answer(7, 1000),
            "what it said before",
        );
    }
}
