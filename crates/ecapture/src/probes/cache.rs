//! What was found in files, kept from run to run: a file is analysed once. And where the files are that had probes.
//!
//! The key of what was found is a hash of the whole file, not its build-id, which anybody can put into any file. The directory must belong
//! to us alone; entries that are damaged, or not ours, count as missing.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat, fstat, linkat, mkdir, open, openat, unlinkat,
};
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest entry that is read, bytes. One of 30 functions has about 8 KiB.
const LONGEST: u64 = 1 << 20;

/// Largest file that is hashed, bytes: that takes 0.3 s. A sparse one can have any size.
const LARGEST: u64 = 512 << 20;

/// Most entries; one more, and all are made anew as files are met.
const MOST: usize = 4096;

/// Entries of older versions of ecapture are not used: the hash of the sources that decide what is in one.
const REVISION: &str = env!("ECAPTURE_FACTS_REVISION");

/// What the names of entries begin with that tell where a file is.
const PLACE: &str = "place-";

/// A directory of entries, or none.
pub struct Cache(Option<OwnedFd>);

/// What an entry is found by.
pub struct Key(String);

impl Key {
    fn of_place(path: &Path) -> Self {
        Self(format!("{PLACE}{}", blake3::hash(path.as_os_str().as_bytes()).to_hex()))
    }

    /// Of the contents of a file, and what was asked about it.
    ///
    /// # Errors
    /// The file can not be read, or is larger than [`LARGEST`].
    pub fn new(file: &File, question: &str) -> io::Result<Self> {
        let mut hash = blake3::Hasher::new();
        hash.update(REVISION.as_bytes());
        hash.update(question.as_bytes());
        hash.update(&[0]);
        let mut buffer = vec![0; 1 << 18];
        let mut at = 0;
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => return Ok(Self(hash.finalize().to_hex().to_string())),
                _ if at >= LARGEST => return Err(io::ErrorKind::FileTooLarge.into()),
                count => {
                    hash.update(&buffer[..count]);
                    at += count as u64;
                }
            }
        }
    }
}

impl Cache {
    /// No entries.
    pub const fn off() -> Self {
        Self(None)
    }

    /// The directory of this user, made if there is none; off when it can not be trusted.
    pub fn open() -> Self {
        let Some(path) = directory() else { return Self::off() };
        match open_private(&path) {
            Ok(directory) => Self(Some(directory)),
            Err(error) => {
                tracing::warn!("{}: {error}: what is found in files is not kept", path.display());
                Self::off()
            }
        }
    }

    /// An entry.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let entry = openat(self.0.as_ref()?, &key.0, flags, Mode::empty()).ok()?;
        let stat = fstat(&entry).ok()?;
        let trusted = is_ours(&stat, FileType::RegularFile) && stat.st_size as u64 <= LONGEST;
        let bytes = BufReader::new(File::from(entry).take(LONGEST));
        trusted.then(|| serde_json::from_reader(bytes).ok())?
    }

    /// Remembers where a file is that got probes.
    pub fn remember(&self, path: &Path) {
        self.put(&Key::of_place(path), &path);
    }

    /// There is no such file any more.
    pub fn forget(&self, path: &Path) {
        if let Some(directory) = &self.0 {
            let _ = unlinkat(directory, &Key::of_place(path).0, AtFlags::empty()); // it costs a look each time
        }
    }

    /// Where files are that got probes in this run or earlier ones, in no order.
    pub fn places(&self) -> Vec<PathBuf> {
        let names = self.0.as_ref().and_then(|directory| names(directory).ok()).unwrap_or_default();
        names
            .into_iter()
            .filter_map(|name| name.into_string().ok().filter(|name| name.starts_with(PLACE)))
            .filter_map(|name| self.get(&Key(name)))
            .collect()
    }

    /// Keeps an entry. It appears whole or not at all, and nothing is left behind.
    pub fn put<T: Serialize>(&self, key: &Key, value: &T) {
        let Some(directory) = &self.0 else { return };
        if let Err(error) = write(directory, key, value) {
            tracing::debug!("an entry of the cache can not be written: {error}");
        }
    }
}

fn write<T: Serialize>(directory: &OwnedFd, key: &Key, value: &T) -> io::Result<()> {
    make_room(directory)?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut entry = File::from(openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?);
    entry.write_all(&serde_json::to_vec(value)?)?;
    let unnamed = format!("/proc/self/fd/{}", entry.as_raw_fd());
    match linkat(CWD, unnamed, directory, &key.0, AtFlags::SYMLINK_FOLLOW) {
        Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let entries = Dir::read_from(directory)?;
    Ok(entries.map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect::<Result<_, _>>()?)
}

fn make_room(directory: &OwnedFd) -> io::Result<()> {
    let names = names(directory)?;
    if names.len() > MOST {
        for name in names.iter().filter(|name| !name.to_bytes().starts_with(b".")) {
            let _ = unlinkat(directory, name, AtFlags::empty()); // one of our own names, or not ours to remove
        }
    }
    Ok(())
}

/// `$CACHE_DIRECTORY` as systemd sets it; for root `/var/cache/ecapture`, else below the cache of the user.
fn directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = absolute("CACHE_DIRECTORY") {
        return Some(given);
    }
    if geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/ecapture"));
    }
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("ecapture"))
}

fn open_private(path: &Path) -> io::Result<OwnedFd> {
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    if !is_ours(&fstat(&directory)?, FileType::Directory) {
        return Err(io::Error::other("others can write to it (it must be yours, with mode 0700)"));
    }
    Ok(directory)
}

/// Whether nobody else can have written it.
fn is_ours(stat: &Stat, kind: FileType) -> bool {
    let others: RawMode = 0o022;
    FileType::from_raw_mode(stat.st_mode) == kind
        && stat.st_uid == geteuid().as_raw()
        && stat.st_mode & others == 0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A private directory, a cache in it and a key.
    fn cache() -> (tempfile::TempDir, Cache, Key) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        let cache = Cache(Some(open_private(directory.path()).expect("private")));
        let file = tempfile::tempfile().expect("a file");
        (directory, cache, Key::new(&file, "text").expect("a key"))
    }

    #[test]
    fn an_entry_comes_back_and_only_for_its_key() {
        let (_directory, cache, key) = cache();
        cache.put(&key, &[1, 2]);
        cache.put(&key, &[3]); // the first one stays
        assert_eq!(cache.get::<Vec<u32>>(&key), Some(vec![1, 2]));
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(Key::new(&file, "text").expect("a key").0, key.0);
        assert_ne!(Key::new(&file, "keylog").expect("a key").0, key.0);
        file.write_all(b"x").expect("written");
        assert_ne!(Key::new(&file, "text").expect("a key").0, key.0);
        file.set_len(1 << 43).expect("sparse");
        assert!(Key::new(&file, "text").is_err(), "not before tomorrow");
    }

    #[test]
    fn places_come_back_once_and_whatever_they_are_called() {
        let (_directory, cache, key) = cache();
        cache.put(&key, &[1]);
        let places = [Path::new("/a/b"), Path::new("/a/b c\n"), Path::new("/a/b")];
        places.iter().for_each(|path| cache.remember(path));
        let mut found = cache.places();
        found.sort_unstable();
        assert_eq!(found, places[..2]);
        cache.forget(places[0]);
        assert_eq!(cache.places(), places[1..2]);
        assert_eq!(Cache::off().places(), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let (directory, cache, key) = cache();
        let entry = directory.path().join(&key.0);
        fs::write(&entry, "[1]").expect("written");
        assert_eq!(cache.get::<Vec<u32>>(&key), Some(vec![1]));
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("chmod");
        assert_eq!(cache.get::<Vec<u32>>(&key), None);
        fs::rename(&entry, directory.path().join("moved")).expect("renamed");
        symlink("moved", &entry).expect("a link");
        assert_eq!(cache.get::<Vec<u32>>(&key), None);
    }

    #[test]
    fn damage_counts_as_missing() {
        let (directory, cache, key) = cache();
        for bytes in [&b""[..], b"[1", b"{}", b"\xff\xfe", &[b'['; 1 << 16], &[b' '; (1 << 20) + 1]] {
            fs::write(directory.path().join(&key.0), bytes).expect("written");
            assert_eq!(cache.get::<Vec<u32>>(&key), None);
        }
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let (directory, ..) = cache();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(open_private(directory.path()).is_err());
        let link = directory.path().join("link");
        symlink("/root", &link).expect("a link");
        assert!(open_private(&link).is_err());
    }
}
