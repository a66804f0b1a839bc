//! Libraries that programs are likely to load later, found in the usual places of each root directory that processes
//! have: a short-lived program has ended before a library is hooked that nobody used before.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, fstat, open, openat2};

use crate::probes::Wanted;

/// Where loaders look unless they are told otherwise, below a root; `$ARCH` is the processor's name. And where programs
/// are.
const PLACES: [&str; 13] = [
    "usr/lib/$ARCH-linux-gnu",
    "lib/$ARCH-linux-gnu",
    "usr/lib64",
    "lib64",
    "usr/lib",
    "lib",
    "usr/local/lib",
    "usr/local/lib64",
    "usr/bin",
    "bin",
    "usr/sbin",
    "sbin",
    "usr/local/bin",
];
/// Most names that are read of a directory, most files that are taken of a root, and most roots: a container can have
/// any number.
const MOST_NAMES: usize = 1 << 15;
const MOST_FILES: usize = 16;
const MOST_ROOTS: usize = 1 << 12;

/// Root directories that were looked into.
#[derive(Default)]
pub struct Roots(FxHashSet<(u64, u64)>);

impl Roots {
    /// The likely libraries below the root of a process, with their paths there; none if that root was looked into
    /// before.
    pub fn libraries(&mut self, pid: u32, wanted: Wanted) -> Vec<(PathBuf, File)> {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let Ok(id) = fs::metadata(&root).map(|root| (root.dev(), root.ino())) else {
            return Vec::new(); // it ended, or we may not look
        };
        if self.0.len() >= MOST_ROOTS || !self.0.insert(id) {
            return Vec::new();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = open(&root, flags, Mode::empty()) else { return Vec::new() };
        let mut found = Vec::new();
        for place in PLACES {
            let place = PathBuf::from(place.replace("$ARCH", std::env::consts::ARCH));
            // Most places do not exist in most roots.
            let names = names(&root, &place, wanted).unwrap_or_default();
            let paths = names.iter().map(|name| place.join(name));
            found.extend(
                paths.filter_map(|path| Some((Path::new("/").join(&path), regular(&root, &path).ok()?))),
            );
            found.truncate(MOST_FILES);
        }
        found
    }
}

/// Opens below a root, where symbolic links of others can not lead out of it (`openat2`, Linux 5.6).
fn open_below(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// The names in a directory that we know.
fn names(root: &OwnedFd, place: &Path, wanted: Wanted) -> io::Result<Vec<String>> {
    let directory = open_below(root, place, OFlags::DIRECTORY)?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    let mut names = Vec::new();
    for _ in 0..MOST_NAMES {
        let Some(entry) = entries.next() else { break };
        let entry = entry?;
        names
            .extend(entry.file_name().to_str().ok().filter(|name| wanted.is_likely(name)).map(str::to_owned));
    }
    names.sort_unstable(); // the same ones each time
    Ok(names)
}

/// Opens a regular file by its path in our own root directory.
///
/// # Errors
/// It is not there, or not a regular file.
pub fn open_here(path: &Path) -> io::Result<File> {
    regular(&open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?, path)
}

/// Opens a regular file; a FIFO would keep us waiting, and a device would do what it does.
fn regular(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let handle = open_below(root, path, OFlags::PATH)?;
    if FileType::from_raw_mode(fstat(&handle)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let exact =
        rustix::fs::openat(CWD, format!("/proc/self/fd/{}", handle.as_raw_fd()), flags, Mode::empty())?;
    Ok(File::from(exact))
}
