//! Filter expressions: the kernel chooses what tcpdump chooses.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::lab::{ready_port, say};
use crate::network::{CABLE, End, HERE, Network, SEND_TAGGED, THERE};
use crate::packet_capture::{PacketCapture, fetch, fields, lab, serve, url};
use crate::process::{Running, output_of, wait_for};

/// Not compared with tcpdump: libpcap checks the first packets itself, which it can not do for directions.
#[test]
fn filters_know_directions() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    for (expression, from) in [("inbound and tcp", THERE[0]), ("outbound and tcp", HERE[0])] {
        let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, expression]);
        let path = capture.path.clone();
        fetch(&lab, &network, &url(THERE[0], server.port, "page"), &[]);
        capture.stop();
        let packets = fields(&path, "frame", &["ip.src"]);
        assert!(
            packets.len() >= 4 && packets.iter().all(|source| source == from),
            "{expression}: {packets:?}"
        );
    }
}

/// Traffic of many kinds between the ends: TCP and UDP, large and small, ICMP errors, fragments, VLAN tags.
const TALK: &str = r"
def serve(family, address):
    listener = socket.socket(family)
    listener.bind((address, 4433))
    listener.listen()
    while True:
        connection, _ = listener.accept()
        while connection.recv(65536): pass
        connection.close()
";

const ASK: &str = r"
import socket
for family, address in [(socket.AF_INET, '10.99.0.2'), (socket.AF_INET6, 'fd99::2')]:
    with socket.create_connection((address, 4433)) as connection:
        connection.sendall(b'GET / HTTP/1.0\r\n\r\n' + b'x' * 100000)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # nothing comes after the end
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    for port, length in [(53, 40), (9999, 700), (9999, 4000)]:
        datagrams.sendto(b'y' * length, (address, port))
    broadcast = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    broadcast.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    broadcast.sendto(b'to all', ('10.99.0.255', 9999))
";

/// Each feature of the language that makes other code.
const EXPRESSIONS: [&str; 22] = [
    "tcp",
    "udp port 53",
    "not tcp and not arp",
    "tcp dst port 4433",
    "host 10.99.0.2 and tcp",
    "src host fd99::1",
    "net 10.99.0.0/24 and udp",
    "ip6",
    "ip6 and tcp src port 4433",
    "icmp or icmp6",
    "icmp[icmptype] == icmp-unreach",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[6:2] & 0x1fff != 0",
    "greater 1000",
    "less 70",
    "portrange 50-60",
    "ether broadcast or ip broadcast",
    "vlan",
    "vlan 5 and udp",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "ether proto 0x0806",
    "ether[12:2] = 0x0800 and ip[8] * 2 / 4 % 5 != 1 and len >= 60",
];

/// Lines of tcpdump for a file, sorted; without what the kernel sends when it likes.
fn dump(file: &Path) -> Vec<String> {
    let text = output_of("tcpdump", &["-nn", "-e", "-t", "-r", file.to_str().expect("UTF-8")]);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.contains("multicast listener")).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn filters_choose_what_tcpdump_chooses() {
    let (lab, network) = (lab(), Network::new());
    let python = |end: End, source: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", source]);
        Running::start(&mut network.at(end, &python))
    };
    // Else the kernel answers a closed port less and less often.
    let mut unlimited = Command::new("sysctl");
    unlimited.args(["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
    Running::start(&mut network.at(End::There, &unlimited)).finish().succeeded();
    let answer = format!(
        "{SEND_TAGGED}{TALK}\nimport threading\n\
         threading.Thread(target=serve, args=(socket.AF_INET, '10.99.0.2')).start()\n\
         threading.Thread(target=serve, args=(socket.AF_INET6, 'fd99::2')).start()\n\
         import sys\nprint('ready 4433', flush=True)\n\
         for line in sys.stdin: tagged(7001)"
    );
    let mut server = Command::new("python3");
    server.args(["-c", &answer]);
    let mut server = Running::start_with_input(network.at(End::There, &server).stdin(Stdio::piped()));
    ready_port(&server);
    let mut orders = server.input();
    for expression in EXPRESSIONS {
        let theirs = lab.path("tcpdump.pcap");
        let mut tcpdump = Command::new("tcpdump");
        tcpdump
            .args(["-i", CABLE, "--immediate-mode", "-U", "-Z", "root", "-w"])
            .arg(&theirs)
            .arg(expression);
        let tcpdump = Running::start(&mut network.at(End::Here, &tcpdump));
        tcpdump.error_line("\"listening\"", |line| line.contains("listening on").then_some(()));
        let capture = PacketCapture::start(&lab, &network, &["-i", CABLE, expression]);
        let ours = capture.path.clone();
        output_of("ip", &["-n", network.name(End::Here), "neighbour", "flush", "dev", CABLE]); // for ARP
        say(&mut orders, "tagged\n");
        python(End::Here, ASK).finish().succeeded();
        wait_for(expression, || (!dump(&theirs).is_empty()).then_some(()));
        capture.stop();
        tcpdump.signal(Signal::INT);
        tcpdump.finish().succeeded();
        let (ours, theirs) = (dump(&ours), dump(&theirs));
        assert_eq!(ours, theirs, "{expression}");
    }
}
