//! Bytes of others that are safe on a terminal: payload, names, paths.
//!
//! Control characters (C0 but tab, line feed and a CR before it, DEL, C1) and bytes that are not UTF-8 are
//! written as escapes. Everything else passes unchanged.

use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` with escapes.
pub fn write(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let plain = plain_prefix(bytes);
        out.write_all(&bytes[..plain])?;
        bytes = &bytes[plain..];
        let Some((&first, rest)) = bytes.split_first() else { return Ok(()) };
        bytes = match first {
            b'\r' if rest.first() == Some(&b'\n') => {
                out.write_all(b"\r\n")?;
                &rest[1..]
            }
            0x80.. => character(out, bytes)?,
            _ => {
                escape(out, first)?;
                rest
            }
        };
    }
}

/// A name with escapes, always on one line.
pub fn name(name: &str) -> String {
    let mut out = Vec::new();
    for (index, line) in name.split(['\r', '\n']).enumerate() {
        if index != 0 {
            out.extend_from_slice(b"\\n");
        }
        let _ = write(&mut out, line.as_bytes()); // a vector takes everything
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A path with escapes, on one line.
pub fn path(path: &Path) -> String {
    name(&path.to_string_lossy())
}

/// How many bytes at the front are printable ASCII, tabs and line feeds.
fn plain_prefix(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let is_plain = |byte: u8| (byte.wrapping_sub(b' ') < 0x5f) | (byte == b'\n') | (byte == b'\t');
    // Whole blocks without an early exit, so that the compiler can use vectors.
    let blocks = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| block.iter().fold(true, |plain, byte| plain & is_plain(*byte)))
        .count();
    let start = blocks * BLOCK;
    start + bytes[start..].iter().position(|byte| !is_plain(*byte)).unwrap_or(bytes.len() - start)
}

/// Writes the characters at the front up to the next ASCII byte; answers what is left.
fn character<'a>(out: &mut impl Write, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let end = bytes.iter().position(u8::is_ascii).unwrap_or(bytes.len());
    for chunk in bytes[..end].utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut encoded = [0; 4];
            let encoded = character.encode_utf8(&mut encoded).as_bytes();
            if character.is_control() {
                encoded.iter().try_for_each(|byte| escape(out, *byte))?;
            } else {
                out.write_all(encoded)?;
            }
        }
        chunk.invalid().iter().try_for_each(|byte| escape(out, *byte))?;
    }
    Ok(&bytes[end..])
}

fn escape(out: &mut impl Write, byte: u8) -> io::Result<()> {
    match byte {
        b'\r' => out.write_all(b"\\r"),
        _ => write!(out, "\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        super::write(&mut out, bytes).expect("a vector takes everything");
        String::from_utf8(out).expect("output is UTF-8")
    }

    #[test]
    fn text_passes() {
        let text = "a\tb\r\nГ€😀\n";
        assert_eq!(escaped(text.as_bytes()), text);
    }

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        for byte in (0u8..0x20).chain([0x7f]).filter(|byte| !b"\n\t".contains(byte)) {
            assert!(!escaped(&[b'x', byte, b'y']).as_bytes().contains(&byte), "{byte:#x}");
        }
        assert_eq!(escaped(b"\x1b[31m"), "\\x1b[31m");
        assert_eq!(escaped("\u{9b}2J".as_bytes()), "\\xc2\\x9b2J");
        assert_eq!(escaped(b"\xff\xfe \xe2\x82"), "\\xff\\xfe \\xe2\\x82");
        assert_eq!(escaped(b"a\rb"), "a\\rb");
    }

    #[test]
    fn position_in_a_block_does_not_matter() {
        for at in 0..200 {
            let mut bytes = vec![b'a'; 200];
            bytes[at] = 7;
            let expected = format!("{}\\x07{}", "a".repeat(at), "a".repeat(199 - at));
            assert_eq!(escaped(&bytes), expected);
        }
    }
}
