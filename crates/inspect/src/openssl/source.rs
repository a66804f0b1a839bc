//! Paths of source files, as errors carry them.

use std::ops::Range;

/// Ends of paths. `extensions.cc` was `t1_lib.cc` until 2022.
pub(super) const FILES: [&str; 5] = ["ssl_lib.c", "ssl_lib.cc", "handshake.cc", "extensions.cc", "t1_lib.cc"];

/// What the library is written in: its errors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// OpenSSL, LibreSSL, and BoringSSL before 2017.
    C,
    /// BoringSSL and AWS-LC.
    Cpp,
}

/// A path in the constants of a file: every address that may be its start.
pub(super) struct Source {
    /// One of [`FILES`].
    pub(super) file: &'static str,
    pub(super) path: String,
    pub(super) starts: Vec<Range<u64>>,
}

impl Source {
    /// Adds the path that ends with a file at an address; what is before tells where it may start.
    pub(super) fn add(all: &mut Vec<Self>, file: &'static str, address: u64, before: &[u8]) {
        let printed = before.iter().rev().take_while(|byte| (b' '..=b'~').contains(*byte)).count();
        let directory = &before[before.len() - printed..];
        if !(directory.is_empty() || directory.ends_with(b"/")) {
            return;
        }
        let start = address.saturating_sub(printed as u64)..address.saturating_add(1);
        match all.iter_mut().find(|source| source.file == file) {
            Some(source) => source.starts.push(start),
            None => {
                let path = String::from_utf8_lossy(directory).into_owned() + file;
                all.push(Self { file, path, starts: vec![start] });
            }
        }
    }

    /// For the file that has the functions that programs call: which library it is.
    pub(super) fn language(&self) -> Option<Language> {
        match self.file {
            "ssl_lib.c" => Some(Language::C),
            "ssl_lib.cc" => Some(Language::Cpp),
            _ => None,
        }
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.starts.iter().any(|range| range.contains(&address))
    }
}
