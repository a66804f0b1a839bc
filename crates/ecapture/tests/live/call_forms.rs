//! Every form in which a program may call OpenSSL yields exactly the bytes that were moved.

use crate::http::{answer, request, upload_answer};
use crate::lab::Lab;
use crate::pattern::assert_same;
use crate::process::Running;
use crate::record::{Record, Records};

/// One exchange of `tls_client` and `tls_server`, with these options: what was captured of each end must be what they said.
#[track_caller]
fn exchange(server_options: &[&str], client_options: &[&str], path: &str, length: usize) {
    let lab = Lab::new();
    let server = lab.server(server_options);
    let capture = lab.capture();
    let client = lab.client(server.port, path, client_options);
    let records = capture.complete_of(client, &server.running);
    let (asked, answered) = (request(path, None, 0, 0, 1), answer(7, length));
    let (sent, received) = records.0.both_ways();
    assert_same(&sent, &asked, "the client's request");
    assert_same(&received, &answered, "the client's answer");
    let (sent, received) = records.1.both_ways();
    assert_same(&sent, &answered, "the server's answer");
    assert_same(&received, &asked, "the server's request");
}

/// An upload of `tls_client`.
#[track_caller]
fn upload(server_options: &[&str], client_options: &[&str], length: usize) {
    let lab = Lab::new();
    let server = lab.server(server_options);
    let capture = lab.capture();
    let size = length.to_string();
    let client = lab.client(server.port, "/up", &[&["--upload", &size], client_options].concat());
    let (client, server) = capture.complete_of(client, &server.running);
    let (asked, answered) = (request("/up", Some(length), 0, 0, 1), upload_answer(length));
    let (sent, received) = client.both_ways();
    assert_same(&sent, &asked, "the client's request");
    assert_same(&received, &answered, "the client's answer");
    let (sent, received) = server.both_ways();
    assert_same(&sent, &answered, "the server's answer");
    assert_same(&received, &asked, "the server's request");
}

impl crate::capture::Capture {
    /// Ends it; answers what was captured of a client and of a server, where nothing may be lost.
    #[track_caller]
    fn complete_of(self, client: u32, server: &Running) -> (Records, Records) {
        let records = self.stop().complete();
        (records.of(client), records.of(server.pid()))
    }
}

#[test]
fn plain_calls() {
    exchange(&[], &[], "/bytes/70000/7", 70_000);
}

#[test]
fn ex_calls() {
    exchange(&["--ex"], &["--ex"], "/bytes/70000/7", 70_000);
    upload(&["--ex"], &["--ex"], 70_000);
}

#[test]
fn tls_1_2() {
    exchange(&[], &["--tls12"], "/bytes/70000/7", 70_000);
}

#[test]
fn non_blocking_client_with_odd_reads_and_epoll_server() {
    exchange(&["--epoll"], &["--nonblocking"], "/bytes/300000/7", 300_000);
}

#[test]
fn want_write_retries_are_counted_once() {
    // More than the socket buffers hold: the non-blocking writer is told to come back many times.
    upload(&["--epoll"], &["--nonblocking"], 6 << 20);
}

#[test]
fn partial_writes_count_what_was_accepted() {
    upload(&[], &["--partial-write"], 300_000);
    upload(&["--epoll"], &["--partial-write", "--nonblocking"], 3 << 20);
}

#[test]
fn small_writes_and_reads() {
    exchange(&["--write-size", "1000"], &["--read-size", "100"], "/bytes/20000/7", 20_000);
}

#[test]
fn peeked_bytes_are_not_counted() {
    exchange(&[], &["--peek"], "/bytes/70000/7", 70_000);
}

#[test]
fn threads_share_a_connection() {
    let lab = Lab::new();
    let server = lab.server(&["--epoll"]);
    let capture = lab.capture();
    let path = "/bytes/50000/7";
    let client = lab.client(server.port, path, &["--threads", "4", "--requests", "8"]);
    let (client, _) = capture.complete_of(client, &server.running);
    let (sent, received) = client.both_ways();
    assert_same(
        &sent,
        &(0..8).flat_map(|index| request(path, None, 0, index, 8)).collect::<Vec<_>>(),
        "requests",
    );
    assert_same(&received, &answer(7, 50_000).repeat(8), "answers");
    let threads = |records: &Records| records.0.iter().map(|record| record.number("tid")).collect::<Vec<_>>();
    let pid = u64::from(client.0[0].pid());
    assert!(
        threads(&client).iter().all(|tid| *tid != pid),
        "the main thread moved nothing: {:?}",
        threads(&client)
    );
    let writers = threads(&client.way("sent"));
    assert!(writers.iter().all(|tid| *tid == writers[0]), "one thread wrote: {writers:?}");
    assert!(!threads(&client.way("received")).contains(&writers[0]), "another read");
}

#[test]
fn early_data_is_counted_once() {
    let lab = Lab::new();
    let server = lab.server(&["--early-data", "65536"]);
    let capture = lab.capture();
    let client = lab.client(server.port, "/up", &["--early-data", "--connections", "2", "--upload", "90000"]);
    let (client, server) = capture.complete_of(client, &server.running);
    for (end, sender, receiver) in [(&client, "sent", "received"), (&server, "received", "sent")] {
        assert_eq!(end.connections().len(), 2);
        for (index, connection) in end.connections().iter().enumerate() {
            assert_same(
                &connection.way(sender).bytes(),
                &request("/up", Some(90_000), index, 0, 1),
                "the upload",
            );
            assert_same(&connection.way(receiver).bytes(), &upload_answer(90_000), "its answer");
        }
    }
}

#[test]
fn memory_bios_show_exact_bytes_and_no_wrong_address() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let client = lab.client(server.port, "/bytes/70000/7", &["--memory-bio"]);
    let (client, _) = capture.complete_of(client, &server.running);
    let (sent, received) = client.both_ways();
    assert_same(&sent, &request("/bytes/70000/7", None, 0, 0, 1), "the request");
    assert_same(&received, &answer(7, 70_000), "the answer");
    assert_no_wrong_address(&client, server.port);
}

/// The right address, or none.
#[track_caller]
fn assert_no_wrong_address(records: &Records, server_port: u16) {
    let remote =
        |record: &Record| record.text(if record.text("dir") == "sent" { "dst" } else { "src" }).to_owned();
    for record in &records.0 {
        let known = record.has("src") || record.has("dst");
        assert!(!known || remote(record) == format!("127.0.0.1:{server_port}"), "{}", record.0);
    }
}

#[test]
fn a_cleared_and_reused_object_is_another_connection() {
    several_connections(&["--reuse-ssl", "--connections", "5"], 5);
}

#[test]
fn objects_at_the_same_address_are_distinct_connections() {
    several_connections(&["--connections", "20"], 20);
}

#[track_caller]
fn several_connections(options: &[&str], count: usize) {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = lab.capture();
    let client = lab.client(server.port, "/bytes/3000/7", options);
    let (client, server) = capture.complete_of(client, &server.running);
    assert_eq!(client.connections().len(), count, "connections of the client");
    assert_eq!(server.connections().len(), count, "connections of the server");
    for (index, connection) in client.connections().iter().enumerate() {
        assert_same(
            &connection.way("sent").bytes(),
            &request("/bytes/3000/7", None, index, 0, 1),
            "the request",
        );
        assert_same(&connection.way("received").bytes(), &answer(7, 3000), "the answer");
        let (local, remote) =
            (connection.way("sent").same("src").clone(), connection.way("sent").same("dst").clone());
        assert_eq!(
            (connection.way("received").same("dst"), connection.way("received").same("src")),
            (&local, &remote)
        );
        let twin = server.only(|record| record.0["dir"] == "received" && record.0["src"] == local);
        assert_same(
            &twin.bytes(),
            &connection.way("sent").bytes(),
            "the server's view of the same connection",
        );
    }
}

#[test]
fn a_server_with_a_process_for_each_connection() {
    let lab = Lab::new();
    let server = lab.server(&["--fork"]);
    let capture = lab.capture();
    let client = lab.client(server.port, "/bytes/3000/7", &["--connections", "5"]);
    let records = capture.stop().complete();
    let children = records.only(|record| record.pid() != client);
    assert_eq!(children.connections().len(), 5);
    let mut pids: Vec<u32> = children.0.iter().map(Record::pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5, "a process each: {pids:?}");
    assert!(!pids.contains(&server.running.pid()));
    for connection in children.connections() {
        connection.same("pid");
        assert_same(&connection.way("sent").bytes(), &answer(7, 3000), "the answer");
    }
}

/// A connection that is used by the process that made it and then by its child.
const FORKING: &str = r#"
import os, socket, ssl, sys
context = ssl.create_default_context(cafile='cert.pem')
s = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost')
s.sendall(b'GET /hang?parent HTTP/1.1\r\n\r\n')
child = os.fork()
if child == 0:
    s.sendall(b'said by the child')
    os._exit(0)
os.waitpid(child, 0)
print(child)
os._exit(0)
"#;

#[test]
fn a_fork_does_not_mix_streams() {
    let lab = Lab::new();
    let server = lab.server(&["--epoll"]);
    let capture = lab.capture();
    let parent =
        Running::start(lab.command("/usr/bin/python3").args(["-c", FORKING, &server.port.to_string()]));
    let pid = parent.pid();
    let child: u32 = parent.finish().succeeded().text().trim().parse().expect("a process id");
    let records = capture.stop().complete();
    assert_same(&records.of(pid).both_ways().0, b"GET /hang?parent HTTP/1.1\r\n\r\n", "the parent");
    assert_same(&records.of(child).both_ways().0, b"said by the child", "the child");
    assert_eq!(records.of(child).same("src"), records.of(pid).same("src"), "one socket");
    assert_eq!(records.of(server.running.pid()).connections().len(), 1);
}

#[test]
fn two_hundred_processes_that_exit_after_their_last_byte() {
    let lab = Lab::new();
    let server = lab.server(&["--epoll"]);
    let capture = lab.capture();
    let mut clients = Vec::new();
    for round in 0..50 {
        let path = format!("/bytes/2000/{round:x}");
        let four: Vec<_> = (0..4).map(|_| lab.start_client(server.port, &path, &["--early-exit"])).collect();
        for client in four {
            clients.push((client.pid(), round));
            client.finish().succeeded();
        }
    }
    let captured = capture.stop();
    assert_eq!(captured.summary().get("processes"), 201);
    let records = captured.complete();
    for (pid, round) in clients {
        let (sent, received) = records.of(pid).both_ways();
        assert_same(&sent, &request(&format!("/bytes/2000/{round:x}"), None, 0, 0, 1), "a request");
        assert_same(&received, &answer(round, 2000), "an answer");
    }
}

#[test]
fn a_killed_process_is_captured_up_to_its_end() {
    let lab = Lab::new();
    let server = lab.server(&["--epoll"]);
    let capture = lab.capture();
    let client = lab.start_client(server.port, "/hang", &[]);
    let pid = client.pid();
    capture.wait_for_record("the request of the client", |record| record.pid() == pid);
    drop(client); // SIGKILL
    let records = capture.stop().complete();
    assert_same(&records.of(pid).way("sent").bytes(), &request("/hang", None, 0, 0, 1), "the request");
}
