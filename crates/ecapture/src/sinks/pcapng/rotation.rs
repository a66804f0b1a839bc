//! Which file is written, and when the next one begins.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sinks::direct::Direct;

/// Where a capture goes.
#[derive(Debug, Clone)]
pub enum PcapTarget {
    /// Standard output.
    Stdout,
    /// A file, or several with numbers in their names.
    File(PathBuf, Rotation),
}

impl PcapTarget {
    /// Whether that is standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }
}

impl fmt::Display for PcapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path, _) => path.display().fmt(f),
        }
    }
}

/// When a new file begins. Without limits, there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rotation {
    /// Bytes of a file, about.
    pub size: Option<u64>,
    /// How long a file is written to.
    pub time: Option<Duration>,
    /// Most files that are kept; the oldest is removed.
    pub count: Option<usize>,
}

impl Rotation {
    /// Whether there are several files.
    pub fn is_on(&self) -> bool {
        self.size.is_some() || self.time.is_some()
    }
}

/// The files of a capture.
pub struct Files {
    target: PcapTarget,
    number: u32,
    kept: VecDeque<PathBuf>,
    opened: Instant,
    /// Bytes in the file.
    written: u64,
}

impl Files {
    pub fn new(target: PcapTarget) -> Self {
        Self { target, number: 0, kept: VecDeque::new(), opened: Instant::now(), written: 0 }
    }

    /// Opens the next file; removes one if there are too many then.
    pub fn next(&mut self) -> io::Result<Direct> {
        (self.opened, self.written) = (Instant::now(), 0);
        let (path, rotation) = match &self.target {
            PcapTarget::Stdout => return Ok(Direct::stdout()),
            PcapTarget::File(path, rotation) if !rotation.is_on() => return Direct::file(path, false),
            PcapTarget::File(path, rotation) => (path, rotation),
        };
        self.number += 1;
        let path = numbered(path, self.number);
        let output = Direct::file(&path, false)?;
        self.kept.push_back(path);
        if rotation.count.is_some_and(|count| self.kept.len() > count)
            && let Some(oldest) = self.kept.pop_front()
            && let Err(error) = fs::remove_file(&oldest)
        {
            tracing::warn!("cannot remove {}: {error}", oldest.display());
        }
        Ok(output)
    }

    /// Takes note of what was written.
    pub fn grow(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Whether the file is full or old, with so many bytes that will be written.
    pub fn is_over(&self, waiting: usize) -> bool {
        let PcapTarget::File(_, rotation) = &self.target else { return false };
        rotation.size.is_some_and(|size| self.written + waiting as u64 >= size)
            || rotation.time.is_some_and(|time| self.opened.elapsed() >= time)
    }

    /// Whether there will be other files.
    pub fn are_many(&self) -> bool {
        matches!(&self.target, PcapTarget::File(_, rotation) if rotation.is_on())
    }
}

/// `a/capture.pcapng` becomes `a/capture_00001.pcapng`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{number:05}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::numbered;
    use std::path::Path;

    #[test]
    fn numbers_come_before_the_extension() {
        for (path, expected) in [("a/b.c.pcapng", "a/b.c_00007.pcapng"), ("capture", "capture_00007")] {
            assert_eq!(numbered(Path::new(path), 7), Path::new(expected));
        }
    }
}
