//! The path of the source file whose functions are wanted, as errors carry it.

use std::ops::Range;

use crate::binary::Binary;
use crate::constants::{MOST_PLACES, search};
use crate::error::ElfError;

/// Ends of paths, with what is written in that language.
const FILES: [(&str, Language); 2] = [("ssl_lib.c", Language::C), ("ssl_lib.cc", Language::Cpp)];

/// What the library is written in: its errors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::openssl) enum Language {
    /// OpenSSL, LibreSSL, and BoringSSL before 2017.
    C,
    /// BoringSSL and AWS-LC.
    Cpp,
}

/// The path in the constants of a file: every address that may be its start.
pub(in crate::openssl) struct Source {
    pub(super) path: String,
    pub(super) language: Language,
    pub(super) starts: Vec<Range<u64>>,
}

impl Source {
    /// One for each library; none is the usual case, and cheap. A path in too many places is left out.
    pub(in crate::openssl) fn find(binary: &Binary<'_>) -> Result<Vec<Self>, ElfError> {
        let mut found: Vec<Self> = Vec::new();
        search(binary, &FILES.map(|(file, _)| file.as_bytes()), |address, before, which| {
            let (file, language) = FILES[which];
            let printed = before.iter().rev().take_while(|byte| (b' '..=b'~').contains(*byte)).count();
            let directory = &before[before.len() - printed..];
            if !(directory.is_empty() || directory.ends_with(b"/")) {
                return;
            }
            let start = address.saturating_sub(printed as u64)..address.saturating_add(1);
            match found.iter_mut().find(|source| source.language == language) {
                Some(source) => source.starts.push(start),
                None => {
                    let path = String::from_utf8_lossy(directory).into_owned() + file;
                    found.push(Self { path, language, starts: vec![start] });
                }
            }
        })?;
        found.retain(|source| source.starts.len() < MOST_PLACES);
        Ok(found)
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.starts.iter().any(|range| range.contains(&address))
    }
}
