//! A complete head: what it says about the body.
use super::fields::Fields;
use super::framing::Declared;
use crate::coding::Codings;
use crate::part::{Head, Kind};

/// A head together with what it declares about its body.
pub(super) struct Parsed<'a> {
    pub head: Head<'a>,
    pub declared: Declared,
}

/// Reads the fields that frame the body.
pub(super) fn parse<'a>(kind: Kind<'a>, raw: &'a [u8], shown: usize) -> Parsed<'a> {
    let mut declared = Declared::default();
    let mut codings = Codings::default();
    for (name, value) in Fields::of_head(raw) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => declared.length(value),
            16 if name.eq_ignore_ascii_case(b"content-encoding") => {
                tokens(value).for_each(|token| codings.add(token));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                tokens(value).for_each(|token| declared.transfer_coding(token));
            }
            _ => {}
        }
    }
    // Transfer codings come on top of content codings, so they are the last ones applied.
    codings.extend(declared.transfer);
    let chunked = declared.is_chunked();
    let length = if declared.has_transfer() { None } else { declared.known_length() };
    Parsed { head: Head { kind, raw, shown, length, chunked, codings }, declared }
}

/// The members of a list, without parameters.
fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',')
        .map(|item| item.split(|&b| b == b';').next().unwrap_or_default().trim_ascii())
        .filter(|token| !token.is_empty())
}
