//! Packets: the interface, VLAN tag and connection that each belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use rustc_hash::FxHashMap;

use super::FilteredSinks;
use crate::bpf::{self, LinkType};
use crate::record::{Direction, Flow, Interface, Packet, Process};

/// `LINKTYPE_ETHERNET` and `LINKTYPE_RAW`.
const ETHERNET: u16 = 1;
const RAW: u16 = 101;

/// Bytes of the two addresses of an Ethernet header; a VLAN tag comes after them.
const ADDRESSES: usize = 12;

/// Gives packets to sinks.
pub struct Packets {
    described: Receiver<bpf::Interface>,
    interfaces: FxHashMap<u32, Arc<Interface>>,
}

impl Packets {
    /// `described` has each interface before its first packet.
    pub fn new(described: Receiver<bpf::Interface>) -> Self {
        Self { described, interfaces: FxHashMap::default() }
    }

    /// Takes a packet that was seen at `time`, ns since 1970; it is in `block`.
    pub fn take(&mut self, packet: &bpf::Packet<'_>, block: &Bytes, time: i64, sinks: &mut FilteredSinks) {
        for new in self.described.try_iter() {
            let link_type = match new.link {
                LinkType::Ethernet => ETHERNET,
                LinkType::Raw => RAW,
            };
            let description = format!("MTU {}", new.mtu);
            let interface = Interface { index: new.index, name: new.name, link_type, description };
            self.interfaces.insert(new.index, Arc::new(interface));
        }
        let Some(interface) = self.interfaces.get(&packet.interface) else { return };
        let tag = packet.vlan.filter(|_| packet.bytes.len() >= ADDRESSES).map(tag);
        let process = packet.owner.as_ref().map(|owner| Process {
            pid: owner.pid,
            uid: owner.uid,
            comm: owner.comm.clone(),
            container: None,
        });
        sinks.write_packet(&Packet {
            time,
            interface,
            direction: packet.outgoing.map(|out| if out { Direction::Sent } else { Direction::Received }),
            original: packet.original.saturating_add(tag.map_or(0, |tag| tag.len() as u32)),
            segments: packet.segments,
            process: process.as_ref(),
            flow: flow(packet.bytes, interface.link_type == ETHERNET),
            tag,
            bytes: kept(packet.bytes, block),
        });
    }
}

/// Bytes up to which a packet is copied, so that few small ones do not keep a whole block.
const SMALL: usize = 2048;

/// The bytes of a packet, which outlive it.
fn kept(bytes: &[u8], block: &Bytes) -> Bytes {
    if bytes.len() <= SMALL { Bytes::copy_from_slice(bytes) } else { block.slice_ref(bytes) }
}

/// The tag that the kernel took out of a packet: protocol and value.
fn tag((protocol, value): (u16, u16)) -> [u8; 4] {
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// VLAN tags inside of each other that are looked through.
const MOST_TAGS: usize = 3;

/// IPv6 extension headers that are looked through.
const MOST_EXTENSIONS: usize = 8;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The connection of a TCP or UDP packet; `None` for fragments after the first.
fn flow(bytes: &[u8], is_ethernet: bool) -> Option<Flow> {
    let mut rest = if is_ethernet { bytes.get(ADDRESSES..)? } else { bytes };
    if is_ethernet {
        for _ in 0..MOST_TAGS {
            match rest.first_chunk()? {
                [0x81, 0x00] | [0x88, 0xa8] => rest = rest.get(4..)?,
                _ => break,
            }
        }
        rest = rest.get(2..)?;
    }
    let (protocol, source, destination, ports) = match rest.first()? >> 4 {
        4 => ipv4(rest)?,
        6 => ipv6(rest)?,
        _ => return None,
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let [a, b, c, d] = *ports.first_chunk()?;
    let from = SocketAddr::new(source, u16::from_be_bytes([a, b]));
    let to = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
    Some(Flow::new(protocol, from, to))
}

/// Protocol, addresses, and what is behind the header.
type Network<'a> = (u8, IpAddr, IpAddr, &'a [u8]);

fn ipv4(bytes: &[u8]) -> Option<Network<'_>> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    if header[6] & 0x1f != 0 || header[7] != 0 {
        return None;
    }
    let address = |at: usize| {
        let [a, b, c, d] = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        IpAddr::from(Ipv4Addr::new(a, b, c, d))
    };
    let behind = bytes.get(usize::from(header[0] & 15) * 4..)?;
    Some((header[9], address(12), address(16), behind))
}

fn ipv6(bytes: &[u8]) -> Option<Network<'_>> {
    let header: &[u8; 40] = bytes.first_chunk()?;
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (mut protocol, mut rest) = (header[6], &bytes[40..]);
    for _ in 0..MOST_EXTENSIONS {
        // RFC 8200, section 4: hop-by-hop options, routing, fragment, destination options.
        let [next, length, high, low] = *match protocol {
            0 | 43 | 44 | 60 => rest.first_chunk()?,
            _ => break,
        };
        let is_fragment = protocol == 44;
        if is_fragment && (high != 0 || low >> 3 != 0) {
            return None;
        }
        rest = rest.get(if is_fragment { 8 } else { (usize::from(length) + 1) * 8 }..)?;
        protocol = next;
    }
    Some((protocol, address(8), address(24), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4_packet(protocol: u8, fragment: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, fragment, 64, protocol, 0, 0];
        packet.extend([10, 0, 0, 2, 10, 0, 0, 1, 0xd4, 0x31, 1, 0xbb, 0, 0, 0, 0]);
        packet
    }

    fn ipv6_packet(extensions: &[u8], next: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend("fd00::2".parse::<Ipv6Addr>().expect("an address").octets());
        packet.extend(extensions);
        packet.extend([1, 0xbb, 0xd4, 0x31, 0, 0, 0, 0]);
        packet
    }

    fn ends(protocol: u8, low: &str, high: &str) -> Option<Flow> {
        Some(Flow { protocol, ends: [low, high].map(|end| end.parse().expect("an address")) })
    }

    fn on_ethernet(types: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0; 12], types, packet].concat()
    }

    #[test]
    fn both_directions_are_one_connection() {
        let expected = ends(TCP, "10.0.0.1:443", "10.0.0.2:54321");
        assert_eq!(flow(&ipv4_packet(TCP, 0), false), expected);
        assert_eq!(flow(&on_ethernet(&[8, 0], &ipv4_packet(TCP, 0)), true), expected);
        let tags = [0x88, 0xa8, 0, 1, 0x81, 0, 0, 5, 8, 0];
        assert_eq!(flow(&on_ethernet(&tags, &ipv4_packet(TCP, 0)), true), expected);
        assert_eq!(flow(&ipv4_packet(TCP, 8), false), None);
        assert_eq!(flow(&ipv4_packet(1, 0), false), None);
    }

    #[test]
    fn extension_headers_are_passed() {
        let expected = ends(UDP, "[::1]:443", "[fd00::2]:54321");
        let cases: [(&[u8], u8, Option<Flow>); 4] = [
            (&[], UDP, expected),
            (&[44, 0, 0, 0, 0, 0, 0, 0, UDP, 0, 0, 1, 0, 0, 0, 7], 0, expected),
            (&[UDP, 0, 0, 8, 0, 0, 0, 7], 44, None),
            (&[60, 1], 60, None),
        ];
        for (extensions, next, expected) in cases {
            assert_eq!(flow(&ipv6_packet(extensions, next), false), expected, "{extensions:?}");
        }
    }

    #[test]
    fn a_cut_packet_has_no_connection() {
        for packet in [ipv4_packet(TCP, 0), ipv6_packet(&[UDP, 0, 0, 0, 0, 0, 0, 0], 0)] {
            for length in 0..packet.len() - 5 {
                assert_eq!(flow(&packet[..length], false), None, "{length}");
            }
        }
    }
}
