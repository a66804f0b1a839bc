//! Which processes are captured.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::capture::{Capture, cgroup_root};
use crate::http::{answer, request};
use crate::lab::{Lab, target};
use crate::pattern::assert_same;
use crate::process::{Running, wait_for};
use crate::record::{Record, Records};

/// Captures the programs of a lab with more arguments.
fn capture(lab: &Lab, arguments: &[&str]) -> Capture {
    Capture::start(
        [OsStr::new("--libssl"), lab.libssl.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)),
    )
}

/// Processes that were captured.
fn pids(records: &Records) -> Vec<u32> {
    let mut pids: Vec<u32> = records.0.iter().map(Record::pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// `tls_client` as this user.
#[track_caller]
fn client_of(lab: &Lab, uid: u32, port: u16) -> u32 {
    let mut command = lab.command("setpriv");
    command.arg(format!("--reuid={uid}")).arg("--clear-groups").arg(target("tls_client"));
    let running = Running::start(command.args(["127.0.0.1", &port.to_string(), "/bytes/64/7"]));
    let pid = running.pid();
    running.finish().succeeded();
    pid
}

#[test]
fn by_process() {
    let lab = Lab::new();
    let servers = [lab.server(&[]), lab.server(&[]), lab.server(&[])];
    let id = |index: usize| servers[index].running.pid();
    let one = capture(&lab, &["-p", &id(0).to_string()]);
    let two = capture(&lab, &["--pid", &id(0).to_string(), "-p", &id(2).to_string()]);
    let all = capture(&lab, &["-p", "0"]);
    for server in &servers {
        lab.client(server.port, "/bytes/64/7", &[]);
    }
    assert_eq!(pids(&one.stop().complete()), [id(0)]);
    let mut expected = vec![id(0), id(2)];
    expected.sort_unstable();
    assert_eq!(pids(&two.stop().complete()), expected);
    assert_eq!(pids(&all.stop().complete()).len(), 6);
}

#[test]
fn by_process_without_a_library() {
    let lab = Lab::new();
    let servers = [lab.server(&[]), lab.server(&[])];
    let pid = servers[1].running.pid();
    let capture = Capture::start(["--pid", &pid.to_string()]);
    for server in &servers {
        lab.client(server.port, "/bytes/64/7", &[]);
    }
    let captured = capture.stop();
    assert_eq!(captured.attached(""), 1, "{}", captured.stderr);
    assert_eq!(pids(&captured.complete()), [pid]);
}

#[test]
fn by_user() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (root, other) = (capture(&lab, &["-u", "0"]), capture(&lab, &["-u", "65534"]));
    let both = capture(&lab, &["-u", "65534", "--uid", "1"]);
    let clients = [0, 1, 65534].map(|uid| client_of(&lab, uid, server.port));
    assert_eq!(pids(&root.stop().complete()), sorted(&[clients[0], server.running.pid()]));
    assert_eq!(pids(&other.stop().complete()), [clients[2]]);
    assert_eq!(pids(&both.stop().complete()), sorted(&[clients[1], clients[2]]));
}

fn sorted(pids: &[u32]) -> Vec<u32> {
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    pids
}

#[test]
fn by_name() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let long = lab.path("a_name_of_more_than_15_characters");
    fs::copy(target("tls_client"), &long).expect("copy a program");
    let client = capture(&lab, &["--comm", "tls_client"]);
    let cut = capture(&lab, &["--comm", "a_name_of_more_than_15_characters"]);
    let no_server = capture(&lab, &["--exclude-comm", "tls_server"]);
    let neither = capture(&lab, &["--exclude-comm", "tls_server", "--exclude-comm", "tls_client"]);
    let either = capture(&lab, &["--comm", "tls_server", "--comm", "tls_client"]);
    let none = capture(&lab, &["--comm", "tls_client", "--pid", &server.running.pid().to_string()]);
    let short_pid = lab.client(server.port, "/bytes/64/7", &[]);
    let running =
        Running::start(lab.command(&long).args(["127.0.0.1", &server.port.to_string(), "/bytes/64/7"]));
    let long_pid = running.pid();
    running.finish().succeeded();
    assert_eq!(pids(&client.stop().complete()), [short_pid]);
    assert_eq!(pids(&cut.stop().complete()), [long_pid]);
    assert_eq!(pids(&no_server.stop().complete()), sorted(&[short_pid, long_pid]));
    assert_eq!(pids(&neither.stop().complete()), [long_pid]);
    assert_eq!(pids(&either.stop().complete()), sorted(&[short_pid, server.running.pid()]));
    assert_eq!(pids(&none.stop().complete()), [0; 0]);
}

/// A cgroup v2 directory; removed when dropped, after those below it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(above: &Path, name: &str) -> Self {
        let path = above.join(name);
        fs::create_dir(&path).expect("make a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        wait_for("an empty cgroup", || fs::remove_dir(&self.0).ok());
    }
}

#[track_caller]
fn client_in(lab: &Lab, cgroup: &Path, port: u16) -> u32 {
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} 127.0.0.1 {port} /bytes/64/7",
        cgroup.display(),
        target("tls_client").display()
    );
    let running = Running::start(lab.command("sh").args(["-c", &script]));
    let pid = running.pid();
    running.finish().succeeded();
    pid
}

#[test]
fn by_cgroup_and_below() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let root = cgroup_root();
    let name = format!("ecapture-test-{}", std::process::id());
    let parent = Cgroup::new(&root, &name);
    let child = Cgroup::new(&parent.0, "child");
    let below = Cgroup::new(&child.0, "below");
    let of = |path: &Path| capture(&lab, &["--cgroup_path", path.to_str().expect("UTF-8")]);
    let captures = [of(&root), of(&parent.0), of(&child.0), of(&below.0)];
    let clients = [&parent.0, &child.0, &below.0].map(|cgroup| client_in(&lab, cgroup, server.port));
    let found = captures.map(|capture| pids(&capture.stop().complete()));
    assert_eq!(found[0], sorted(&[&clients[..], &[server.running.pid()]].concat()));
    assert_eq!(found[1], sorted(&clients));
    assert_eq!(found[2], sorted(&clients[1..]));
    assert_eq!(found[3], [clients[2]]);
    drop((below, child, parent));
}

#[test]
fn two_captures_at_once_see_everything() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (first, second) = (lab.capture(), Capture::everywhere());
    let client = lab.client(server.port, "/bytes/300000/7", &[]);
    for records in [first.stop().complete(), second.stop().records] {
        let (sent, received) = records.of(client).both_ways();
        assert_same(&sent, &request("/bytes/300000/7", None, 0, 0, 1), "the request");
        assert_same(&received, &answer(7, 300_000), "the answer");
        assert_same(&records.of(server.running.pid()).both_ways().0, &answer(7, 300_000), "the server");
    }
    // The second goes on when the first has ended.
    let (first, second) = (lab.capture(), lab.capture());
    first.stop().complete();
    let client = lab.client(server.port, "/bytes/64/7", &[]);
    assert_same(&second.stop().complete().of(client).both_ways().1, &answer(7, 64), "the answer");
}
