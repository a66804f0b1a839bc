//! Are bytes better read as text or as a hex dump?

/// One control character in so many bytes is still text: form feeds, a stray bell, a backspace.
const CONTROLS_ONE_IN: usize = 32;

/// Whether `bytes` read as text: UTF-8 (a character may be cut at either end), no NUL, hardly any control
/// characters besides tab, line ends and escape, which coloured output is full of. Nothing at all is text.
///
/// Text is not safe for a terminal: whoever prints it must still escape control characters.
pub fn is_text(bytes: &[u8]) -> bool {
    is_utf8(bytes) && memchr::memchr(0, bytes).is_none() && controls(bytes) <= bytes.len() / CONTROLS_ONE_IN
}

fn is_utf8(bytes: &[u8]) -> bool {
    let cut = bytes.iter().take(3).take_while(|&&b| b & 0xC0 == 0x80).count();
    // Continuation bytes alone tell nothing: that is not a cut character but binary.
    if cut > 0 && cut == bytes.len() {
        return false;
    }
    match std::str::from_utf8(&bytes[cut..]) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none() && e.valid_up_to() > 0,
    }
}

/// Counted in short runs with a byte as the sum, which the compiler turns into vector code.
fn controls(bytes: &[u8]) -> usize {
    let run = |run: &[u8]| run.iter().map(|&b| u8::from(is_control(b))).sum::<u8>();
    bytes.chunks(255).map(|c| usize::from(run(c))).sum()
}

fn is_control(b: u8) -> bool {
    (b < b' ') & (b != b'\t') & (b != b'\n') & (b != b'\r') & (b != 0x1B) | (b == 0x7F)
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn text() {
        let long = [b"a line of plain words\n".repeat(4), b"\x07".to_vec()].concat();
        let cases: [&[u8]; 7] = [
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x1b[31mred\x1b[0m\tx\n",
            "grüße, 日本語, 🦀".as_bytes(),
            &"日本語".as_bytes()[1..],
            &"日本語".as_bytes()[..8],
            &long,
        ];
        for case in cases {
            assert!(is_text(case), "{case:?}");
        }
    }

    #[test]
    fn binary() {
        let cases: [&[u8]; 8] = [
            b"\0",
            b"\x05",
            b"\x1f\x8b\x08\0",
            b"caf\xe9 au lait",
            b"\x80\x80",
            b"\xe6\x97",
            b"plain but for one NUL \0 in a long enough line of text",
            b"\x01\x02\x03\x04abcdefgh",
        ];
        for case in cases {
            assert!(!is_text(case), "{case:?}");
        }
    }
}
