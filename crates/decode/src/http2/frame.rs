//! Frames of HTTP/2 (RFC 9113, 4 and 6): their heads, and which of them can be.

/// Bytes of every frame's head.
pub(super) const HEAD: usize = 9;
/// Longest frame of an unknown type that is believed: what every endpoint takes (RFC 9113, 4.2).
const UNKNOWN_MOST: usize = 16 << 10;
/// What a client sends first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x01;
pub(super) const END_HEADERS: u8 = 0x04;
pub(super) const PADDED: u8 = 0x08;
pub(super) const PRIORITY: u8 = 0x20;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of the payload, in bytes.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

/// What holds for every frame of a type.
struct Rule {
    /// Flags that are defined.
    flags: u8,
    stream: Stream,
    length: Length,
}

enum Stream {
    None,
    One,
    Any,
}

enum Length {
    Is(usize),
    AtLeast(usize),
    MultipleOf(usize),
}

/// By type.
const RULES: [Rule; 10] = [
    Rule { flags: END_STREAM | PADDED, stream: Stream::One, length: Length::AtLeast(0) },
    Rule {
        flags: END_STREAM | END_HEADERS | PADDED | PRIORITY,
        stream: Stream::One,
        length: Length::AtLeast(1),
    },
    Rule { flags: 0, stream: Stream::One, length: Length::Is(5) }, // PRIORITY
    Rule { flags: 0, stream: Stream::One, length: Length::Is(4) },
    Rule { flags: 1, stream: Stream::None, length: Length::MultipleOf(6) }, // SETTINGS
    Rule { flags: END_HEADERS | PADDED, stream: Stream::One, length: Length::AtLeast(5) },
    Rule { flags: 1, stream: Stream::None, length: Length::Is(8) }, // PING
    Rule { flags: 0, stream: Stream::None, length: Length::AtLeast(8) },
    Rule { flags: 0, stream: Stream::Any, length: Length::Is(4) }, // WINDOW_UPDATE
    Rule { flags: END_HEADERS, stream: Stream::One, length: Length::AtLeast(0) },
];

impl Frame {
    /// Reads a head; the reserved bit means nothing.
    pub fn parse(head: &[u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *head;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7FFF_FFFF,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether its type can have this stream and this length.
    pub fn is_legal(&self) -> bool {
        let Some(rule) = RULES.get(usize::from(self.kind)) else { return self.length <= UNKNOWN_MOST };
        let stream = match rule.stream {
            Stream::None => self.stream == 0,
            Stream::One => self.stream != 0,
            Stream::Any => true,
        };
        let padded = usize::from(self.has(PADDED) && rule.flags & PADDED != 0);
        stream
            && match rule.length {
                Length::Is(length) => self.length == length,
                Length::AtLeast(length) => self.length >= length + padded,
                Length::MultipleOf(length) => self.length.is_multiple_of(length),
            }
    }

    /// Whether it is legal, of a known type, and has only defined flags: what real programs send.
    pub fn is_usual(&self) -> bool {
        RULES.get(usize::from(self.kind)).is_some_and(|rule| self.flags & !rule.flags == 0) && self.is_legal()
    }

    /// Whether its type, flags, stream and length fix at least 40 bits of its head, which chance does not.
    pub fn is_telling(&self) -> bool {
        let fixed = RULES.get(usize::from(self.kind)).is_some_and(|rule| {
            matches!((&rule.length, &rule.stream), (Length::Is(_), _) | (_, Stream::None))
        });
        fixed && self.is_usual()
    }
}

/// A payload without its padding, and without the priority that HEADERS may begin with.
pub(super) fn unpadded<'a>(frame: &Frame, payload: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = payload;
    if frame.has(PADDED) {
        let (&pad, after) = rest.split_first()?;
        rest = after.get(..after.len().checked_sub(pad.into())?)?;
    }
    if frame.kind == HEADERS && frame.has(PRIORITY) {
        rest = rest.get(5..)?;
    }
    Some(rest)
}

/// Names of error codes (RFC 9113, 7) in their order.
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error, or its number.
pub(super) fn error(code: [u8; 4]) -> String {
    let code = u32::from_be_bytes(code);
    let name = usize::try_from(code).ok().and_then(|code| ERRORS.get(code));
    name.map_or_else(|| format!("error {code:#x}"), |name| (*name).to_owned())
}
