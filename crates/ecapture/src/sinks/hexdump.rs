//! Bytes as a canonical hex dump: offset, sixteen bytes in two groups, ASCII between bars.

use std::io::{self, Write};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes `bytes`; the first has the offset `start`.
pub fn write(out: &mut impl Write, bytes: &[u8], start: u64) -> io::Result<()> {
    for (row, offset) in bytes.chunks(16).zip((start..).step_by(16)) {
        let mut line = [b' '; 50];
        for (index, byte) in row.iter().enumerate() {
            let at = index * 3 + usize::from(index >= 8) + 1;
            line[at] = DIGITS[usize::from(byte >> 4)];
            line[at + 1] = DIGITS[usize::from(byte & 15)];
        }
        let mut ascii = [0; 16];
        for (shown, byte) in ascii.iter_mut().zip(row) {
            *shown = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'.' };
        }
        write!(out, "{offset:08x} ")?;
        out.write_all(&line)?;
        out.write_all(b" |")?;
        out.write_all(&ascii[..row.len()])?;
        out.write_all(b"|\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_of_sixteen() {
        let mut out = Vec::new();
        super::write(&mut out, b"0123456789abcdef\x00\xff", 16).expect("a vector takes everything");
        let expected = "00000010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n\
                        00000020  00 ff                                             |..|\n";
        assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
    }
}
