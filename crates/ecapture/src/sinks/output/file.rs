//! A file that is written to: opened again when asked, rotated by size and time, old ones compressed and removed.
//! Batches hold whole records, so no record is cut or lost where one file ends and the next begins.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};

use crate::escape;

/// When a file is put aside and a new one begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileRotation {
    /// Before it grows beyond so many bytes.
    pub size: Option<u64>,
    /// When it is so old and not empty.
    pub age: Option<Duration>,
    /// Most old files that are kept; all of them without.
    pub count: Option<usize>,
    /// Old files are compressed with gzip.
    pub compress: bool,
}

/// An open file.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    size: u64,
    since: Instant,
    rotation: FileRotation,
    /// Set when the file was moved away: the next records go to a new one.
    reopen: Arc<AtomicBool>,
    compressor: Option<JoinHandle<()>>,
    /// Time in the name of the last old file: names keep the order, also when old files are removed.
    last: Timestamp,
}

/// Time in the name of an old file, to the millisecond, as eCapture has it.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const STAMP_LENGTH: usize = "2006-01-02T15-04-05.000".len();
const COMPRESSED: &str = ".gz";

impl Rotated {
    /// Opens a file, readable by its owner only when it is new: it may hold secrets. It is made empty unless
    /// `keep`; then a line without an end is ended. Written at its end, so that it can be shared with the log.
    ///
    /// # Errors
    /// The file can not be opened for writing.
    pub fn open(
        path: &Path,
        keep: bool,
        rotation: FileRotation,
        reopen: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let file = if keep { go_on(path) } else { open(path) }?;
        if !keep && file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        let (path, size, since) = (path.to_owned(), file.metadata()?.len(), Instant::now());
        Ok(Self { path, file, size, since, rotation, reopen, compressor: None, last: Timestamp::MIN })
    }

    /// Writes whole records.
    ///
    /// # Errors
    /// The disk is full, or whatever else the kernel says.
    pub fn write(&mut self, records: &[u8]) -> io::Result<()> {
        let is_too_long =
            self.rotation.size.is_some_and(|size| self.size.saturating_add(records.len() as u64) > size);
        self.turn(is_too_long)?;
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        Ok(())
    }

    /// What time brings.
    ///
    /// # Errors
    /// Whatever the kernel says of a new file.
    pub fn tick(&mut self) -> io::Result<()> {
        self.turn(false)
    }

    fn turn(&mut self, is_too_long: bool) -> io::Result<()> {
        if self.reopen.swap(false, Ordering::Relaxed) {
            match go_on(&self.path) {
                Ok(file) => self.begin(file)?,
                Err(error) => tracing::warn!(
                    "{}: not opened again, what follows goes to the old file: {error}",
                    escape::path(&self.path)
                ),
            }
        }
        let is_old = self.rotation.age.is_some_and(|age| self.since.elapsed() >= age);
        if self.size != 0
            && (is_old || is_too_long)
            && let Err(error) = self.rotate()
        {
            // Better one long file than a lost record.
            tracing::warn!("{}: cannot be rotated: {error}", self.path.display());
            self.since = Instant::now();
        }
        Ok(())
    }

    fn begin(&mut self, file: File) -> io::Result<()> {
        (self.size, self.since) = (file.metadata()?.len(), Instant::now());
        self.file = file;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Ok(()); // a device or a pipe
        }
        let old = self.free_name();
        fs::rename(&self.path, &old)?;
        let file = open(&self.path).inspect_err(|_| {
            let _ = fs::rename(&old, &self.path); // we go on with it
        })?;
        self.begin(file)?;
        self.finish();
        if self.rotation.compress {
            let (path, count) = (self.path.clone(), self.rotation.count);
            self.compressor = Some(thread::Builder::new().name("compress".into()).spawn(move || {
                if let Err(error) = compress(&old) {
                    tracing::warn!("{}: cannot be compressed: {error}", old.display());
                }
                remove_oldest(&path, count);
            })?);
        } else {
            remove_oldest(&self.path, self.rotation.count);
        }
        Ok(())
    }

    /// Waits until the last old file is compressed.
    pub fn finish(&mut self) {
        if let Some(compressor) = self.compressor.take() {
            let _ = compressor.join(); // it says itself what went wrong
        }
    }

    fn free_name(&mut self) -> PathBuf {
        loop {
            let next = self.last.saturating_add(SignedDuration::from_millis(1)).unwrap_or(self.last);
            self.last = next.max(Timestamp::now());
            let name = with_suffix(&self.path, &format!(".{}", self.last.strftime(STAMP)));
            if !name.exists() && !with_suffix(&name, COMPRESSED).exists() {
                return name;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Opens a file whose contents stay.
fn go_on(path: &Path) -> io::Result<File> {
    let mut file = open(path)?;
    if file.metadata()?.is_file() && is_cut(path)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether the last line has no end: a disk was full, or a machine stopped.
fn is_cut(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The old file is removed only when all of it is in the new one.
fn compress(old: &Path) -> io::Result<()> {
    let (part, whole) = (with_suffix(old, ".part"), with_suffix(old, COMPRESSED));
    let out = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    let mut encoder = GzEncoder::new(out, Compression::fast());
    io::copy(&mut File::open(old)?, &mut encoder)?;
    encoder.finish()?;
    fs::rename(part, whole)?;
    fs::remove_file(old)
}

/// Keeps the newest `count` old files of `path`.
fn remove_oldest(path: &Path, count: Option<usize>) {
    let (Some(count), Some(name)) = (count, path.file_name().and_then(|name| name.to_str())) else { return };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut old: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|other| is_old(other, name)))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    let surplus = old.len().saturating_sub(count);
    for path in &old[..surplus] {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("{}: cannot be removed: {error}", path.display());
        }
    }
}

/// Whether a file is an old one of the file `name`: nothing else is ever removed.
fn is_old(other: &str, name: &str) -> bool {
    let stamp = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let stamp = stamp.map(|stamp| stamp.strip_suffix(COMPRESSED).unwrap_or(stamp));
    stamp.is_some_and(|stamp| {
        stamp.len() == STAMP_LENGTH
            && stamp.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 | 13 | 16 => byte == b'-',
                10 => byte == b'T',
                19 => byte == b'.',
                _ => byte.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use flate2::read::GzDecoder;

    use super::*;

    /// Old files of `log` by age, then `log` itself.
    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        files.rotate_left(1);
        files
    }

    fn text(path: &Path) -> String {
        let mut text = String::new();
        let file = File::open(path).expect("a file");
        if path.extension().is_some_and(|extension| extension == "gz") {
            GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        } else {
            (&file).read_to_string(&mut text).expect("text");
        }
        text
    }

    /// Writes the numbers 0 to 999, a line each.
    fn write_lines(path: &Path, rotation: FileRotation) {
        let mut file = Rotated::open(path, false, rotation, Arc::default()).expect("a file");
        for number in 0..1000 {
            file.write(format!("{number:03}\n").as_bytes()).expect("written");
        }
        file.finish();
    }

    #[test]
    fn nothing_is_lost_where_files_meet() {
        for compress in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let rotation = FileRotation { size: Some(150), compress, ..FileRotation::default() };
            write_lines(&directory.path().join("log"), rotation);
            let files = files(directory.path());
            let texts: Vec<String> = files.iter().map(|path| text(path)).collect();
            assert!(texts.iter().all(|text| text.len() <= 150 && text.ends_with('\n')));
            assert_eq!(texts.len(), 4000_usize.div_ceil(148));
            let expected: String = (0..1000).map(|number| format!("{number:03}\n")).collect();
            assert_eq!(texts.concat(), expected);
            assert_eq!(files[0].extension().is_some_and(|extension| extension == "gz"), compress);
        }
    }

    #[test]
    fn only_the_newest_are_kept_and_strangers_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let stranger = directory.path().join("log.0-of-another-program");
        fs::write(&stranger, "x").expect("written");
        let rotation = FileRotation { size: Some(400), count: Some(2), ..FileRotation::default() };
        write_lines(&directory.path().join("log"), rotation);
        assert!(stranger.exists());
        fs::remove_file(stranger).expect("removed");
        let texts: Vec<String> = files(directory.path()).iter().map(|path| text(path)).collect();
        assert_eq!(texts.len(), 3);
        assert!(texts.concat().starts_with("700\n") && texts.concat().ends_with("999\n"));
    }

    #[test]
    fn an_old_file_is_put_aside_unless_it_is_empty() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let rotation = FileRotation { age: Some(Duration::ZERO), ..FileRotation::default() };
        let mut file = Rotated::open(&path, false, rotation, Arc::default()).expect("a file");
        file.tick().expect("nothing to do");
        assert_eq!(files(directory.path()).len(), 1);
        file.write(b"a\n").expect("written");
        file.tick().expect("rotated");
        assert_eq!(files(directory.path()).iter().map(|path| text(path)).collect::<Vec<_>>(), ["a\n", ""]);
    }

    #[test]
    fn a_moved_file_is_replaced_when_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, moved) = (directory.path().join("log"), directory.path().join("moved"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file =
            Rotated::open(&path, false, FileRotation::default(), Arc::clone(&reopen)).expect("a file");
        file.write(b"a\n").expect("written");
        fs::rename(&path, &moved).expect("renamed");
        file.write(b"b\n").expect("written");
        reopen.store(true, Ordering::Relaxed);
        file.write(b"c\n").expect("written");
        assert_eq!((text(&moved), text(&path)), ("a\nb\n".to_owned(), "c\n".to_owned()));
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_file_has_stays_and_a_cut_line_is_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        for (before, after) in [("", "c\n"), ("a\n", "a\nc\n"), ("b", "b\nc\n")] {
            fs::write(&path, before).expect("written");
            let file = Rotated::open(&path, true, FileRotation::default(), Arc::default());
            file.expect("a file").write(b"c\n").expect("written");
            assert_eq!(text(&path), after);
        }
    }
}
