//! `-m pcapng`: tshark decrypts what is captured, with nothing but the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::lab::say;
use crate::network::{CABLE, End, Network, SEND_TAGGED, THERE};
use crate::packet_capture::{
    PacketCapture, count, fetch, fields, is_attached, lab, links, pcapng, serve, url,
};
use crate::process::{Running, output_of, wait_for};

const VERSIONS: [&str; 2] = ["1.2", "1.3"];

#[test]
fn a_client_over_a_cable_is_decrypted() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE]);
    let path = capture.path.clone();
    let mut pids = Vec::new();
    for version in VERSIONS {
        for address in &THERE[..2] {
            pids.push(fetch(&lab, &network, &url(address, server.port, "page"), &["--tls-max", version]));
        }
    }
    let ended = capture.stop();
    assert!(ended.stderr.contains(" packets_lost=0"), "{}", ended.stderr);
    let requests = fields(&path, "http.request", &["ip.dst", "ipv6.dst", "http.request.uri"]);
    assert_eq!(requests, ["10.99.0.2\t\t/page", "\tfd99::2\t/page"].repeat(2));
    assert_eq!(count(&path, "http.response && http.file_data contains \"it works\""), 4);
    // Each process is named once in each connection: the client when it begins, the server when it answers.
    let comments = fields(&path, "frame.comment", &["frame.comment", "tcp.flags.syn", "tcp.flags.ack"]);
    let python = format!("pid={} comm=python3 uid=0\t1\t1", server.running.pid());
    let expected = pids.iter().flat_map(|pid| [format!("pid={pid} comm=curl uid=0\t1\t0"), python.clone()]);
    assert_eq!(comments, expected.collect::<Vec<_>>());
    // Each packet has its direction, and a time of now.
    assert_eq!(count(&path, "frame.packet_flags_direction == 2 && ip.src == 10.99.0.2"), 0);
    assert_eq!(count(&path, "!frame.packet_flags_direction"), 0);
    let time: f64 = fields(&path, "frame.number == 1", &["frame.time_epoch"])[0].parse().expect("a time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!((0.0..120.0).contains(&(now.as_secs_f64() - time)), "{time}");
    let info = output_of("capinfos", &[path.to_str().expect("UTF-8")]);
    for expected in ["Name = cable", "Description = MTU 1500", "Time precision = nanoseconds (9)"] {
        assert!(info.contains(expected), "{info}");
    }
}

#[test]
fn a_server_on_loopback_is_decrypted_and_each_packet_is_there_once() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::Here);
    let capture =
        PacketCapture::start(&lab, &network, &["-i", "lo", "-p", &server.running.pid().to_string()]);
    let path = capture.path.clone();
    fetch(&lab, &network, &url("127.0.0.1", server.port, "page"), &[]);
    fetch(&lab, &network, &url("::1", server.port, "page"), &["--tls-max", "1.2"]);
    capture.stop();
    assert_eq!(count(&path, "http.request"), 2);
    assert_eq!(count(&path, "http.response"), 2);
    assert_eq!(count(&path, "tcp.flags.syn == 1 && tcp.flags.ack == 0"), 2);
    assert_eq!(count(&path, "tcp.analysis.retransmission || tcp.analysis.ack_lost_segment"), 0);
}

#[test]
fn packets_of_other_programs_are_left_out() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let page = url(THERE[0], server.port, "page");
    // A connection that is open before.
    let mut client = lab.command("openssl");
    client.args(["s_client", "-quiet", "-connect", &format!("{}:{}", THERE[0], server.port)]);
    client.stdin(Stdio::piped());
    let mut client = network.at(End::Here, &client);
    let mut client = Running::start_with_input(client.stdin(Stdio::piped()));
    client.error_line("the handshake", |line| line.contains("verify").then_some(()));
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, "-p", &client.pid().to_string()]);
    let path = capture.path.clone();
    fetch(&lab, &network, &page, &[]);
    say(&mut client.input(), "GET /page HTTP/1.0\r\n\r\n");
    client.line("the page", |line| line.contains("it works").then_some(()));
    drop(client.finish());
    drop(server);
    capture.stop();
    let streams = fields(&path, "tcp", &["tcp.stream"]);
    assert!(streams.len() >= 4, "{streams:?}");
    assert!(streams.iter().all(|stream| stream == "0"), "{streams:?}");
    assert_eq!(count(&path, "tcp.flags.syn == 1"), 0);
}

#[test]
fn programs_are_chosen_by_name_with_their_handshakes_and_datagrams() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, "--comm", "curl", "--comm", "chosen"]);
    let path = capture.path.clone();
    fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
    let talk = |name: &str, port: u16| {
        let source = format!(
            "import socket, ctypes\n\
             ctypes.CDLL(None).prctl(15, b'{name}')\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.sendto(b'hello', ('{}', {port}))\n",
            THERE[0]
        );
        let mut python = Command::new("python3");
        python.args(["-c", &source]);
        Running::start(&mut network.at(End::Here, &python)).finish().succeeded();
    };
    talk("chosen", 7001);
    talk("other", 7002);
    capture.stop();
    assert_eq!(count(&path, "http.request"), 1);
    assert_eq!(count(&path, "tcp.flags.syn == 1"), 2);
    assert_ne!(count(&path, "tcp.flags.fin == 1 || tcp.flags.reset == 1"), 0);
    assert_eq!(fields(&path, "udp && !icmp", &["udp.dstport"]), ["7001"]);
    assert_eq!(count(&path, "arp"), 0);
}

#[test]
fn what_has_no_program_is_kept_on_demand() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let arguments = ["-i", CABLE, "--comm", "nobody-has-this", "--unowned", "keep"];
    let capture = PacketCapture::start(&lab, &network, &arguments);
    let path = capture.path.clone();
    fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
    capture.stop();
    assert_eq!(count(&path, "tcp"), 0);
    assert_eq!(count(&path, "arp"), 2);
}

#[test]
fn tags_are_in_the_packets_and_lengths_are_those_of_the_wire() {
    let (lab, network) = (lab(), Network::new());
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, "--snaplen", "40", "vlan", "5"]);
    let path = capture.path.clone();
    let mut python = Command::new("python3");
    python.args(["-c", &format!("{SEND_TAGGED}\ntagged(7001)\ntagged(7002, 6)\ntagged(7003)")]);
    Running::start(&mut network.at(End::There, &python)).finish().succeeded();
    capture.stop();
    let packets = fields(&path, "frame", &["vlan.id", "udp.dstport", "frame.cap_len", "frame.len"]);
    assert_eq!(packets, ["5\t7001\t44\t50", "5\t7003\t44\t50"]);
}

#[test]
fn a_killed_capture_leaves_a_file_and_nothing_else() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE]);
    let path = capture.path.clone();
    let links = links(capture.running.pid());
    assert_eq!(links.len(), 2, "{links:?}");
    fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
    wait_for("packets in the file", || (count(&path, "http.response") == 1).then_some(()));
    capture.running.signal(Signal::KILL);
    drop(capture.running.finish());
    for (link, _) in links {
        wait_for("the end of a link", || (!is_attached(link)).then_some(()));
    }
    let qdiscs = output_of("tc", &["-n", network.name(End::Here), "qdisc", "show", "dev", CABLE]);
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}

#[test]
fn interfaces_come_and_go() {
    let (lab, network) = (lab(), Network::new());
    let capture = PacketCapture::start(&lab, &network, &["-i", "any"]);
    let here = network.name(End::Here);
    let before = links(capture.running.pid()).len();
    let said = |what: &str| capture.running.error_line(what, |line| line.contains(what).then_some(()));
    output_of("ip", &["-n", here, "link", "add", "late", "type", "veth", "peer", "name", "later"]);
    said("capturing packets at late, too");
    said("capturing packets at later, too");
    assert_eq!(links(capture.running.pid()).len(), before + 4);
    output_of("ip", &["-n", here, "link", "delete", CABLE]);
    said("cable is gone");
    capture.stop();
}

#[test]
fn the_interface_of_the_default_route_is_the_default() {
    let (lab, network) = (lab(), Network::new());
    let refused = Running::start(&mut network.at(End::Here, &pcapng(&lab, &[]))).finish();
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("there is no default route"), "{}", refused.stderr);
    let here = network.name(End::Here);
    output_of("ip", &["-n", here, "route", "add", "default", "via", THERE[0]]);
    let ended = PacketCapture::start(&lab, &network, &[]).stop();
    assert!(ended.stderr.contains("capturing packets at cable\n"), "{}", ended.stderr);
    let unknown = Running::start(&mut network.at(End::Here, &pcapng(&lab, &["-i", "cabel"]))).finish();
    assert!(
        unknown.stderr.contains("-i cabel: there is no such interface; there are lo, cable"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn each_file_of_a_rotation_decrypts_alone() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    lab.file("big", vec![b'x'; 700 << 10]);
    let arguments = ["-i", CABLE, "--rotate-size", "1", "--rotate-count", "3"];
    let capture = PacketCapture::start(&lab, &network, &arguments);
    for _ in 0..8 {
        fetch(&lab, &network, &url(THERE[0], server.port, "big"), &["-o", "/dev/null"]);
    }
    let file = |number: u32| lab.path(&format!("capture_{number:05}.pcapng"));
    capture.stop();
    let kept: Vec<u32> = (1..20).filter(|number| file(*number).exists()).collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    for number in kept {
        let (handshakes, size) = (
            count(&file(number), "tls.handshake.type == 1"),
            fs::metadata(file(number)).expect("a file").len(),
        );
        assert_eq!(count(&file(number), "http.request"), handshakes, "{number}");
        assert!(size < 3 << 19, "{size}");
    }
}

#[test]
fn a_pipe_to_tshark() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let (packets, stdout) = std::io::pipe().expect("a pipe");
    let mut capture = network.at(End::Here, &pcapng(&lab, &["-i", CABLE, "-w", "-", "tcp port 4433"]));
    let running = Running::start_as_is(capture.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()));
    drop(capture); // it has the end of the pipe, too
    let mut tshark = Command::new("tshark");
    tshark.args(["-l", "-r", "-", "-Y", "http", "-T", "fields", "-e", "http.request.uri"]).stdin(packets);
    let tshark = Running::start_with_input(&mut tshark);
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
    tshark.line("the request", |line| (line == "/page").then_some(()));
    running.signal(Signal::INT);
    running.finish().succeeded();
    tshark.finish().succeeded();
}

#[test]
fn old_kernels_capture_with_a_packet_socket() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let mut command = pcapng(&lab, &["-i", "lo", "-i", CABLE, "tcp", "port", "4433"]);
    command.env("ECAPTURE_DISABLE_FEATURES", "tcx,modern");
    let capture = PacketCapture::with(&lab, &network, command);
    let path = capture.path.clone();
    assert_eq!(links(capture.running.pid()), []);
    fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
    capture.stop();
    assert_eq!((count(&path, "http.request"), count(&path, "http.response")), (1, 1));
    assert_eq!(count(&path, "frame.packet_flags_direction == 1 && ip.src == 10.99.0.1"), 0);
}

/// Wireshark runs what is in its directory for such programs; tshark does the same.
#[test]
fn wireshark_runs_it_as_an_external_capture_program() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let directory = lab.path("extcap");
    fs::create_dir(&directory).expect("a directory");
    let script = directory.join("ecapture");
    let program = crate::capture::ECAPTURE;
    fs::write(&script, format!("#!/bin/sh\nexec {program} extcap \"$@\"\n")).expect("a script");
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
    // Run as root, tshark looks into the directory of the system only: the test has its own there.
    let folders = output_of("tshark", &["-G", "folders"]);
    let system = folders.lines().find_map(|line| line.strip_prefix("Extcap path:")).expect("a path").trim();
    let tshark = |arguments: &[&str]| {
        let mut tshark = Command::new("unshare");
        tshark.args(["--mount", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec tshark \"$@\""]);
        tshark.arg(&directory).arg(system).args(arguments);
        Running::start(&mut network.at(End::Here, &tshark))
    };
    let interfaces = tshark(&["-D"]).finish().succeeded().text();
    assert!(interfaces.contains("ecapture-cable (cable, decrypted (ecapture))"), "{interfaces}");
    let fields = ["-T", "fields", "-e", "frame.comment", "-e", "tcp.dstport"];
    let capture = ["-i", "ecapture-cable", "-l", "-c", "1", "-f", "tcp dst port 4433"];
    let capture = tshark(&[&capture[..], &fields].concat());
    let page = url(THERE[0], server.port, "page");
    wait_for("the capture", || {
        fetch(&lab, &network, &page, &[]);
        capture.has_printed().then_some(())
    });
    let line = capture.finish().succeeded().text();
    assert!(line.contains("comm=curl") && line.ends_with("4433\n"), "{line}");
}
