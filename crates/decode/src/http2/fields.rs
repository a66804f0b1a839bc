//! The fields of a header block: as text for a reader, and what they say about the message.
use std::ops::Range;

use super::hpack::Field;
use crate::coding::Codings;
use crate::grpc;
use crate::http1::tokens;
use crate::notes::{Note, Notes};
use crate::part::{Kind, Version};
use crate::websocket::Extensions;

const VERSION: Version = Version { major: 2, minor: 0 };
/// Stands for a name that came from a part of the dynamic table that was not seen. No real name has brackets.
const UNKNOWN: &[u8] = b"(unknown)";

/// A decoded header block.
#[derive(Default)]
pub(super) struct Section {
    /// `name: value` and a line end for each field.
    pub text: Vec<u8>,
    pub notes: Notes,
    pub status: Option<u16>,
    pub length: Option<u64>,
    pub codings: Codings,
    /// Encodings of messages of gRPC.
    pub grpc_codings: Codings,
    /// How a call of gRPC ended.
    pub grpc_status: Option<&'static str>,
    /// Of WebSocket.
    pub extensions: Extensions,
    method: Option<Range<usize>>,
    path: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    content_type: Range<usize>,
    /// `:protocol`, of an extended CONNECT (RFC 8441).
    protocol: Option<Range<usize>>,
}

impl Section {
    /// Takes the next field; the text grows no longer than `limit`.
    pub fn add(&mut self, field: Field<'_>, limit: usize) {
        let name = field.name.unwrap_or(UNKNOWN);
        if field.name.is_none() || field.value.is_none() {
            self.notes.add(Note::UnknownFields);
        }
        if self.text.len() + name.len() + field.value.map_or(0, <[u8]>::len) + 4 > limit {
            return self.notes.add(Note::Cut);
        }
        line(&mut self.text, name);
        let Some(value) = field.value else { return self.text.extend_from_slice(b"\r\n") };
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        line(&mut self.text, value);
        let place = start..self.text.len();
        self.text.extend_from_slice(b"\r\n");
        match name {
            b":method" => self.method = Some(place),
            b":path" => self.path = Some(place),
            b":authority" => self.authority = Some(place),
            b":protocol" => self.protocol = Some(place),
            b":status" => self.status = number(value).and_then(|n| u16::try_from(n).ok()),
            b"content-type" => self.content_type = place,
            b"content-length" => self.length = number(value),
            b"content-encoding" => tokens(value).for_each(|token| self.codings.add(token)),
            b"grpc-encoding" => tokens(value).for_each(|token| self.grpc_codings.add(token)),
            b"grpc-status" => self.grpc_status = grpc::status(value),
            b"sec-websocket-extensions" => self.extensions.add(value),
            _ => {}
        }
    }

    /// What it is the head of; `None` if it does not tell: trailers, or what tells was said before we joined.
    pub fn kind(&self) -> Option<Kind<'_>> {
        let text = |place: &Option<Range<usize>>| place.clone().map_or(&b""[..], |place| &self.text[place]);
        if let Some(status) = self.status {
            return Some(Kind::Response { status, reason: b"", version: VERSION });
        }
        if self.method.is_none() && self.path.is_none() && self.authority.is_none() {
            return None;
        }
        let method = std::str::from_utf8(text(&self.method)).unwrap_or_default();
        let target = if method == "CONNECT" && self.path.is_none() { &self.authority } else { &self.path };
        Some(Kind::Request { method, target: text(target), version: VERSION })
    }

    pub fn is_connect(&self) -> bool {
        matches!(self.kind(), Some(Kind::Request { method: "CONNECT", .. }))
    }

    pub fn is_websocket(&self) -> bool {
        self.protocol.clone().is_some_and(|place| &self.text[place] == b"websocket")
    }

    pub fn content_type(&self) -> &[u8] {
        &self.text[self.content_type.clone()]
    }
}

/// Appends a name or value. None may have a line end in it (RFC 9113, 8.2.1), as that would fake another field.
fn line(text: &mut Vec<u8>, bytes: &[u8]) {
    if memchr::memchr3(b'\r', b'\n', 0, bytes).is_none() {
        return text.extend_from_slice(bytes);
    }
    for &b in bytes {
        match b {
            b'\r' | b'\n' | 0 => text.extend(b.escape_ascii()),
            _ => text.push(b),
        }
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}
