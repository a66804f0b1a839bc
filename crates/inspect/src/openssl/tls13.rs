//! Whether a library is old enough to have no TLS 1.3.

use std::ops::ControlFlow;

use memchr::memmem;

use crate::binary::Binary;
use crate::constants::{MOST, constants};
use crate::error::ElfError;

/// What every label begins with, by which secrets of TLS 1.3 are derived (RFC 8446, section 7.1).
const LABEL: &[u8] = b"tls13 ";

/// Whether TLS 1.3 may be in the file; only a `false` is certain.
pub fn may_have_tls13(binary: &Binary<'_>) -> Result<bool, ElfError> {
    let ranges = constants(binary);
    if ranges.iter().map(|range| range.len).sum::<u64>() > MOST {
        return Ok(true);
    }
    let finder = memmem::Finder::new(LABEL);
    let mut found = false;
    for range in ranges {
        binary.source.walk(range, LABEL.len() as u64, "constants", |_, piece| {
            found |= finder.find(piece).is_some();
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    Ok(found)
}
