//! An NSS key log: a line for each secret, `LABEL RANDOM SECRET` in hexadecimal digits, as Wireshark reads it.

use std::io::{self, Write};

use super::{Delivery, Output, Sink};
use crate::record::{Record, Secret};

/// Writes a key log.
pub struct KeyLog {
    output: Output,
}

impl KeyLog {
    /// A key log to `output`.
    pub fn new(output: Output) -> Self {
        Self { output }
    }
}

/// Writes the line of a secret.
pub fn write_line(out: &mut impl Write, secret: &Secret<'_>) -> io::Result<()> {
    out.write_all(secret.label.as_bytes())?;
    for bytes in [&secret.client_random[..], secret.secret] {
        out.write_all(b" ")?;
        for byte in bytes {
            write!(out, "{byte:02x}")?;
        }
    }
    out.write_all(b"\n")
}

impl Sink for KeyLog {
    fn write(&mut self, _record: &Record<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        write_line(&mut self.output, secret)?;
        self.output.end_record()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn drain(&mut self) -> (Option<Delivery>, io::Result<()>) {
        let (delivery, result) = self.output.finish();
        (Some(delivery), result)
    }

    fn delivery(&self) -> Option<Delivery> {
        Some(self.output.delivery())
    }

    fn name(&self) -> &str {
        self.output.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_wireshark_reads() {
        let secret = Secret { label: "EXPORTER_SECRET", client_random: &[1; 32], secret: &[0xaa; 32] };
        let mut line = Vec::new();
        write_line(&mut line, &secret).expect("a vector takes everything");
        let expected = format!("EXPORTER_SECRET {} {}\n", "01".repeat(32), "aa".repeat(32));
        assert_eq!(String::from_utf8(line).expect("text"), expected);
    }
}
