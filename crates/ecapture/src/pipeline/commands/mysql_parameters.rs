//! The packet of COM_STMT_EXECUTE: values of a prepared statement, in the binary protocol.

use crate::record::Parameter;

/// Type and flag of each value.
pub type Types = Vec<[u8; 2]>;

/// The number of the statement, with which the packet begins.
pub fn statement(packet: &[u8]) -> Option<u32> {
    packet.first_chunk().map(|id| u32::from_le_bytes(*id))
}

/// The values of a statement with so many placeholders. `types` are those of the last time, which count when the packet
/// brings none. `None`: it does not add up, as with values that were sent ahead.
pub fn values(packet: &[u8], count: usize, types: &mut Types) -> Option<Vec<Parameter>> {
    let mut rest = Bytes(packet);
    rest.take(9)?; // statement, flags, iterations
    let nulls = rest.take(count.div_ceil(8))?;
    if rest.take(1)? == [1] {
        *types = rest.take(2 * count)?.as_chunks().0.to_vec();
    }
    if types.len() != count {
        return None;
    }
    let is_null = |index: usize| nulls[index / 8] >> (index % 8) & 1 == 1;
    let value = |(index, [kind, flag]): (usize, &[u8; 2])| {
        if is_null(index) { Some(Parameter::Null) } else { rest.value(*kind, flag & 0x80 != 0) }
    };
    let values = types.iter().enumerate().map(value).collect::<Option<_>>()?;
    rest.0.is_empty().then_some(values)
}

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A length-encoded integer.
    fn length(&mut self) -> Option<usize> {
        let length = match self.number(1)? {
            short @ 0..=250 => short,
            252 => self.number(2)?,
            253 => self.number(3)?,
            254 => self.number(8)?,
            _ => return None,
        };
        usize::try_from(length).ok()
    }

    /// `enum enum_field_types`.
    fn value(&mut self, kind: u8, unsigned: bool) -> Option<Parameter> {
        let text = match kind {
            1 => self.integer(1, unsigned)?,
            2 | 13 => self.integer(2, unsigned)?,
            3 | 9 => self.integer(4, unsigned)?,
            8 => self.integer(8, unsigned)?,
            4 => f32::from_bits(self.number(4)? as u32).to_string(),
            5 => f64::from_bits(self.number(8)?).to_string(),
            6 => return Some(Parameter::Null),
            7 | 10 | 12 => self.date()?,
            11 => self.time()?,
            0 | 15 | 16 | 245..=255 => {
                let length = self.length()?;
                return Some(Parameter::Text(self.take(length)?.to_vec()));
            }
            _ => return None,
        };
        Some(Parameter::Text(text.into_bytes()))
    }

    fn integer(&mut self, bytes: usize, unsigned: bool) -> Option<String> {
        let number = self.number(bytes)?;
        let unused = 64 - 8 * bytes as u32;
        Some(if unsigned { number.to_string() } else { ((number << unused) as i64 >> unused).to_string() })
    }

    fn date(&mut self) -> Option<String> {
        let length = self.number(1)?;
        if ![0, 4, 7, 11].contains(&length) {
            return None;
        }
        let (year, month, day) =
            if length == 0 { (0, 0, 0) } else { (self.number(2)?, self.number(1)?, self.number(1)?) };
        let mut text = format!("{year:04}-{month:02}-{day:02}");
        if length >= 7 {
            text += &format!(" {:02}:{:02}:{:02}", self.number(1)?, self.number(1)?, self.number(1)?);
        }
        if length == 11 {
            text += &format!(".{:06}", self.number(4)?);
        }
        Some(text)
    }

    fn time(&mut self) -> Option<String> {
        let length = self.number(1)?;
        if ![0, 8, 12].contains(&length) {
            return None;
        }
        let (sign, days) = if length == 0 { (0, 0) } else { (self.number(1)?, self.number(4)?) };
        let (hours, minutes, seconds) =
            if length == 0 { (0, 0, 0) } else { (self.number(1)?, self.number(1)?, self.number(1)?) };
        let mut text =
            format!("{}{:02}:{minutes:02}:{seconds:02}", if sign == 0 { "" } else { "-" }, days * 24 + hours);
        if length == 12 {
            text += &format!(".{:06}", self.number(4)?);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Parameter {
        Parameter::Text(text.into())
    }

    #[test]
    fn values_of_each_kind() {
        let head = [7, 0, 0, 0, 0, 1, 0, 0, 0];
        let mut packet = [&head[..], &[0b10, 1, 8, 0, 6, 0, 253, 0, 1, 0x80, 12, 0]].concat();
        packet.extend((-5i64).to_le_bytes());
        packet.extend(b"\x02hi\xff\x07\xe8\x07\x02\x1d\x01\x02\x03");
        let mut types = Types::new();
        let expected =
            vec![text("-5"), Parameter::Null, text("hi"), text("255"), text("2024-02-29 01:02:03")];
        assert_eq!(values(&packet, 5, &mut types), Some(expected));
        assert_eq!(statement(&packet), Some(7));
        for length in 0..packet.len() {
            assert_eq!(values(&packet[..length], 5, &mut Types::new()), None, "{length}");
        }
        assert_eq!(values(&packet, 4, &mut Types::new()), None);
    }

    #[test]
    fn types_of_the_last_time_count() {
        let packet = [&[7, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0][..], &[9, 0, 0, 0]].concat();
        assert_eq!(values(&packet, 1, &mut vec![[3, 0]]), Some(vec![text("9")]));
        assert_eq!(values(&packet, 1, &mut Types::new()), None);
    }
}
