//! A complete head: what it says about the body.
use super::fields::Fields;
use super::framing::Declared;
use crate::coding::Codings;
use crate::part::{Head, Kind};
use crate::websocket::Extensions;

/// A head together with what it declares about its body.
pub(super) struct Parsed<'a> {
    pub head: Head<'a>,
    pub declared: Declared,
    pub content_type: &'a [u8],
    /// Extensions of WebSocket, if that is what the connection is to become.
    pub upgrade: Option<Extensions>,
}

/// Reads the fields that frame the body.
pub(super) fn parse<'a>(kind: Kind<'a>, raw: &'a [u8], shown: usize) -> Parsed<'a> {
    let mut declared = Declared::default();
    let mut codings = Codings::default();
    let mut content_type: &[u8] = b"";
    let mut extensions = Extensions::default();
    let mut websocket = false;
    for (name, value) in Fields::of_head(raw) {
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                websocket = value.eq_ignore_ascii_case(b"websocket");
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => content_type = value,
            14 if name.eq_ignore_ascii_case(b"content-length") => declared.length(value),
            16 if name.eq_ignore_ascii_case(b"content-encoding") => {
                tokens(value).for_each(|token| codings.add(token));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                tokens(value).for_each(|token| declared.transfer_coding(token));
            }
            24 if name.eq_ignore_ascii_case(b"sec-websocket-extensions") => extensions.add(value),
            _ => {}
        }
    }
    // Transfer codings come on top of content codings, so they are the last ones applied.
    codings.extend(declared.transfer);
    let chunked = declared.is_chunked();
    let length = if declared.has_transfer() { None } else { declared.known_length() };
    let wire = raw.len() as u64;
    let head = Head { kind, raw, wire, exchange: None, shown, length, chunked, codings };
    Parsed { head, declared, content_type, upgrade: websocket.then_some(extensions) }
}

/// The members of a list, without parameters.
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',')
        .map(|item| item.split(|&b| b == b';').next().unwrap_or_default().trim_ascii())
        .filter(|token| !token.is_empty())
}
