//! Heads of WebSocket frames (RFC 6455, 5.2).

/// Longest head: two bytes, a length of eight, a mask.
pub(super) const HEAD_MAX: usize = 14;
/// Longest payload of a control frame.
pub(super) const CONTROL_MAX: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Opcodes and their numbers; the others are reserved.
const OPCODES: [(u8, Opcode); 6] = [
    (0, Opcode::Continuation),
    (1, Opcode::Text),
    (2, Opcode::Binary),
    (8, Opcode::Close),
    (9, Opcode::Ping),
    (10, Opcode::Pong),
];

/// A frame whose payload is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub opcode: Opcode,
    /// The last of its message.
    pub last: bool,
    /// The first reserved bit: with permessage-deflate, the message is compressed.
    pub compressed: bool,
    /// Bytes of payload that are still to come.
    pub left: u64,
    mask: Option<[u8; 4]>,
    /// Bytes of payload so far, modulo 4.
    at: usize,
}

impl Opcode {
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Length of the head that begins with `head`, as far as these bytes tell: at least one more than they are
/// as long as it is not complete.
pub(super) fn head_len(head: &[u8]) -> usize {
    let Some(&second) = head.get(1) else { return 2 };
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

impl Frame {
    /// Reads a complete head. `None` if it is against the rules: reserved bits or opcodes, a length that is not
    /// in its shortest form, a control frame that is long or in fragments.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = head.split_first_chunk()?;
        let &(_, opcode) = OPCODES.iter().find(|(number, _)| first & 0x0F == *number)?;
        let (left, mask) = match second & 0x7F {
            126 => {
                let (length, mask) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), mask)
            }
            127 => {
                let (length, mask) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), mask)
            }
            short => (short.into(), rest),
        };
        let shortest = match second & 0x7F {
            126 => left > CONTROL_MAX,
            127 => left > u16::MAX.into() && left < 1 << 63,
            _ => true,
        };
        let (last, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        let fine = !opcode.is_control() || (last && !compressed && left <= CONTROL_MAX);
        let mask = mask.first_chunk().copied();
        (shortest && fine && first & 0x30 == 0).then_some(Self {
            opcode,
            last,
            compressed,
            left,
            mask,
            at: 0,
        })
    }

    pub fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Takes `piece`, which is not longer than what is left. Masked, it is put in the clear into `plain`, which
    /// is at least as long.
    pub fn payload<'a>(&mut self, piece: &'a [u8], plain: &'a mut [u8]) -> &'a [u8] {
        let at = self.skip(piece.len() as u64);
        let Some(mut mask) = self.mask else { return piece };
        mask.rotate_left(at);
        let plain = &mut plain[..piece.len()];
        let mask: [u8; 16] = std::array::from_fn(|n| mask[n % 4]);
        // Whole blocks become vector code.
        for (plain, piece) in plain.chunks_mut(16).zip(piece.chunks(16)) {
            match (<&mut [u8; 16]>::try_from(&mut *plain), <&[u8; 16]>::try_from(piece)) {
                (Ok(plain), Ok(piece)) => (0..16).for_each(|n| plain[n] = piece[n] ^ mask[n]),
                _ => plain
                    .iter_mut()
                    .zip(piece)
                    .zip(mask)
                    .for_each(|((plain, piece), mask)| *plain = piece ^ mask),
            }
        }
        plain
    }

    /// Moves on over bytes of payload, at most as many as are left; answers where in the mask they began.
    pub fn skip(&mut self, bytes: u64) -> usize {
        let at = self.at;
        self.left -= bytes;
        self.at = (at + (bytes % 4) as usize) % 4;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        let masked = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
        assert_eq!((head_len(&masked[..1]), head_len(&masked)), (2, 6));
        let mut frame = Frame::parse(&masked[..6]).expect("a frame");
        assert_eq!((frame.opcode, frame.last, frame.left), (Opcode::Text, true, 5));
        let mut plain = [0; 8];
        assert_eq!(frame.payload(&masked[6..9], &mut plain), b"Hel");
        assert_eq!(frame.payload(&masked[9..], &mut plain), b"lo");
        let long = [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(Frame::parse(&long).map(|frame| frame.left), Some(65_536));
    }

    #[test]
    fn what_is_against_the_rules() {
        let heads: [&[u8]; 7] = [
            &[0x83, 0],
            &[0xA1, 0],
            &[0x09, 0],
            &[0xC9, 0],
            &[0x81, 126, 0, 125],
            &[0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255],
            &[0x88, 126, 0, 126],
        ];
        for head in heads {
            assert!(Frame::parse(head).is_none(), "{head:?}");
        }
    }
}
