//! Packets of database protocols: a head that says how long the rest is, and the rest.

/// Longest head.
const HEAD_MOST: usize = 5;

/// Puts the packets of one direction together.
#[derive(Default)]
pub(super) struct Packets {
    packet: Packet,
    /// Bytes of the head so far.
    have: usize,
    /// Payload to come, and how much of all of it is kept.
    left: usize,
    keep: usize,
}

/// A packet.
#[derive(Default)]
pub(super) struct Packet {
    pub head: [u8; HEAD_MOST],
    /// The part of the payload that is kept.
    pub payload: Vec<u8>,
    /// Whether that is less than was asked for.
    pub is_cut: bool,
    pub wire: u64,
}

/// What a head says.
pub(super) struct Shape {
    /// Bytes that follow it.
    pub length: usize,
    /// How many of them matter.
    pub keep: usize,
}

pub(super) enum Step<'b> {
    More,
    /// These bytes follow the packet.
    Packet(Packet, &'b [u8]),
    /// This can not be the head of a packet.
    Bad,
}

impl Packets {
    /// Takes bytes up to the end of a packet whose head has `head` bytes. At most `limit` of its payload is kept.
    pub fn read<'b>(
        &mut self,
        bytes: &'b [u8],
        head: usize,
        limit: usize,
        shape: impl FnOnce(&[u8]) -> Option<Shape>,
    ) -> Step<'b> {
        let (taken, rest) = bytes.split_at(bytes.len().min(head - self.have));
        self.packet.head[self.have..self.have + taken.len()].copy_from_slice(taken);
        self.have += taken.len();
        self.packet.wire += taken.len() as u64;
        if self.have < head {
            return Step::More;
        }
        if self.packet.wire == head as u64 && self.left == 0 {
            let Some(Shape { length, keep }) = shape(&self.packet.head[..head]) else { return Step::Bad };
            self.left = length;
            self.keep = keep.min(length).min(limit);
            self.packet.is_cut = keep.min(length) > limit;
        }
        let (taken, rest) = rest.split_at(rest.len().min(self.left));
        let room = self.keep - self.packet.payload.len();
        self.packet.payload.extend_from_slice(&taken[..taken.len().min(room)]);
        self.packet.wire += taken.len() as u64;
        self.left -= taken.len();
        if self.left > 0 {
            return Step::More;
        }
        Step::Packet(std::mem::take(self).packet, rest)
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.packet.payload.capacity()
    }

    /// Bytes of a head that came so far.
    pub fn have(&self) -> usize {
        self.have
    }

    /// Gives up the packet that is not complete: the bytes of its head, and how many came behind them.
    pub fn give_up(&mut self) -> (Vec<u8>, usize) {
        let Self { packet, have, .. } = std::mem::take(self);
        (packet.head[..have].to_vec(), packet.wire as usize - have)
    }
}

/// Reads what packets are made of.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A string that ends with NUL.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let string = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(string)
    }
}
