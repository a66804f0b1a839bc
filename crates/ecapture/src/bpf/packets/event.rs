//! The record of a packet, and the settings and counters of the programs that make it: a part of `event.h`.

use super::super::event::{Fields, HEAD, Malformed, StreamInfo};

/// A packet, as it passed an interface.
#[derive(Debug)]
pub struct Packet<'a> {
    /// Index of the interface.
    pub interface: u32,
    /// Which way it went; `None`: it stays on this machine.
    pub outgoing: Option<bool>,
    /// Bytes that it has, with those that were not copied.
    pub original: u32,
    /// Packets on the wire that the kernel handles as this one; 0 or 1: itself.
    pub segments: u32,
    /// Protocol and tag of a VLAN, which are not in the bytes.
    pub vlan: Option<(u16, u16)>,
    /// The program that its socket belongs to, if that is known.
    pub owner: Option<StreamInfo>,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Bytes of `struct packet_event`.
pub const PACKET_HEAD: usize = HEAD + 64;

const PACKET_IN: u32 = 1;
const PACKET_OUT: u32 = 2;
const PACKET_VLAN: u32 = 4;

impl<'a> Packet<'a> {
    /// Reads what is behind the head.
    pub(in crate::bpf) fn parse(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        fields.u64()?;
        let length = fields.u32()? as usize;
        let flags = fields.u32()?;
        let original = fields.u32()?;
        let interface = fields.u32()?;
        let (protocol, tag) = (fields.u16()?, fields.u16()?);
        let segments = fields.u32()?;
        let owner: [u8; 24] = fields.take()?;
        fields.u64()?; // the cgroup
        let owner = StreamInfo::parse(Fields(&owner))?;
        Ok(Self {
            interface,
            outgoing: (flags & (PACKET_IN | PACKET_OUT) != 0).then_some(flags & PACKET_OUT != 0),
            original,
            segments,
            vlan: (flags & PACKET_VLAN != 0).then_some((protocol, tag)),
            owner: (owner.pid != 0).then_some(owner),
            bytes: fields.0.get(..length).ok_or(Malformed)?,
        })
    }
}

/// Constants of the programs for packets, in the layout of `struct packet_settings`.
#[derive(Debug, Clone, Copy)]
pub struct PacketSettings {
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// Whether packets of no known program are captured.
    pub unowned: bool,
}

impl PacketSettings {
    /// The bytes of `struct packet_settings`.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.snaplen.to_ne_bytes());
        bytes[4] = u8::from(self.unowned);
        bytes
    }
}

/// What is counted of an interface, in the layout of `struct interface`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Packets that were asked for.
    pub packets: u64,
    /// Of these, those that found the ring full.
    pub dropped: u64,
}

impl Traffic {
    /// An entry for an interface whose network header begins there.
    pub fn entry(network: u32) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[16..20].copy_from_slice(&network.to_ne_bytes());
        bytes
    }

    /// From an entry.
    pub fn parse(entry: &[u8]) -> Option<Self> {
        let (numbers, _) = entry.as_chunks();
        let number = |at: usize| numbers.get(at).map(|bytes| u64::from_ne_bytes(*bytes));
        Some(Self { packets: number(0)?, dropped: number(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::PACKET_HEAD;
    use crate::bpf::event::tests::{Layout, check_layouts};
    use crate::bpf::load::objects;

    #[test]
    fn layouts_of_packets_are_those_of_event_h() {
        let expected: [Layout<'_>; 4] = [
            (
                "packet_event",
                PACKET_HEAD,
                &[
                    ("head", 0),
                    ("pad", 24),
                    ("length", 32),
                    ("flags", 36),
                    ("original", 40),
                    ("interface", 44),
                    ("vlan_protocol", 48),
                    ("vlan_tag", 50),
                    ("segments", 52),
                    ("owner", 56),
                ],
            ),
            ("owner", 32, &[("pid", 0), ("uid", 4), ("comm", 8), ("cgroup", 24)]),
            ("interface", 24, &[("packets", 0), ("dropped", 8), ("network", 16), ("pad", 20)]),
            ("packet_settings", 8, &[("snaplen", 0), ("unowned", 4), ("pad", 5)]),
        ];
        check_layouts(&[objects::PACKETS_MODERN, objects::PACKETS_LEGACY, objects::PACKETS_NOBTF], &expected);
    }
}
