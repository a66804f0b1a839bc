//! Plaintext as packets of `LINKTYPE_WIRESHARK_UPPER_PDU`: tags that say what it is and whose, then the bytes.
//! The tags are those of Wireshark's `wsutil/exported_pdu_tlvs.h`.

use std::net::SocketAddr;

use crate::record::{Direction, Endpoint, Interface, Plaintext, Protocol};

const LINK_TYPE: u16 = 252;

const END_OF_TAGS: u16 = 0;
const DISSECTOR: u16 = 12;
const IPV4_SOURCE: u16 = 20;
const IPV6_SOURCE: u16 = 22;
const PORT_TYPE: u16 = 24;
const SOURCE_PORT: u16 = 25;
const DIRECTION: u16 = 35;

/// `EXP_PDU_PT_NONE`: as TCP, it would be the same connection as that of the packets to Wireshark, and what dissectors
/// remember of one, such as the HPACK table of HTTP/2, would be spoilt by the other.
const NO_TRANSPORT: u32 = 0;

/// Where plaintext is in a file.
pub fn interface() -> Interface {
    Interface {
        index: 0,
        name: "plaintext".to_owned(),
        link_type: LINK_TYPE,
        description: "what programs passed to their TLS libraries and got from them".to_owned(),
    }
}

/// Wireshark's name of what dissects it. HTTP/2 needs to know the connection: fields refer to earlier ones.
fn dissector(plaintext: &Plaintext<'_>) -> &'static str {
    match plaintext.protocol {
        // The dissector of HTTP knows what its connections are upgraded to.
        Some(Protocol::Http1 | Protocol::WebSocket) => "http",
        Some(Protocol::Http2) if plaintext.connection.flow().is_some() => "http2",
        _ => "data",
    }
}

/// The packet.
pub fn packet(plaintext: &Plaintext<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(plaintext.bytes.len() + 128);
    tag(&mut out, DISSECTOR, dissector(plaintext).as_bytes());
    if let [Endpoint::Inet(source), Endpoint::Inet(destination)] =
        plaintext.connection.ends(plaintext.direction)
    {
        for (place, end) in (0..).zip([source, destination]) {
            match end {
                SocketAddr::V4(end) => tag(&mut out, IPV4_SOURCE + place, &end.ip().octets()),
                SocketAddr::V6(end) => tag(&mut out, IPV6_SOURCE + place, &end.ip().octets()),
            }
            tag(&mut out, SOURCE_PORT + place, &u32::from(end.port()).to_be_bytes());
        }
        tag(&mut out, PORT_TYPE, &NO_TRANSPORT.to_be_bytes());
    }
    let direction: u32 = if plaintext.direction == Direction::Sent { 0 } else { 1 };
    tag(&mut out, DIRECTION, &direction.to_be_bytes());
    tag(&mut out, END_OF_TAGS, &[]);
    out.extend_from_slice(plaintext.bytes);
    out
}

/// Appends a tag. Its length includes the padding, as Wireshark has it.
fn tag(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let padded = value.len().next_multiple_of(4);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(padded as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + padded - value.len(), 0);
}
