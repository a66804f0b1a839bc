//! `ecapture tls` without options finds every OpenSSL in use, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::capture::{Capture, Captured};
use crate::http::{answer, request};
use crate::lab::{Lab, say, target};
use crate::pattern::assert_same;
use crate::process::{Running, output_of, wait_for};
use crate::record::Records;

const PATH: &str = "/bytes/3000/7";

#[track_caller]
fn assert_client(records: &Records, pid: u32) {
    let (sent, received) = records.of(pid).both_ways();
    assert_same(&sent, &request(PATH, None, 0, 0, 1), "the client's request");
    assert_same(&received, &answer(7, 3000), "the client's answer");
}

#[track_caller]
fn assert_attached_once(captured: &Captured, path: &Path) {
    let path = path.to_str().expect("UTF-8");
    assert_eq!(captured.code, 0, "{}", captured.stderr);
    assert_eq!(captured.attached(path), 1, "{}", captured.stderr);
    assert!(
        !captured.stderr.lines().any(|line| line.contains(" WARN ") && line.contains(path)),
        "{}",
        captured.stderr
    );
}

#[test]
fn a_library_of_a_running_process() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = Capture::start([""; 0]);
    let clients: Vec<u32> = (0..10).map(|_| lab.client(server.port, PATH, &[])).collect();
    let captured = capture.stop();
    assert_attached_once(&captured, &lab.libssl);
    let is_whole =
        |pid: &u32| captured.records.of(*pid).0.iter().any(|record| record.data() == answer(7, 3000));
    if captured.summary().get("lost") == 0 {
        clients.iter().for_each(|client| assert_client(&captured.records, *client));
        assert_eq!(captured.records.of(server.running.pid()).connections().len(), 10);
    } else {
        // Other traffic of this machine filled the buffer.
        assert!(clients.iter().any(is_whole), "{}", captured.stderr);
    }
}

#[test]
fn a_library_that_is_first_used_later() {
    let (lab, other) = (Lab::new(), Lab::new());
    let server = other.server(&[]);
    let capture = Capture::everywhere();
    // How soon after its first use a library is hooked is measured by bench; here only that it is.
    let early = lab.start_client(server.port, PATH, &["--exit-delay", "60000"]);
    capture.wait_for_line(&format!("attached {}", lab.libssl.display()));
    drop(early);
    let client = lab.client(server.port, PATH, &[]);
    let captured = capture.stop();
    assert_attached_once(&captured, &lab.libssl);
    assert_client(&captured.records, client);
}

/// Loads OpenSSL when it is told to, and then makes a request.
const LATE_PYTHON: &str = r#"
import sys, socket
port = int(sys.stdin.readline())
import ssl
print('loaded', flush=True)
sys.stdin.readline()
context = ssl.create_default_context(cafile='cert.pem')
with context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname='localhost') as s:
    s.sendall(b'GET /late HTTP/1.1\r\nConnection: close\r\n\r\n')
    while s.recv(100000):
        pass
"#;

#[test]
fn a_library_that_a_running_process_loads() {
    let (lab, other) = (Lab::new(), Lab::new());
    let server = other.server(&[]);
    let mut command = lab.command("/usr/bin/python3");
    let mut python = Running::start_with_input(command.args(["-c", LATE_PYTHON]).stdin(Stdio::piped()));
    let pid = python.pid();
    let mut input = python.input();
    let capture = Capture::everywhere();
    say(&mut input, &format!("{}\n", server.port));
    python.line("the import of ssl", |line| (line == "loaded").then_some(()));
    capture.wait_for_line(&format!("attached {}", lab.libssl.display()));
    say(&mut input, "go\n");
    python.finish().succeeded();
    let captured = capture.stop();
    assert_attached_once(&captured, &lab.libssl);
    assert_same(
        &captured.records.of(pid).both_ways().0,
        b"GET /late HTTP/1.1\r\nConnection: close\r\n\r\n",
        "the request",
    );
}

/// Runs a program once so that it is found, waits until `attached` is, and runs it again; answers the second process.
#[track_caller]
fn second_run(capture: &Capture, attached: &str, command: &mut Command) -> u32 {
    Running::start(command).finish().succeeded();
    capture.wait_for_line(&format!("attached {attached}"));
    let second = Running::start(command);
    let pid = second.pid();
    second.finish().succeeded();
    pid
}

#[test]
fn a_library_that_is_opened_at_run_time() {
    let (lab, other) = (Lab::new(), Lab::new());
    let server = other.server(&[]);
    let capture = Capture::everywhere();
    let plugin = lab.path("plugin-with-a-name-of-its-own.so");
    fs::rename(&lab.libssl, &plugin).expect("rename");
    let mut command = Command::new(target("tls_client_dlopen"));
    command.env("LIBSSL", &plugin).args(["127.0.0.1", &server.port.to_string(), PATH]);
    let client = second_run(&capture, plugin.to_str().expect("UTF-8"), &mut command);
    let captured = capture.stop();
    assert_attached_once(&captured, &plugin);
    assert_client(&captured.records, client);
}

#[test]
fn a_static_program_with_symbols() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let program = lab.path("static_client");
    fs::copy(target("tls_client_static"), &program).expect("copy a program");
    let capture = Capture::everywhere();
    let mut command = Command::new(&program);
    let client = second_run(
        &capture,
        program.to_str().expect("UTF-8"),
        command.args(["127.0.0.1", &server.port.to_string(), PATH]),
    );
    let captured = capture.stop();
    assert_attached_once(&captured, &program);
    assert_client(&captured.records, client);
}

#[test]
fn a_library_that_was_replaced_on_disk() {
    let (lab, other) = (Lab::new(), Lab::new());
    let server = lab.server(&[]);
    // As a package upgrade does: the running server keeps the old file, which has no name any more.
    fs::remove_file(&lab.libssl).expect("remove");
    fs::copy(&other.libssl, &lab.libssl).expect("copy");
    let capture = Capture::everywhere();
    other.client(server.port, PATH, &[]);
    let captured = capture.stop();
    assert_same(
        &captured.records.of(server.running.pid()).both_ways().0,
        &answer(7, 3000),
        "the server's answer",
    );
}

#[test]
fn names_of_one_file_count_once() {
    let lab = Lab::new();
    let directories = ["hard", "soft"].map(|name| lab.path(name));
    for directory in &directories {
        fs::create_dir(directory).expect("a directory");
    }
    let name = crate::lab::SONAME;
    fs::hard_link(&lab.libssl, directories[0].join(name)).expect("a link");
    std::os::unix::fs::symlink(&lab.libssl, directories[1].join(name)).expect("a link");
    let server = lab.server(&[]);
    let mut waiting: Vec<Running> = directories
        .iter()
        .map(|directory| {
            let mut command = lab.command(target("tls_server"));
            let running = Running::start(command.env("LD_LIBRARY_PATH", directory).arg("0"));
            crate::lab::ready_port(&running);
            running
        })
        .collect();
    let capture = Capture::everywhere();
    let client = lab.client(server.port, PATH, &[]);
    waiting.clear();
    let captured = capture.stop();
    let attached = captured.attached(lab.path("").to_str().expect("UTF-8"));
    assert_eq!(attached, 1, "{}", captured.stderr);
    assert_client(&captured.records, client);
}

/// Maps files as code, says so, and waits for the end of its input.
const MAPPER: &str = r"
import mmap, sys
maps = []
for name in sys.argv[1:]:
    file = open(name, 'rb')
    maps.append(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC))
print('mapped', flush=True)
sys.stdin.read()
";

#[test]
fn broken_libraries_cost_a_warning_at_most() {
    let lab = Lab::new();
    let whole = fs::read(&lab.libssl).expect("libssl");
    let mut flipped = whole.clone();
    flipped[64..4096].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let broken: Vec<PathBuf> = [
        ("1/libssl.so.3", &whole[..whole.len() / 2]),
        ("2/libssl.so.3", &whole[..100]),
        ("3/libssl.so.3", &flipped),
        ("4/libssl.so.3", b"not a library at all".as_slice()),
    ]
    .into_iter()
    .map(|(name, contents)| {
        fs::create_dir_all(lab.path(name).parent().expect("a directory")).expect("a directory");
        lab.file(name, contents)
    })
    .collect();
    let mapper = || {
        let mut command = Command::new("/usr/bin/python3");
        let mut running =
            Running::start_with_input(command.arg("-c").arg(MAPPER).args(&broken).stdin(Stdio::piped()));
        let input = running.input();
        running.line("\"mapped\"", |line| (line == "mapped").then_some(()));
        (running, input)
    };
    let _before = mapper();
    let server = lab.server(&[]);
    let capture = Capture::everywhere();
    let (_after, _once_more) = (mapper(), mapper());
    let client = lab.client(server.port, PATH, &[]);
    let captured = capture.stop();
    assert_client(&captured.records, client);
    for path in &broken {
        let path = path.to_str().expect("UTF-8");
        let lines = captured.stderr.lines().filter(|line| line.contains(path)).collect::<Vec<_>>();
        assert!(lines.len() <= 1, "{lines:#?}");
        assert_eq!(captured.attached(path), 0);
    }
}

#[test]
fn only_the_named_library() {
    let (lab, other) = (Lab::new(), Lab::new());
    let (server, other_server) = (lab.server(&[]), other.server(&[]));
    let capture = lab.capture();
    let client = lab.client(server.port, PATH, &[]);
    other.client(other_server.port, PATH, &[]);
    let captured = capture.stop();
    assert_eq!(captured.attached(""), 1, "{}", captured.stderr);
    let records = captured.complete();
    assert_client(&records, client);
    assert!(records.0.iter().all(|record| [client, server.running.pid()].contains(&record.pid())));
}

/// OpenSSL 1.1.1 as the wheel of psycopg2 brings it along: libssl and libcrypto.
fn openssl_1_1() -> &'static (PathBuf, PathBuf) {
    static FILES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FILES.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openssl-1.1");
        let directory = kept.to_str().expect("UTF-8");
        let libraries = kept.join("psycopg2_binary.libs");
        if !libraries.exists() {
            fs::create_dir_all(&kept).expect("a directory");
            let platform = format!("manylinux2014_{}", std::env::consts::ARCH);
            let download =
                "-m pip download -q --no-deps --only-binary :all: --python-version 3.11 --platform";
            let arguments: Vec<&str> =
                download.split(' ').chain([&*platform, "-d", directory, "psycopg2-binary==2.9.9"]).collect();
            output_of("/usr/bin/python3", &arguments);
            let wheel = find(&kept, "psycopg2_binary-2.9.9");
            output_of(
                "/usr/bin/python3",
                &["-m", "zipfile", "-e", wheel.to_str().expect("UTF-8"), directory],
            );
        }
        (find(&libraries, "libssl-"), find(&libraries, "libcrypto-"))
    })
}

fn find(directory: &Path, prefix: &str) -> PathBuf {
    let mut entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .expect(prefix)
}

/// Makes a directory that a program can have as its root: the program as `/client`, with all libraries of a
/// directory, and what both need.
fn root_for(program: &Path, libraries: &Path, directory: &Path) {
    fs::create_dir_all(directory.join("lib")).expect("a directory");
    fs::copy(program, directory.join("client")).expect("copy a program");
    let libraries =
        fs::read_dir(libraries).expect("a directory").map(|entry| entry.expect("an entry").path());
    for file in libraries.chain([program.to_owned()]) {
        if file != program {
            fs::copy(&file, directory.join("lib").join(file.file_name().expect("a name")))
                .expect("copy a library");
        }
        let needed = output_of("ldd", &[file.to_str().expect("UTF-8")]);
        for path in
            needed.split_ascii_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'))
        {
            let path = Path::new(path);
            let is_loader = path.to_string_lossy().contains("ld-linux");
            let inside = if is_loader {
                path.strip_prefix("/").expect("absolute").into()
            } else {
                Path::new("lib").join(path.file_name().expect("a name"))
            };
            fs::create_dir_all(directory.join(&inside).parent().expect("a directory")).expect("a directory");
            fs::copy(path, directory.join(inside)).expect("copy a library");
        }
    }
}

#[test]
fn two_versions_at_once_one_in_a_namespace_of_its_own() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let (libssl, libcrypto) = openssl_1_1();
    let files = lab.path("files");
    root_for(&target("tls_client_dlopen"), libssl.parent().expect("a directory"), &files);
    // Only that namespace sees the file system in which the libraries are.
    let root = lab.path("root");
    fs::create_dir(&root).expect("a directory");
    let inside = |library: &Path| format!("/lib/{}", library.file_name().expect("a name").to_string_lossy());
    let client = format!("/client 127.0.0.1 {} {PATH}", server.port);
    let script = format!(
        "mount -t tmpfs none {root} && cp -a {files}/. {root} && export LD_LIBRARY_PATH=/lib LIBSSL={} LIBCRYPTO={} && \
         chroot {root} {client} && read -r _ && exec chroot {root} {client}",
        inside(libssl),
        inside(libcrypto),
        root = root.display(),
        files = files.display(),
    );
    let capture = Capture::everywhere();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", &script]).stdin(Stdio::piped());
    let mut running = Running::start_with_input(&mut command);
    let old = running.pid();
    let mut input = running.input();
    let line = capture.wait_for_line(&libssl.file_name().expect("a name").to_string_lossy());
    assert!(line.contains("attached") && line.contains("OpenSSL 1.1.1"), "{line}");
    say(&mut input, "go\n");
    running.finish().succeeded();
    let new = lab.client(server.port, PATH, &[]);
    let captured = capture.stop();
    assert_attached_once(&captured, &lab.libssl);
    assert_eq!(captured.attached("libssl-"), 1, "{}", captured.stderr);
    assert_client(&captured.records, new);
    assert_client(&captured.records, old);
    assert_eq!(captured.records.of(old).same("comm"), "client");
}

/// A program that uses no TLS, in a root directory of its own where another one could.
#[track_caller]
fn sleeper_in(root: &Path, library: &Path) -> Running {
    root_for(Path::new("/usr/bin/sleep"), library.parent().expect("a directory"), root);
    let sleeper = Running::start(Command::new("chroot").arg(root).args(["/client", "60"]));
    let own_root = format!("/proc/{}/root", sleeper.pid());
    wait_for("the change of the root", || (fs::read_link(&own_root).ok()? == root).then_some(()));
    sleeper
}

#[test]
fn a_library_that_nobody_uses_yet() {
    let lab = Lab::new();
    let (before, after) = (lab.path("before"), lab.path("after"));
    let first = sleeper_in(&before, &lab.libssl);
    let capture = Capture::everywhere();
    let attached = |pid: u32| format!("attached /lib/libssl.so.3 below the root of process {pid} ");
    capture.wait_for_line(&attached(first.pid()));
    let second = sleeper_in(&after, &lab.libssl);
    capture.wait_for_line(&attached(second.pid()));
    let captured = capture.stop();
    assert_eq!(captured.attached("/lib/libssl.so.3 below"), 2, "{}", captured.stderr);
}

/// A probe in the middle of an instruction of the new contents would break the program.
#[test]
fn a_file_that_is_overwritten_loses_its_probes_and_gets_new_ones() {
    let (lab, other) = (Lab::new(), Lab::new());
    let server = other.server(&[]);
    let capture = Capture::everywhere();
    let path = lab.libssl.to_str().expect("UTF-8");
    let client = second_run(&capture, path, &mut client_of(&lab, server.port));
    // Opened and written anew, as `cp` does: the same inode.
    fs::copy(&other.libssl, &lab.libssl).expect("overwritten");
    capture.wait_for_line("a hooked file was overwritten");
    let first = lab.start_client(server.port, PATH, &["--exit-delay", "60000"]);
    capture.wait_for_line(&format!("attached {path} of process {}", first.pid()));
    drop(first);
    let again = lab.client(server.port, PATH, &[]);
    let captured = capture.stop();
    assert_eq!(captured.code, 0, "{}", captured.stderr);
    assert_eq!(captured.attached(path), 2, "{}", captured.stderr);
    for pid in [client, again] {
        assert_client(&captured.records, pid);
    }
}

fn client_of(lab: &Lab, port: u16) -> Command {
    let mut command = lab.command(target("tls_client"));
    command.args(["127.0.0.1", &port.to_string(), PATH]);
    command
}

/// The first thread ends; another one goes on and makes a request on a connection that it had, when told to.
const HEADLESS_PYTHON: &str = r#"
import ctypes, os, socket, ssl, sys, threading
def work():
    context = ssl.create_default_context(cafile='cert.pem')
    with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost') as s:
        for name in ['early', 'late']:
            s.sendall(b'GET /bytes/10/7 HTTP/1.1\r\nX-Name: ' + name.encode() + b'\r\n\r\n')
            s.recv(100000)
            print(name, flush=True)
            sys.stdin.readline()
    os._exit(0)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"#;

#[test]
fn a_process_goes_on_without_its_first_thread() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let mut command = lab.command("/usr/bin/python3");
    command.args(["-c", HEADLESS_PYTHON, &server.port.to_string()]).stdin(Stdio::piped());
    let mut python = Running::start_with_input(&mut command);
    let pid = python.pid();
    python.line("the first request", |line| (line == "early").then_some(()));
    wait_for("the end of the first thread", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") Z ").then_some(())
    });
    // Another process ends after it: what is known of the first thread is looked at then.
    lab.client(server.port, PATH, &[]);
    capture
        .wait_for_record("the request of another process", |record| record.text("data").contains("/3000/"));
    let mut input = python.input();
    say(&mut input, "go\n");
    python.line("the second request", |line| (line == "late").then_some(()));
    say(&mut input, "end\n");
    python.finish();
    let records = capture.stop().complete();
    let sent = String::from_utf8(records.of(pid).both_ways().0).expect("text");
    assert!(sent.contains("X-Name: early") && sent.contains("X-Name: late"), "{sent}");
}
