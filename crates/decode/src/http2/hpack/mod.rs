//! HPACK (RFC 7541), read also from the middle: what is in the dynamic table from before is unknown, and said so.
mod fixed;
mod huffman;
mod lengths;
mod table;
#[cfg(test)]
mod tests;

use self::table::Table;

/// The name of a field; `None` if it is not known.
pub(super) type Name<'a> = Option<&'a [u8]>;

/// A header field. What refers to a part of the dynamic table that we have not seen is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub name: Name<'a>,
    pub value: Option<&'a [u8]>,
}

/// Decodes the header blocks of one direction of a connection, in order.
pub(super) struct Hpack {
    table: Table,
    is_used: bool,
    /// Strings of the field at hand, when they are Huffman coded.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Bytes of a string's room that are kept for the next one.
const SCRATCH: usize = 256;

/// Representations (RFC 7541, 6) by the bits with which they begin: mask, bits, width of the integer.
const FORMS: [(u8, u8, u32, Form); 5] = [
    (0x80, 0x80, 7, Form::Indexed),
    (0xC0, 0x40, 6, Form::Inserted),
    (0xE0, 0x20, 5, Form::Resize),
    (0xF0, 0x10, 4, Form::Literal),
    (0xF0, 0x00, 4, Form::Literal),
];

#[derive(Clone, Copy)]
enum Form {
    Indexed,
    /// A literal that goes into the table.
    Inserted,
    Literal,
    Resize,
}

impl Hpack {
    /// For a direction whose first header block is still to come.
    pub fn new() -> Self {
        Self { table: Table::new(), is_used: false, name: Vec::new(), value: Vec::new() }
    }

    /// For a direction of which blocks were missed.
    pub fn joined() -> Self {
        Self { table: Table::unknown(), is_used: false, name: Vec::new(), value: Vec::new() }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.table.memory() + self.name.capacity() + self.value.capacity()
    }

    /// Whether a block was decoded.
    pub fn is_used(&self) -> bool {
        self.is_used
    }

    /// Hands each field of a complete block to `take`. `None`: the block is malformed from some point on,
    /// and so the table is lost.
    pub fn block(&mut self, block: &[u8], mut take: impl FnMut(Field<'_>)) -> Option<()> {
        self.is_used = true;
        let mut rest = block;
        while let Some(&first) = rest.first() {
            let &(_, _, width, form) = FORMS.iter().find(|(mask, bits, ..)| first & mask == *bits)?;
            let index = integer(&mut rest, width)?;
            match form {
                Form::Indexed if index == 0 => return None,
                Form::Indexed => take(self.table.get(index)),
                Form::Resize => self.table.resize(index),
                Form::Inserted | Form::Literal => {
                    let name = match index {
                        0 => Some(string(&mut rest, &mut self.name)?),
                        _ => self.table.get(index).name.map(|name| {
                            // The entry may be dropped to make room for this one.
                            self.name.clear();
                            self.name.extend_from_slice(name);
                            self.name.as_slice()
                        }),
                    };
                    let value = string(&mut rest, &mut self.value)?;
                    take(Field { name, value: Some(value) });
                    if matches!(form, Form::Inserted) {
                        self.table.insert(name, value);
                    }
                }
            }
        }
        self.name.shrink_to(SCRATCH);
        self.value.shrink_to(SCRATCH);
        Some(())
    }
}

/// Reads an integer (RFC 7541, 5.1) whose first `width` bits are in the first byte. Nothing beyond 28 bits
/// makes sense here.
fn integer(rest: &mut &[u8], width: u32) -> Option<usize> {
    let (&first, mut after) = rest.split_first()?;
    let most = (1_usize << width) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&b, more) = after.split_first()?;
            after = more;
            value += usize::from(b & 0x7F) << shift;
            shift += 7;
            match b & 0x80 {
                0 => break,
                _ if shift < 28 => {}
                _ => return None,
            }
        }
    }
    *rest = after;
    Some(value)
}

/// Reads a string (RFC 7541, 5.2); `scratch` holds it if it is coded.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let coded = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    if !coded {
        return Some(bytes);
    }
    scratch.clear();
    huffman::decode(bytes, scratch)?;
    Some(scratch)
}
