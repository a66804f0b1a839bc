//! An NSS key log: a line for each secret, `LABEL RANDOM SECRET` in hexadecimal digits, as Wireshark reads it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Sink;
use crate::record::{Record, Secret};

/// Writes a key log.
pub struct KeyLog {
    name: String,
    target: Target,
    /// Whole lines that were not written yet.
    lines: Vec<u8>,
}

enum Target {
    Stdout,
    File {
        path: PathBuf,
        file: File,
        /// Set when the file was moved away: the next lines go to a new one.
        reopen: Arc<AtomicBool>,
    },
}

impl KeyLog {
    /// A key log on standard output.
    pub fn stdout() -> Self {
        Self { name: "standard output".to_owned(), target: Target::Stdout, lines: Vec::new() }
    }

    /// A key log in a file. What it has stays; a new one is readable by its owner only. The path is opened again
    /// after `reopen` was set.
    ///
    /// # Errors
    /// The file can not be opened.
    pub fn file(path: &Path, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let target = Target::File { path: path.to_owned(), file: open(path)?, reopen };
        Ok(Self { name: path.display().to_string(), target, lines: Vec::new() })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() && is_cut(&mut file)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether the last line has no end: a disk was full, or a machine stopped.
fn is_cut(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Appends the line of a secret.
pub fn append_line(lines: &mut Vec<u8>, secret: &Secret<'_>) -> io::Result<()> {
    lines.extend_from_slice(secret.label.as_bytes());
    for bytes in [&secret.client_random[..], secret.secret] {
        lines.push(b' ');
        for byte in bytes {
            write!(lines, "{byte:02x}")?;
        }
    }
    lines.push(b'\n');
    Ok(())
}

impl Sink for KeyLog {
    fn write(&mut self, _record: &Record<'_>) -> io::Result<()> {
        Ok(())
    }

    fn write_secret(&mut self, secret: &Secret<'_>) -> io::Result<()> {
        append_line(&mut self.lines, secret)
    }

    /// One system call for all lines: whoever follows the file sees whole ones.
    fn flush(&mut self) -> io::Result<()> {
        if let Target::File { path, file, reopen } = &mut self.target
            && reopen.swap(false, Ordering::Relaxed)
        {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::warn!(
                    "{}: not opened again, what follows goes to the old file: {error}; ecapture has given up the \
                     privileges of root, so the directory must be its user's",
                    crate::escape::path(path)
                ),
            }
        }
        if self.lines.is_empty() {
            return Ok(());
        }
        match &mut self.target {
            Target::Stdout => io::stdout().write_all(&self.lines).and_then(|()| io::stdout().flush()),
            Target::File { file, .. } => file.write_all(&self.lines),
        }?;
        self.lines.clear();
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LINE: &str = "EXPORTER_SECRET 0101010101010101010101010101010101010101010101010101010101010101 \
                        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n";

    fn write_line(log: &mut KeyLog) {
        let secret = Secret { label: "EXPORTER_SECRET", client_random: &[1; 32], secret: &[0xaa; 32] };
        log.write_secret(&secret).and_then(|()| log.flush()).expect("written");
    }

    #[test]
    fn lines_are_appended_and_a_cut_one_is_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        for (before, after) in
            [("", LINE.to_owned()), ("a\n", format!("a\n{LINE}")), ("b", format!("b\n{LINE}"))]
        {
            fs::write(&path, before).expect("written");
            write_line(&mut KeyLog::file(&path, Arc::default()).expect("a file"));
            assert_eq!(fs::read_to_string(&path).expect("text"), after);
        }
    }

    #[test]
    fn a_moved_file_is_replaced_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, moved) = (directory.path().join("keys"), directory.path().join("keys.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut log = KeyLog::file(&path, Arc::clone(&reopen)).expect("a file");
        write_line(&mut log);
        fs::rename(&path, &moved).expect("renamed");
        write_line(&mut log);
        reopen.store(true, Ordering::Relaxed);
        write_line(&mut log);
        assert_eq!(fs::read_to_string(&moved).expect("text"), LINE.repeat(2));
        assert_eq!(fs::read_to_string(&path).expect("text"), LINE);
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
}
