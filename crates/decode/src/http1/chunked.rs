//! Chunked framing (RFC 9112, 7.1), taken apart without keeping any bytes.

/// Where in the framing the next byte is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Chunked {
    /// In the digits of a size; how many there were.
    Size { size: u64, digits: u8 },
    /// Between the size and the end of its line: extensions, which nobody needs.
    Extension { size: u64 },
    /// In data of which so many bytes are left.
    Data { left: u64 },
    /// After data: `\r\n`, or at least `\n`.
    DataEnd { cr: bool },
}

/// What the next bytes are.
pub(super) enum Step<'b> {
    /// All was framing; more must come.
    More,
    /// Content.
    Data(&'b [u8]),
    /// The last chunk is over, trailers follow.
    Trailers,
    /// Not chunked framing.
    Bad,
}

impl Chunked {
    pub const START: Self = Self::Size { size: 0, digits: 0 };

    /// Takes bytes up to the end of one piece of data. Returns what follows it too; when bad, what follows
    /// begins with the offending byte.
    pub fn step<'b>(&mut self, bytes: &'b [u8]) -> (Step<'b>, &'b [u8]) {
        let mut rest = bytes;
        loop {
            if let Self::Data { left } = self {
                let (data, after) =
                    rest.split_at(rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::DataEnd { cr: false };
                }
                return (if data.is_empty() { Step::More } else { Step::Data(data) }, after);
            }
            let Some((&b, after)) = rest.split_first() else { return (Step::More, rest) };
            match self.framing(b) {
                Some(Self::Extension { size: 0 }) if b == b'\n' => return (Step::Trailers, after),
                Some(next) => *self = next,
                None => return (Step::Bad, rest),
            }
            rest = after;
        }
    }

    /// Moves on over lost bytes if they were all data of one chunk.
    pub fn skip(&mut self, lost: u64) -> bool {
        match self {
            Self::Data { left } if *left > lost => *left -= lost,
            Self::Data { left } if *left == lost => *self = Self::DataEnd { cr: false },
            _ => return false,
        }
        true
    }

    /// One byte of framing. The end of the line of the last chunk leaves the state at that line.
    fn framing(self, b: u8) -> Option<Self> {
        match (self, b) {
            (Self::Size { size, digits }, b) if b.is_ascii_hexdigit() => {
                let digit = u64::from((b as char).to_digit(16)?);
                Some(Self::Size {
                    size: size.checked_mul(16)?.checked_add(digit)?,
                    digits: digits.checked_add(1)?,
                })
            }
            (Self::Size { digits: 0, .. }, _) => None,
            (Self::Size { size, .. } | Self::Extension { size }, b'\n') => Some(match size {
                0 => Self::Extension { size },
                left => Self::Data { left },
            }),
            (Self::Size { size, .. }, b'\r' | b';' | b' ' | b'\t') => Some(Self::Extension { size }),
            (Self::Extension { size }, _) => Some(Self::Extension { size }),
            (Self::DataEnd { cr: false }, b'\r') => Some(Self::DataEnd { cr: true }),
            (Self::DataEnd { .. }, b'\n') => Some(Self::START),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and how it ended with how many bytes left.
    fn run(stream: &[u8], push: usize) -> (Vec<u8>, &'static str, usize) {
        let mut chunked = Chunked::START;
        let mut data = Vec::new();
        for (n, piece) in stream.chunks(push).enumerate() {
            let mut rest = piece;
            while !rest.is_empty() {
                let (step, after) = chunked.step(rest);
                let left = stream.len() - n * push - piece.len() + after.len();
                rest = after;
                match step {
                    Step::More => {}
                    Step::Data(d) => data.extend_from_slice(d),
                    Step::Trailers => return (data, "trailers", left),
                    Step::Bad => return (data, "bad", left),
                }
            }
        }
        (data, "more", 0)
    }

    #[test]
    fn all_shapes_at_all_splits() {
        let cases: [(&[u8], &[u8], &str, usize); 9] = [
            (b"5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\nrest", b"hello world", "trailers", 4),
            (b"5\nhello\n0\nx", b"hello", "trailers", 1),
            (b"00A \r\n0123456789\r\n000;x\r\n", b"0123456789", "trailers", 0),
            (b"5\r\nhel", b"hel", "more", 0),
            (b"x", b"", "bad", 1),
            (b"\r\n", b"", "bad", 2),
            (b"5x\r\n", b"", "bad", 3),
            (b"1\r\nhello", b"h", "bad", 4),
            (b"11111111111111111\r\n", b"", "bad", 3),
        ];
        for (stream, data, end, left) in cases {
            for push in 1..=stream.len() {
                assert_eq!(run(stream, push), (data.to_vec(), end, left), "{stream:?} by {push}");
            }
        }
    }
}
