//! Who talks to whom: process, thread, user, descriptor and addresses.

use std::fs;
use std::process::{Command, Stdio};

use crate::http::{answer, request};
use crate::lab::{Lab, Server, read_text, say, target};
use crate::pattern::{self, assert_same};
use crate::process::Running;
use crate::record::{RECEIVED, Records, SENT};

/// Checks both ends of one connection: each names the other, as the ports of the client say.
#[track_caller]
fn assert_addresses(client: &Records, server: &Records, local: &str, remote: &str) {
    for (end, out, back) in [(client, SENT, RECEIVED), (server, RECEIVED, SENT)] {
        assert_eq!(end.way(out).same("src"), local);
        assert_eq!(end.way(out).same("dst"), remote);
        assert_eq!(end.way(back).same("src"), remote);
        assert_eq!(end.way(back).same("dst"), local);
    }
}

#[test]
fn curl_and_nginx_on_ipv4_and_ipv6() {
    for host in ["127.0.0.1", "[::1]"] {
        let lab = Lab::new();
        let nginx = lab.nginx("");
        let body = pattern::body(3, 3000);
        lab.file("www/page", &body);
        let capture = lab.capture();
        let url = format!("https://{host}:{}/page", nginx.port);
        let (curl, finished) = lab.curl(&["-w", "%{local_port}", "-A", "test", "-o", "got", &url]);
        let records = capture.stop().complete();
        assert_same(&fs::read(lab.path("got")).expect("a file"), &body, "what curl got");

        let (client, server) = (records.of(curl), records.of(nginx.running.pid()));
        let asked = format!(
            "GET /page HTTP/1.1\r\nHost: {host}:{}\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n",
            nginx.port
        );
        assert_same(&client.both_ways().0, asked.as_bytes(), "the request at curl");
        assert_same(&server.both_ways().1, asked.as_bytes(), "the request at nginx");
        let answered = client.both_ways().1;
        assert!(
            answered.starts_with(b"HTTP/1.1 200 OK\r\nServer: nginx"),
            "{:?}",
            answered.escape_ascii().to_string()
        );
        assert_same(answered.split_at(answered.len() - body.len()).1, &body, "the body at curl");
        assert_same(&server.both_ways().0, &answered, "the answer at nginx");

        assert_eq!(
            (client.way(SENT).kinds(), client.way(RECEIVED).kinds()),
            (vec!["HTTP/1.1 request".into()], vec!["HTTP/1.1 response".into()])
        );
        assert_eq!(
            (server.way(RECEIVED).kinds(), server.way(SENT).kinds()),
            (vec!["HTTP/1.1 request".into()], vec!["HTTP/1.1 response".into()])
        );
        assert_addresses(
            &client,
            &server,
            &format!("{host}:{}", finished.text()),
            &format!("{host}:{}", nginx.port),
        );
        assert_eq!((client.same("comm"), server.same("comm")), (&"curl".into(), &"nginx".into()));
        assert_eq!((client.same("uid"), client.same("tid")), (&0.into(), &curl.into()));
        assert_eq!(records.0.len(), client.0.len() + server.0.len(), "nobody else uses this library");
    }
}

#[test]
fn user_and_name_of_another_user() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let mut command = lab.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(target("tls_client"));
    let client = Running::start(command.args(["127.0.0.1", &server.port.to_string(), "/bytes/64/7"]));
    let pid = client.pid();
    client.finish().succeeded();
    let client = capture.stop().complete().of(pid);
    assert_eq!((client.same("uid"), client.same("comm")), (&65534.into(), &"tls_client".into()));
}

#[test]
fn threads_of_a_server_are_told_apart() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    lab.client(server.port, "/bytes/64/7", &["--connections", "3"]);
    let server_records = capture.stop().complete().of(server.running.pid());
    let threads: Vec<u64> =
        server_records.connections().iter().map(|one| one.same("tid").as_u64().expect("a number")).collect();
    assert_eq!(threads.len(), 3);
    assert!(!threads.contains(&u64::from(server.running.pid())), "the main thread only accepts: {threads:?}");
}

/// A client whose connection is open until it is dropped, with what it sends to the server.
struct OpenClient {
    running: Running,
    input: std::process::ChildStdin,
}

fn open_client(lab: &Lab, server: &Server) -> OpenClient {
    let address = format!("127.0.0.1:{}", server.port);
    let mut command = lab.command("openssl");
    command.args(["s_client", "-connect", &address, "-crlf"]).stdin(Stdio::piped());
    let mut running = Running::start_with_input(&mut command);
    let input = running.input();
    running.line("the end of the handshake", |line| line.contains("Verify return code").then_some(()));
    OpenClient { running, input }
}

/// Port of this end of a socket of a process, as the kernel's table says.
fn local_port(pid: u32, fd: u64) -> u16 {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("an open descriptor");
    let link = link.to_string_lossy().into_owned();
    let inode =
        link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).expect("a socket").to_owned();
    let table = read_text(format!("/proc/{pid}/net/tcp")) + &read_text(format!("/proc/{pid}/net/tcp6"));
    let row = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row.get(9) == Some(&&*inode)).expect("a TCP socket");
    let port = row[1].rsplit(':').next().expect("address:port");
    u16::from_str_radix(port, 16).expect("a number")
}

#[test]
fn descriptors_are_those_of_the_processes() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let mut client = open_client(&lab, &server);
    say(&mut client.input, "GET /hang HTTP/1.1\n\n");
    for pid in [client.running.pid(), server.running.pid()] {
        let record = capture.wait_for_record("the request", |record| record.pid() == pid);
        let local = record.text(if pid == client.running.pid() { "src" } else { "dst" }).to_owned();
        assert_eq!(local, format!("127.0.0.1:{}", local_port(pid, record.number("fd"))));
    }
    capture.stop().complete();
}

#[test]
fn connections_that_were_open_before_the_capture() {
    let lab = Lab::new();
    // Non-blocking: a call that is waiting when probes are attached is not seen.
    let server = lab.server(&["--epoll"]);
    let mut client = open_client(&lab, &server);
    let port = established_port(client.running.pid(), server.port);
    let capture = lab.capture();
    say(&mut client.input, "GET /bytes/64/7 HTTP/1.1\n\n");
    capture.wait_for_record("the answer", |record| {
        record.pid() == client.running.pid() && record.text("dir") == RECEIVED
    });
    let records = capture.stop().complete();
    let (client, server_end) = (records.of(client.running.pid()), records.of(server.running.pid()));
    assert_same(&client.both_ways().0, b"GET /bytes/64/7 HTTP/1.1\r\n\r\n", "the request");
    assert_same(&server_end.both_ways().0, &answer(7, 64), "the answer");
    assert_addresses(
        &client,
        &server_end,
        &format!("127.0.0.1:{port}"),
        &format!("127.0.0.1:{}", server.port),
    );
}

/// Port of the connection that a process has to a server.
fn established_port(pid: u32, server: u16) -> u16 {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let sockets =
        descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|fd: &u64| {
            let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
            link.to_string_lossy().starts_with("socket:")
        });
    let ports: Vec<u16> = sockets.map(|fd| local_port(pid, fd)).filter(|port| *port != server).collect();
    assert_eq!(ports.len(), 1, "sockets of {pid}");
    ports[0]
}

#[test]
fn unix_sockets_are_named() {
    let lab = Lab::new();
    let socket = lab.path("server.sock");
    let name = socket.to_str().expect("UTF-8");
    let server = Running::start(lab.command(target("tls_server")).args(["--unix", name]));
    server.line("\"ready\"", |line| line.starts_with("ready ").then_some(()));
    let capture = lab.capture();
    let client = Running::start(lab.command(target("tls_client")).args(["--unix", name, "/bytes/3000/7"]));
    let pid = client.pid();
    client.finish().succeeded();
    let records = capture.stop().complete();
    let (client, server) = (records.of(pid), records.of(server.pid()));
    assert_addresses(&client, &server, &format!("unix:{name}"), &format!("unix:{name}"));
    assert_same(&client.both_ways().0, &request("/bytes/3000/7", None, 0, 0, 1), "the request");
    assert_same(&server.both_ways().0, &answer(7, 3000), "the answer");
}

#[test]
fn processes_of_another_network_namespace() {
    let lab = Lab::new();
    let mut command = Command::new("unshare");
    let (server, client) = (target("tls_server"), target("tls_client"));
    // The server is the last to end: it dies with the shell, its parent.
    let script = format!(
        "ip link set lo up; exec 3< <(exec setpriv --pdeathsig KILL {} 0); read -r _ port <&3; {} 127.0.0.1 $port /bytes/64/7; echo port $port",
        server.display(),
        client.display()
    );
    command.current_dir(lab.path("")).env("LD_LIBRARY_PATH", lab.path("lib"));
    let capture = lab.capture();
    let finished = Running::start(command.args(["-n", "bash", "-c", &script])).finish().succeeded();
    let text = finished.text();
    let port = text.lines().find_map(|line| line.strip_prefix("port ")).expect("a port");
    let records = capture.stop().complete();
    let asked = records.only(|record| record.text("comm") == "tls_client").way(SENT);
    assert_same(&asked.bytes(), &request("/bytes/64/7", None, 0, 0, 1), "the request");
    assert_eq!(asked.same("dst"), &format!("127.0.0.1:{port}"));
}

/// Writes over one object: through a TCP socket, into memory, and through a Unix socket.
const MANY_SOCKETS: &str = r#"
import ctypes, socket, sys
ssl = ctypes.CDLL('libssl.so.3')
pointer = ctypes.c_void_p
for name in ('TLS_client_method', 'SSL_CTX_new', 'SSL_new', 'BIO_s_mem', 'BIO_new'):
    getattr(ssl, name).restype = pointer
tcp = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
tls = pointer(ssl.SSL_new(pointer(ssl.SSL_CTX_new(pointer(ssl.TLS_client_method())))))
ssl.SSL_set_fd(tls, tcp.fileno())
assert ssl.SSL_connect(tls) == 1
assert ssl.SSL_write(tls, b'GET ', 4) == 4
memory = pointer(ssl.BIO_new(pointer(ssl.BIO_s_mem())))
ssl.SSL_set_bio(tls, memory, memory)
assert ssl.SSL_write(tls, b'/unknown', 8) == 8
here, there = socket.socketpair()
ssl.SSL_set_fd(tls, here.fileno())
assert ssl.SSL_write(tls, b'/unix', 5) == 5
"#;

#[test]
fn an_object_that_gets_another_socket() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let mut command = lab.command("/usr/bin/python3");
    let client = Running::start(command.args(["-c", MANY_SOCKETS, &server.port.to_string()]));
    let pid = client.pid();
    client.finish().succeeded();
    let records = capture.stop().complete().of(pid).way(SENT);
    assert_same(&records.bytes(), b"GET /unknown/unix", "what was written");
    let peers: Vec<Option<&str>> =
        records.0.iter().map(|record| record.has("dst").then(|| record.text("dst"))).collect();
    assert_eq!(peers, [Some(&*format!("127.0.0.1:{}", server.port)), None, Some("unix:")]);
}
