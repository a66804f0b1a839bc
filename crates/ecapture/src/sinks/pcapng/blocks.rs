//! Blocks of pcapng (draft-ietf-opsawg-pcapng), in the byte order of this machine.
//!
//! No crate has a release that writes decryption secrets, so they are written here.

use bytes::Bytes;

use super::batch::Batch;
use crate::record::{Direction, Interface, Packet, Traffic};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Secrets as in an NSS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_RESOLUTION: u16 = 9;
const IF_FILTER: u16 = 11;
const EPB_FLAGS: u16 = 2;
const ISB_RECEIVED: u16 = 4;
const ISB_DROPPED: u16 = 5;

/// Appends one block; its length stands at both ends.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        let block = Self { out, start };
        block.u32(kind).u32(0)
    }

    fn u16(self, value: u16) -> Self {
        self.out.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn u32(self, value: u32) -> Self {
        self.out.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Bytes, padded to whole words.
    fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self.out.resize(self.out.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
        self
    }

    /// A time in ns since 1970: its upper half comes first.
    fn time(self, time: i64) -> Self {
        self.u32((time >> 32) as u32).u32(time as u32)
    }

    fn option(self, code: u16, value: &[u8]) -> Self {
        append_option(self.out, code, value);
        self
    }

    fn end(self) {
        self.out.extend_from_slice(&[0; 4]);
        let length = ((self.out.len() - self.start) as u32).to_ne_bytes();
        self.out[self.start + 4..][..4].copy_from_slice(&length);
        let at = self.out.len() - 4;
        self.out[at..].copy_from_slice(&length);
    }

    fn end_options(self) {
        self.option(OPT_END, &[]).end();
    }
}

/// Appends an option; what is longer than an option can be is cut.
fn append_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX.into())];
    out.extend_from_slice(&code.to_ne_bytes());
    out.extend_from_slice(&(value.len() as u16).to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + value.len().next_multiple_of(4) - value.len(), 0);
}

/// The begin of a file.
pub fn section(out: &mut Vec<u8>) {
    let length_is_unknown = u32::MAX;
    Block::begin(out, SECTION)
        .u32(0x1a2b_3c4d) // tells the byte order
        .u16(1)
        .u16(0)
        .u32(length_is_unknown)
        .u32(length_is_unknown)
        .option(SHB_APPLICATION, concat!("ecapture ", env!("CARGO_PKG_VERSION")).as_bytes())
        .end_options();
}

/// An interface. Packets name it by its number in the file.
pub fn interface(out: &mut Vec<u8>, interface: &Interface, snaplen: u32, filter: &str) {
    let block = Block::begin(out, INTERFACE)
        .u16(interface.link_type)
        .u16(0)
        .u32(snaplen)
        .option(IF_NAME, interface.name.as_bytes())
        .option(IF_DESCRIPTION, interface.description.as_bytes())
        .option(IF_RESOLUTION, &[9]); // ns
    if filter.is_empty() {
        block.end_options();
    } else {
        block.option(IF_FILTER, &[&[0], filter.as_bytes()].concat()).end_options(); // 0: as text of libpcap
    }
}

/// Lines of a key log.
pub fn secrets(out: &mut Vec<u8>, lines: &[u8]) {
    Block::begin(out, SECRETS).u32(TLS_KEY_LOG).u32(lines.len() as u32).bytes(lines).end();
}

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// When it was seen, ns since 1970.
    pub time: i64,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// Bytes that it has, with the tag.
    pub original: u32,
    /// A VLAN tag that belongs behind its addresses.
    pub tag: Option<[u8; 4]>,
}

impl From<&Packet<'_>> for Description {
    fn from(packet: &Packet<'_>) -> Self {
        let Packet { time, direction, original, tag, .. } = *packet;
        Self { time, direction, original, tag }
    }
}

/// Bytes of the two addresses of an Ethernet header; a VLAN tag comes after them.
const ADDRESSES: usize = 12;

/// A packet of the interface with this number.
pub fn packet(out: &mut Batch, interface: u32, packet: Description, bytes: &Bytes, comments: &[String]) {
    let options = packet_options(packet.direction, comments);
    let captured = bytes.len() + packet.tag.map_or(0, |tag| tag.len());
    let padded = captured.next_multiple_of(4);
    let length = (32 + padded + options.len()) as u32;
    let time = packet.time;
    let head = [ENHANCED_PACKET, length, interface, (time >> 32) as u32, time as u32, captured as u32];
    for word in head.into_iter().chain([packet.original]) {
        out.text.extend_from_slice(&word.to_ne_bytes());
    }
    match packet.tag {
        None => out.append(bytes.clone()),
        Some(tag) => {
            let (addresses, rest) = bytes.split_at(ADDRESSES.min(bytes.len()));
            out.text.extend_from_slice(addresses);
            out.text.extend_from_slice(&tag);
            out.append(bytes.slice_ref(rest));
        }
    }
    out.text.extend_from_slice(&[0; 3][..padded - captured]);
    out.text.extend_from_slice(&options);
    out.text.extend_from_slice(&length.to_ne_bytes());
}

fn packet_options(direction: Option<Direction>, comments: &[String]) -> Vec<u8> {
    let mut options = Vec::new();
    let mut option = |code, value: &[u8]| append_option(&mut options, code, value);
    if let Some(direction) = direction {
        let flags: u32 = if direction == Direction::Received { 1 } else { 2 };
        option(EPB_FLAGS, &flags.to_ne_bytes());
    }
    for comment in comments {
        option(OPT_COMMENT, comment.as_bytes());
    }
    if !options.is_empty() {
        append_option(&mut options, OPT_END, &[]);
    }
    options
}

/// What was counted of an interface, at the end.
pub fn statistics(out: &mut Vec<u8>, interface: u32, time: i64, traffic: Traffic) {
    Block::begin(out, STATISTICS)
        .u32(interface)
        .time(time)
        .option(ISB_RECEIVED, &traffic.packets.to_ne_bytes())
        .option(ISB_DROPPED, &traffic.dropped.to_ne_bytes())
        .end_options();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with one packet, as it is written.
    fn written(about: Description, bytes: &[u8], comments: &[String]) -> Vec<u8> {
        let mut batch = Batch::default();
        packet(&mut batch, 7, about, &Bytes::copy_from_slice(bytes), comments);
        let written: Vec<u8> = batch.pieces().iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(batch.len(), written.len());
        written
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_packet_block_byte_by_byte() {
        let about =
            Description { time: 0x1_0000_0002, direction: Some(Direction::Sent), original: 9, tag: None };
        let mut expected = words(&[6, 60, 7, 1, 2, 5, 9]);
        expected.extend(b"abcde\0\0\0");
        expected.extend([EPB_FLAGS, 4].map(u16::to_ne_bytes).concat());
        expected.extend(2u32.to_ne_bytes());
        expected.extend([OPT_COMMENT, 2].map(u16::to_ne_bytes).concat());
        expected.extend(b"hi\0\0");
        expected.extend(words(&[0, 60]));
        assert_eq!(written(about, b"abcde", &["hi".to_owned()]), expected);
    }

    #[test]
    fn the_tag_goes_back_behind_the_addresses_of_small_and_large_packets() {
        for length in [13, 5000] {
            let tag = [0x81, 0, 0, 5];
            let about = Description { time: 0, direction: None, original: length + 4, tag: Some(tag) };
            let frame = vec![7; length as usize];
            let block = written(about, &frame, &[]);
            let padded = (length + 4).next_multiple_of(4);
            let mut expected = words(&[6, 32 + padded, 7, 0, 0, length + 4, length + 4]);
            expected.extend([&frame[..12], &tag, &frame[12..]].concat());
            expected.resize(28 + padded as usize, 0);
            expected.extend((32 + padded).to_ne_bytes());
            assert_eq!(block, expected, "{length}");
        }
    }

    #[test]
    fn every_block_has_its_length_at_both_ends_in_whole_words() {
        let eth =
            Interface { index: 2, name: "eth0".to_owned(), link_type: 1, description: "MTU".to_owned() };
        let about = Description { time: 1, direction: None, original: 3, tag: None };
        let mut out = Vec::new();
        section(&mut out);
        interface(&mut out, &eth, 65535, "");
        interface(&mut out, &eth, 65535, "tcp port 443");
        secrets(&mut out, b"CLIENT_RANDOM\n");
        out.extend(written(about, b"abc", &[]));
        statistics(&mut out, 0, 1, Traffic { packets: 2, dropped: 1 });
        let (mut rest, mut kinds) = (&out[..], Vec::new());
        while let Some((&[kind, length, ..], _)) = rest.as_chunks::<4>().0.split_first_chunk::<2>() {
            let (block, next) = rest.split_at(u32::from_ne_bytes(length) as usize);
            assert!(block.len() % 4 == 0 && block.ends_with(&length), "{kind:?}");
            kinds.push(u32::from_ne_bytes(kind));
            rest = next;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, SECRETS, ENHANCED_PACKET, STATISTICS]);
    }
}
