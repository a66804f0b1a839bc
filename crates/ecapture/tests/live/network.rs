//! Two network namespaces with a cable between them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::output_of;

/// The two ends; removed when dropped.
pub struct Network {
    names: [String; 2],
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Here,
    There,
}

/// The interface of each end.
pub const CABLE: &str = "cable";

/// Addresses of the ends: IPv4, IPv6.
pub const HERE: [&str; 2] = ["10.99.0.1", "fd99::1"];
pub const THERE: [&str; 2] = ["10.99.0.2", "fd99::2"];

impl Network {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("ecapture-{}-{number}-{end}", std::process::id());
        let network = Self { names: [name("here"), name("there")] };
        for name in &network.names {
            output_of("ip", &["netns", "add", name]);
        }
        let [here, there] = &network.names;
        let cable = ["-n", here, "link", "add", CABLE, "type", "veth", "peer", CABLE, "netns", there];
        output_of("ip", &cable);
        for (name, [ipv4, ipv6]) in [(here, HERE), (there, THERE)] {
            let ip = |words: &str| {
                let all: Vec<&str> = ["-n", name].into_iter().chain(words.split(' ')).collect();
                output_of("ip", &all)
            };
            ip("link set lo up");
            ip(&format!("link set {CABLE} addrgenmode none up"));
            ip(&format!("address add {ipv4}/24 dev {CABLE}"));
            ip(&format!("address add {ipv6}/64 dev {CABLE} nodad"));
        }
        network
    }

    /// The namespace of an end, for `ip -n`.
    pub fn name(&self, end: End) -> &str {
        &self.names[usize::from(end == End::There)]
    }

    /// The same program, at an end. Not by `ip netns exec`, which hides the mounts below `/sys`.
    pub fn at(&self, end: End, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", PathBuf::from("/run/netns").join(self.name(end)).display()));
        inside.arg("--").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }
}

/// Python that sends a UDP packet in VLAN 5, from there to here. The kernel of the test may have no VLAN interfaces.
pub const SEND_TAGGED: &str = r"
import socket, struct
def sum16(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def tagged(port, vlan=5):
    udp = struct.pack('!HHHH', 7000, port, 12, 0) + b'tags'
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 32, 1, 0, 64, 17, 0, bytes([10, 99, 0, 2]), bytes([10, 99, 0, 1]))
    ip = ip[:10] + struct.pack('!H', sum16(ip)) + ip[12:]
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(('cable', 0))
    s.send(b'\xff' * 6 + b'\x02' * 6 + struct.pack('!HHH', 0x8100, vlan, 0x0800) + ip + udp)
";

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}
