//! `-m pcapng`: kinds of traffic that tshark decrypts from the file alone.

use std::process::Command;

use crate::lab::{ready_port, target};
use crate::network::{CABLE, End, Network, THERE};
use crate::packet_capture::{
    PacketCapture, count, fetch, fields, lab, run_python, serve, serve_http2, start_python, url,
};
use crate::process::{Running, output_of, wait_for};

/// At port 443, as tshark asks the dissector of the lower port, and knows other ones for some of the clients' ports.
#[test]
fn each_of_1000_short_connections_is_decrypted() {
    let (lab, network) = (lab(), Network::new());
    let server = Running::start(&mut network.at(End::Here, lab.command(target("tls_server")).arg("443")));
    ready_port(&server);
    let capture = PacketCapture::start(&lab, &network, &["-i", "lo", "tcp port 443"]);
    let path = capture.path.clone();
    let mut client = lab.command(target("tls_client"));
    client.args(["--connections", "1000", "127.0.0.1", "443", "/bytes/100/7"]);
    Running::start(&mut network.at(End::Here, &client)).finish().succeeded();
    let ended = capture.stop();
    assert!(ended.stderr.contains(" packets_lost=0"), "{}", ended.stderr);
    assert_eq!(count(&path, "tls.handshake.type == 1"), 1000);
    assert_eq!((count(&path, "http.request"), count(&path, "http.response")), (1000, 1000));
}

/// Requests of one page in two connections, the second one resumed, with a version of TLS at most.
const RESUME: &str = r"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
session = None
for _ in range(2):
    with context.wrap_socket(socket.create_connection((sys.argv[1], 4433)), session=session) as connection:
        connection.sendall(b'GET /page HTTP/1.0\r\n\r\n')
        while connection.recv(4096): pass
        session = connection.session
        print(connection.session_reused)
";

#[test]
fn resumed_connections_are_decrypted() {
    let (lab, network) = (lab(), Network::new());
    let _server = serve(&lab, &network, End::There);
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE]);
    let path = capture.path.clone();
    for version in ["TLSv1_2", "TLSv1_3"] {
        assert_eq!(run_python(&lab, &network, RESUME, &[THERE[0], version]), "False\nTrue\n", "{version}");
    }
    capture.stop();
    assert_eq!((count(&path, "http.request"), count(&path, "http.response")), (4, 4));
}

#[test]
fn early_data_is_decrypted() {
    let (lab, network) = (lab(), Network::new());
    let mut server = lab.command(target("tls_server"));
    server.args(["--early-data", "16384", "443"]);
    let server = Running::start(&mut network.at(End::Here, &server));
    ready_port(&server);
    let capture = PacketCapture::start(&lab, &network, &["-i", "lo"]);
    let path = capture.path.clone();
    let mut client = lab.command(target("tls_client"));
    client.args(["--early-data", "--connections", "2", "127.0.0.1", "443", "/bytes/100/7"]);
    Running::start(&mut network.at(End::Here, &client)).finish().succeeded();
    capture.stop();
    assert_eq!(count(&path, "tls.handshake.type == 1 && tls.handshake.extension.type == 42"), 1);
    assert_eq!((count(&path, "http.request"), count(&path, "http.response")), (2, 2));
}

#[test]
fn http2_is_decrypted() {
    let (lab, network) = (lab(), Network::new());
    let server = serve_http2(&lab, &network);
    let capture = PacketCapture::start(&lab, &network, &["-i", "lo"]);
    let path = capture.path.clone();
    let page = url("127.0.0.1", server.port, "page");
    fetch(&lab, &network, &page, &["--http2", &page]);
    capture.stop();
    assert_eq!(fields(&path, "http2.headers.path", &["http2.headers.path"]), ["/page"; 2]);
    assert_eq!(fields(&path, "http2.headers.status", &["http2.headers.status"]), ["200"; 2]);
}

/// A request with an IPv6 header of destination options in each packet.
const WITH_OPTIONS: &str = r"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
plain = socket.socket(socket.AF_INET6)
plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
plain.connect((sys.argv[1], 4433))
with context.wrap_socket(plain) as connection:
    connection.sendall(b'GET /page HTTP/1.0\r\n\r\n')
    while connection.recv(4096): pass
";

#[test]
fn packets_with_extension_headers_have_their_program() {
    let (lab, network) = (lab(), Network::new());
    let _server = serve(&lab, &network, End::There);
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, "--comm", "python3", "--comm", "curl"]);
    let path = capture.path.clone();
    run_python(&lab, &network, WITH_OPTIONS, &[THERE[1]]);
    capture.stop();
    assert!(count(&path, "ipv6.dstopts && tcp") > 4);
    assert_eq!(count(&path, "http.request"), 1);
    assert_eq!(
        count(&path, "ipv6.dstopts && tcp.flags.syn == 1 && frame.comment contains \"comm=python3\""),
        1
    );
}

/// A tun interface, whose packets go through UDP to the other end.
const TUNNEL: &str = r"
import fcntl, os, select, socket, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH', b'tunnel', IFF_TUN | IFF_NO_PI))
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind((sys.argv[1], 7000))
wire.connect((sys.argv[2], 7000))
print('ready 7000', flush=True)
while True:
    for ready in select.select([tun, wire], [], [])[0]:
        try:
            if ready is wire: os.write(tun, wire.recv(65536))
            else: wire.send(os.read(tun, 65536))
        except ConnectionRefusedError: pass
";

#[test]
fn interfaces_without_link_header() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let _tunnels = [(End::Here, "1", "2"), (End::There, "2", "1")].map(|(end, ours, theirs)| {
        let [ours, theirs] = [ours, theirs].map(|last| format!("10.99.0.{last}"));
        let tunnel = start_python(&lab, &network, end, TUNNEL, &[&ours, &theirs]);
        let ip = |words: &str| {
            output_of("ip", &[&["-n", network.name(end)][..], &words.split(' ').collect::<Vec<_>>()].concat())
        };
        ip(&format!("address add {}/24 dev tunnel", ours.replace("99", "98")));
        ip("link set tunnel mtu 1400 up");
        tunnel
    });
    for arguments in [&["-i", "tunnel", "tcp port 4433"][..], &["-i", "tunnel", "--comm", "curl"]] {
        let capture = PacketCapture::start(&lab, &network, arguments);
        let path = capture.path.clone();
        fetch(&lab, &network, &url("10.98.0.2", server.port, "page"), &[]);
        capture.stop();
        assert_eq!((count(&path, "http.request"), count(&path, "http.response")), (1, 1), "{arguments:?}");
        assert_eq!(count(&path, "eth"), 0);
        let info = output_of("capinfos", &[path.to_str().expect("UTF-8")]);
        assert!(info.contains("Name = tunnel") && info.contains("Raw IP"), "{info}");
    }
}

/// More than a buffer of 64 KiB can take: what is lost is counted, but no secret is.
#[test]
fn each_lost_packet_is_counted() {
    let (lab, network) = (lab(), Network::new());
    let https = serve(&lab, &network, End::There);
    let mut server = Command::new("python3");
    server.args(["-c", "import socket\nl = socket.create_server(('10.99.0.2', 7001))\nprint('ready 7001', flush=True)\nc, _ = l.accept()\nwhile c.recv(1 << 20): pass"]);
    let server = Running::start(&mut network.at(End::There, &server));
    ready_port(&server);
    let passed = || {
        let text = output_of("ip", &["-n", network.name(End::Here), "-j", "-s", "link", "show", CABLE]);
        let link: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let packets = |way: &str| link[0]["stats64"][way]["packets"].as_u64().expect("a number");
        packets("rx") + packets("tx")
    };
    for end in [End::Here, End::There] {
        // Else the kernel talks when it likes.
        let mut silent = Command::new("sysctl");
        silent.arg(format!("net.ipv6.conf.{CABLE}.disable_ipv6=1"));
        Running::start(&mut network.at(end, &silent)).finish().succeeded();
    }
    let before = passed();
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, "--mapsize", "64"]);
    let path = capture.path.clone();
    let source = "import socket\nc = socket.create_connection(('10.99.0.2', 7001))\nfor _ in range(100): c.sendall(bytes(1 << 20))";
    let mut flood = Command::new("python3");
    let flood = Running::start(&mut network.at(End::Here, flood.args(["-c", source])));
    for _ in 0..10 {
        fetch(&lab, &network, &url(THERE[0], https.port, "page"), &[]);
    }
    flood.finish().succeeded();
    server.finish().succeeded();
    for end in [End::Here, End::There] {
        wait_for("the last packets", || {
            let filter = ["-N", network.name(end), "-Htn", "state", "connected", "exclude", "time-wait"];
            output_of("ss", &filter).is_empty().then_some(())
        });
    }
    let (ended, passed) = (capture.stop(), passed() - before);
    let said = |name: &str| -> u64 {
        let value = ended.stderr.split(&format!(" {name}=")).nth(1).expect("a number");
        value.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let (packets, lost) = (said("packets"), said("packets_lost"));
    assert!(lost > 0 && said("keys") >= 10 * 5 && said("keys_lost") == 0, "{}", ended.stderr);
    assert_eq!((packets + lost, count(&path, "frame") as u64), (passed, packets));
    let info = output_of("capinfos", &[path.to_str().expect("UTF-8")]);
    assert!(info.contains(&format!("Number of packets:   {packets}")), "{info}");
}
