//! What `/proc` says of processes: which files they run code from.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

/// A file by device and inode, as `/proc/PID/maps` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
}

/// Executable code of a process that comes from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The file.
    pub file: FileId,
    /// Where it is mapped.
    pub start: u64,
    /// End of that, exclusive.
    pub end: u64,
    /// The file's path as the process sees it.
    pub path: PathBuf,
}

impl Mapping {
    /// Opens the mapped file itself, whatever mount namespace it is in and even when it was deleted.
    ///
    /// # Errors
    /// The process is gone, or we may not look into it.
    pub fn open(&self, pid: u32) -> io::Result<File> {
        let exact = format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end);
        let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
        let through = Path::new(&format!("/proc/{pid}/root")).join(inside);
        // Last, the same path here: a process that has already ended was most likely not in a container.
        File::open(exact).or_else(|_| self.open_checked(&through)).or_else(|_| self.open_checked(&self.path))
    }

    /// Opens a path unless another file stands there by now. Devices are not compared: overlay and btrfs show
    /// one device in maps and another in stat.
    ///
    /// The process chose the path: what is there is looked at before it is opened, which would wait for the other
    /// end of a FIFO, or do what a device does.
    fn open_checked(&self, path: &Path) -> io::Result<File> {
        let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_ino == self.file.inode {
            File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "replaced by another file since it was mapped"))
        }
    }
}

/// Ids of all processes that can be seen.
///
/// # Errors
/// `/proc` is not mounted.
pub fn processes() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Whether a process with this id exists.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The arguments of a process, or the title that it gave itself. Empty if it is gone.
pub fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// Whether a process has threads besides its first one.
pub fn has_other_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// The files that a process runs code from.
///
/// # Errors
/// The process is gone, or we may not look into it.
pub fn code(pid: u32) -> io::Result<Vec<Mapping>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    Ok(maps.split(|byte| *byte == b'\n').filter_map(mapping).collect())
}

/// One line of `/proc/PID/maps`: `start-end perms offset major:minor inode   path`.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let path_at = memchr::memchr(b'/', line)?;
    let mut words = std::str::from_utf8(&line[..path_at]).ok()?.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (major, minor) = words.nth(1)?.split_once(':')?;
    let path = &line[path_at..];
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(Mapping {
        file: FileId {
            device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
            inode: words.next()?.parse().ok().filter(|inode| *inode != 0)?,
        },
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        path: PathBuf::from(OsStr::from_bytes(path)),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn reads_code_of_files_only() {
        let line = b"7f00-7fff r-xp 00001000 fe:01 42                    /usr/lib/my lib.so (deleted)";
        let read = mapping(line).expect("a mapping");
        assert_eq!(read.file, FileId { device: (0xfe, 1), inode: 42 });
        assert_eq!((read.start, read.end), (0x7f00, 0x7fff));
        assert_eq!(read.path, Path::new("/usr/lib/my lib.so"));
        for other in
            ["7f00-7fff rw-p 0 fe:01 42 /a", "7f00-7fff r-xp 0 00:00 0 [vdso]", "", "/", "x-y r-xp 0 /"]
        {
            assert_eq!(mapping(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn our_own_code_is_found_and_opens() {
        let exe = std::env::current_exe().expect("a path");
        let code = code(std::process::id()).expect("our own maps");
        let own = code.iter().find(|mapping| mapping.path == exe).expect("the test program");
        assert_eq!(
            own.open(std::process::id()).expect("opens").metadata().expect("stat").ino(),
            own.file.inode
        );
    }
}
