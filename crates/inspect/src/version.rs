//! The version text that a TLS library carries in its constants.

use std::ops::ControlFlow;

use memchr::memmem;

use crate::binary::Binary;
use crate::constants::{MOST, constants};
use crate::read::Range;

/// Longest version text; `OpenSSL 1.0.2k-fips  26 Jan 2017` has 32 bytes.
const LONGEST: usize = 64;
/// Most different texts before the file is given up as a list of versions.
const MOST_TEXTS: usize = 8;

/// All different texts such as `OpenSSL 3.0.19 27 Jan 2026` or `LibreSSL 3.8.2` in the constants.
pub(crate) fn texts(binary: &Binary<'_>) -> Vec<String> {
    different(binary, b"SSL ", text_around)
}

/// Such as `GnuTLS 3.7.9`, of what it writes to its log; `None` if there are several.
pub(crate) fn gnutls(binary: &Binary<'_>) -> Option<String> {
    let texts = different(binary, GNUTLS_LOG, |piece, hit| {
        let text = &piece[hit + "Enabled ".len()..piece.len().min(hit + LONGEST)];
        let text = &text[..memmem::find(text, b" logging")?];
        text.iter()
            .all(|byte| (b' '..=b'~').contains(byte))
            .then(|| String::from_utf8_lossy(text).into_owned())
    });
    <[String; 1]>::try_from(texts).ok().map(|[text]| text)
}

/// Such as `NSS 3.87.1`, of what it says to `what(1)`; `None` if there are several.
pub(crate) fn nss(binary: &Binary<'_>) -> Option<String> {
    let texts = different(binary, NSS_WHAT, |piece, hit| {
        let text = &piece[hit + "Version: ".len()..piece.len().min(hit + LONGEST)];
        let numbers = text["NSS ".len()..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
        Some(String::from_utf8_lossy(&text[.."NSS ".len() + numbers.count()]).into_owned())
    });
    <[String; 1]>::try_from(texts).ok().map(|[text]| text)
}

/// Such as `rustls 0.23.43`, of the paths of its sources in messages of panics; `None` if there are several.
pub(crate) fn rustls(binary: &Binary<'_>) -> Option<String> {
    let texts = different(binary, b"/rustls-0.", |piece, hit| {
        let text = &piece[hit + "/rustls-".len()..piece.len().min(hit + LONGEST)];
        let number = &text[..memmem::find(text, b"/src/")?];
        let is_number = number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        is_number.then(|| format!("rustls {}", String::from_utf8_lossy(number)))
    });
    <[String; 1]>::try_from(texts).ok().map(|[text]| text)
}

const NSS_WHAT: &[u8] = b"Version: NSS ";

const GNUTLS_LOG: &[u8] = b"Enabled GnuTLS ";

/// All different texts that `read` makes of a constant with these bytes in it, and where they are.
fn different(binary: &Binary<'_>, bytes: &[u8], read: fn(&[u8], usize) -> Option<String>) -> Vec<String> {
    let finder = memmem::Finder::new(bytes);
    let mut texts = Vec::new();
    let mut left = MOST;
    for range in constants(binary) {
        let range = Range { len: range.len.min(left), ..range };
        left -= range.len;
        // Constants that cannot be read only cost the version.
        let _ = binary.source.walk(range, LONGEST as u64, "constants", |_, piece| {
            for text in finder.find_iter(piece).filter_map(|hit| read(piece, hit)) {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            if texts.len() < MOST_TEXTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    texts
}

/// The whole text if `SSL ` at `hit` is the middle of a product name with a version number: a C string
/// that starts there and ends soon.
fn text_around(piece: &[u8], hit: usize) -> Option<String> {
    let name = [b"Open".as_slice(), b"Libre"].into_iter().find(|name| piece[..hit].ends_with(name))?;
    let start = hit - name.len();
    let starts = start == 0 || piece[start - 1] == 0;
    let window = &piece[start..piece.len().min(start + LONGEST)];
    let text = &window[..memchr::memchr(0, window)?];
    let version = &text[name.len() + 4..];
    let numbered =
        matches!(version, [major, b'.', minor, ..] if major.is_ascii_digit() && minor.is_ascii_digit());
    let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    (starts && numbered && printable).then(|| String::from_utf8_lossy(text).into_owned())
}
