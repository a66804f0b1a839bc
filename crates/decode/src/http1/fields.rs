//! Header and trailer fields, and where a section of them ends.
use memchr::memchr;

/// The fields of a head or trailer section: name and value, both without surrounding white space. A folded
/// value (RFC 9112, 5.2) keeps its line ends inside. Lines without a colon are skipped.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a section without a first line: trailers, or a head of HTTP/2.
    pub fn of_section(section: &'a [u8]) -> Self {
        Self { rest: section }
    }

    pub(crate) fn of_head(head: &'a [u8]) -> Self {
        let rest = &head[line_ends(head)..];
        Self { rest: &rest[line_len(rest)..] }
    }

    /// Cuts off the next line with the lines folded into it.
    fn line(&mut self) -> &'a [u8] {
        let mut len = line_len(self.rest);
        while matches!(self.rest.get(len), Some(b' ' | b'\t')) {
            len += line_len(&self.rest[len..]);
        }
        let (line, rest) = self.rest.split_at(len);
        self.rest = rest;
        line
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let line = self.line();
            // The name of a pseudo-field of HTTP/2 begins with a colon.
            if let Some(colon) = memchr(b':', line.get(1..).unwrap_or_default()) {
                return Some((line[..=colon].trim_ascii(), line[colon + 2..].trim_ascii()));
            }
        }
        None
    }
}

/// Bytes of line ends that we accept before a first line: four empty lines, when one is already a fault.
const LINE_ENDS_MAX: usize = 8;

/// How many bytes of line ends come before a first line.
pub(crate) fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take(LINE_ENDS_MAX).take_while(|&&b| b == b'\r' || b == b'\n').count()
}

/// Length of the first line with its line end.
fn line_len(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |n| n + 1)
}

/// Looks for the blank line that ends a section. `from` is the start of a line, where an earlier search
/// ended. Found: where the blank line begins and ends. Not found: where to resume.
pub(crate) fn blank_line(bytes: &[u8], from: usize) -> Result<(usize, usize), usize> {
    let mut at = from;
    loop {
        match bytes.get(at..).unwrap_or_default() {
            [b'\n', ..] => return Ok((at, at + 1)),
            [b'\r', b'\n', ..] => return Ok((at, at + 2)),
            rest => match memchr(b'\n', rest) {
                Some(n) => at += n + 1,
                None => return Err(at),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_all_shapes() {
        let head = b"GET / HTTP/1.1\r\nA:1\nB : two \r\n\tfolded\r\nnonsense\r\nC:\r\n\r\n";
        let fields: Vec<_> = Fields::of_head(head).collect();
        assert_eq!(fields, [(&b"A"[..], &b"1"[..]), (b"B", b"two \r\n\tfolded"), (b"C", b"")],);
    }

    #[test]
    fn blank_lines() {
        assert_eq!(blank_line(b"a\r\n\r\nb", 0), Ok((3, 5)));
        assert_eq!(blank_line(b"a\n\nb", 0), Ok((2, 3)));
        assert_eq!(blank_line(b"\r\n", 0), Ok((0, 2)));
        assert_eq!(blank_line(b"a\r\n\r", 0), Err(3));
        assert_eq!(blank_line(b"", 7), Err(7));
    }
}
