//! Finds files with hooks among those that processes run, and attaches to each file once.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustc_hash::FxHashMap;
use rustix::fs::{fstatfs, inotify};
use rustix::io::Errno;

use super::likely::{self, Roots};
use super::procfs::{self, FileId, Mapping};
use crate::bpf::{Attachment, Link, Programs};
use crate::escape;
use crate::probes::{self, Cache, Found, Lease, Overrides, Wanted};
use crate::status::Target;

/// Most files that are remembered: a build machine runs new ones without end.
const REMEMBERED: usize = 1 << 16;

/// How long a start may take longer for files that nobody may use again.
const LOOK_BACK: Duration = Duration::from_millis(300);

/// Every file that was looked at, and the probes on those that have hooks.
pub struct Discovery {
    pub(super) programs: Programs,
    wanted: Wanted,
    cache: Cache,
    /// Only these processes count; empty: all.
    pids: Vec<u32>,
    /// Files by what `maps` calls them, with the path they had: an inode number may be used again.
    seen: FxHashMap<FileId, PathBuf>,
    /// Attached files by what `stat` calls them: two names in `maps` may be one file.
    pub(super) attached: FxHashMap<Identity, Attached>,
    /// From how many places processes made calls on foreign stacks.
    pub(super) foreign_sites: FxHashMap<u32, u32>,
    /// A process has calls that can not be followed, and it was said.
    pub(super) warned_of_foreign: bool,
    /// Where libraries were looked for that nobody uses yet.
    roots: Roots,
    /// Tells when an attached file is written to.
    changes: OwnedFd,
}

/// A file with probes.
pub(super) struct Attached {
    pub(super) file: File,
    /// One for each library in it.
    pub(super) probes: Vec<Attachment>,
    /// Probes for calls on foreign stacks, by process and offset of the first.
    pub(super) returns: FxHashMap<(u32, u64), Link>,
    /// Tells when it is written to.
    watch: i32,
    /// What it is, for people.
    target: Target,
}

impl Discovery {
    /// Nothing attached yet.
    ///
    /// # Errors
    /// No inotify instance is left for us.
    pub fn new(programs: Programs, wanted: Wanted, use_cache: bool, pids: Vec<u32>) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self {
            programs,
            wanted,
            cache: if use_cache { Cache::open() } else { Cache::off() },
            pids,
            seen: FxHashMap::default(),
            attached: FxHashMap::default(),
            foreign_sites: FxHashMap::default(),
            warned_of_foreign: false,
            roots: Roots::default(),
            changes: inotify::init(flags).context("watch files (fs.inotify.max_user_instances)")?,
        })
    }

    /// Becomes readable when an attached file was written to.
    pub fn changed_files(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Takes the probes off files that were written to: a probe at an address that now means something else
    /// would break the program. Files are looked at again when the next process uses them.
    ///
    /// # Errors
    /// The kernel does not tell which.
    pub fn drop_changed(&mut self) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.changes, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if !event.events().contains(inotify::ReadFlags::MODIFY) => {}
                Ok(event) => {
                    let before = self.attached.len();
                    self.attached.retain(|_, attached| attached.watch != event.wd());
                    if self.attached.len() != before {
                        self.seen.clear();
                        tracing::warn!(
                            "a hooked file was overwritten: its probes are removed until it is used again"
                        );
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error).context("learn which files were written to"),
            }
        }
    }

    /// How many files have probes.
    pub fn files(&self) -> usize {
        self.attached.len()
    }

    /// The files that have probes.
    pub fn targets(&self) -> Vec<Target> {
        self.attached.values().map(|attached| attached.target.clone()).collect()
    }

    /// Looks at every process that runs now.
    ///
    /// # Errors
    /// `/proc` can not be read. What is wrong with one process or file costs a warning at most.
    pub fn scan(&mut self) -> Result<()> {
        let mut denied = 0;
        let pids: Vec<u32> = if self.pids.is_empty() {
            procfs::processes().context("list /proc")?.collect()
        } else {
            self.pids.clone()
        };
        for &pid in &pids {
            match procfs::code(pid) {
                Ok(mappings) => mappings.iter().for_each(|mapping| self.consider(pid, mapping)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied += 1,
                Err(_) => {} // it ended
            }
        }
        if denied != 0 {
            tracing::debug!("{denied} processes can not be looked into");
        }
        pids.into_iter().for_each(|pid| self.look_ahead(pid));
        Ok(())
    }

    /// Hooks files that had probes in earlier runs: programs that use them may be over before we have looked at them.
    pub fn look_back(&mut self) {
        if !self.pids.is_empty() {
            return;
        }
        let start = Instant::now();
        for path in self.cache.places() {
            if start.elapsed() > LOOK_BACK {
                tracing::debug!("more files had probes in earlier runs than can be looked at");
                break;
            }
            match likely::open_here(&path) {
                Ok(file) => self.hook(&file, &path, " (had probes in an earlier run)"),
                Err(_) => self.cache.forget(&path),
            }
        }
    }

    /// Looks at one file that a process maps.
    pub fn consider(&mut self, pid: u32, mapping: &Mapping) {
        if !self.pids.is_empty() && !self.pids.contains(&pid) {
            return;
        }
        if self.seen.get(&mapping.file) == Some(&mapping.path) {
            return;
        }
        let file = match mapping.open(pid) {
            Ok(file) => file,
            Err(error) => {
                // Not remembered: another process may let us.
                tracing::debug!("{} of process {pid}: {error}", mapping.path.display());
                return;
            }
        };
        if self.seen.len() >= REMEMBERED {
            self.seen.clear(); // they are looked at again; what is attached stays known
        }
        self.seen.insert(mapping.file, mapping.path.clone());
        self.look_ahead(pid);
        self.hook(&file, &mapping.path, &format!(" of process {pid}"));
    }

    /// Hooks libraries that programs with the root directory of this process may load later.
    fn look_ahead(&mut self, pid: u32) {
        if self.pids.is_empty() {
            for (path, file) in self.roots.libraries(pid, self.wanted) {
                self.hook(&file, &path, &format!(" below the root of process {pid}"));
            }
        }
    }

    /// Looks at a file that nobody named and attaches to it; what is wrong with it costs a warning at most.
    fn hook(&mut self, file: &File, path: &Path, origin: &str) {
        if self.is_attached(file) {
            return;
        }
        let lease = Lease::take(file);
        let findings = probes::examine(file, lease.as_ref(), self.wanted, &Overrides::default(), &self.cache);
        let is_expected = self.is_expected(path);
        for reason in findings.refused.iter().chain(&findings.unreadable) {
            if is_expected {
                tracing::warn!("{}: not hooked: {reason}", escape::path(path));
            } else if findings.unreadable.is_none() {
                tracing::info!("{}: not hooked: {reason}", escape::path(path));
            } else {
                tracing::debug!("{}: {reason}", path.display());
            }
        }
        for stranger in &findings.strangers {
            tracing::info!("{}{origin}: can not be captured: {stranger}", escape::path(path));
        }
        if findings.found.is_empty() {
            return;
        }
        match self.attach(file, path, origin, &findings.found) {
            Ok(()) => self.remember(file),
            Err(error) => tracing::warn!("{}: not hooked: {error:#}", escape::path(path)),
        }
    }

    /// For later runs; what only processes with another root directory can reach is found when they run.
    fn remember(&self, file: &File) {
        let here = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        if let Ok(path) = here
            && let (Ok(there), Ok(this)) = (fs::metadata(&path), file.metadata())
            && (there.dev(), there.ino()) == (this.dev(), this.ino())
        {
            self.cache.remember(&path);
        }
    }

    /// Whether a file that we can not read is worth a warning: a 32-bit helper program is not.
    fn is_expected(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| self.wanted.is_expected_in(&name.to_string_lossy()))
    }

    fn is_attached(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|metadata| self.attached.contains_key(&identity(file, &metadata)))
    }

    /// Attaches to a file that the user named.
    ///
    /// # Errors
    /// The file can not be read, is not for this machine, or has nothing to hook.
    pub fn attach_named(&mut self, path: &Path, overrides: &Overrides) -> Result<()> {
        let metadata = fs::metadata(path).with_context(|| format!("open {}", path.display()))?;
        if metadata.is_dir() {
            bail!("{} is a directory; give a library or an executable", path.display());
        }
        if !metadata.is_file() {
            bail!("{} is not a regular file; give a library or an executable", path.display());
        }
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let lease = Lease::take(&file);
        let findings = probes::examine(&file, lease.as_ref(), self.wanted, overrides, &self.cache);
        if !findings.found.is_empty() {
            return self.attach(&file, path, "", &findings.found);
        }
        let reasons: Vec<String> = findings.refused.into_iter().chain(findings.unreadable).collect();
        if !reasons.is_empty() {
            bail!("{}: {}", path.display(), reasons.join("; "));
        }
        bail!("{}: {}", path.display(), self.wanted.needs())
    }

    /// `origin`: what makes the path known, in words.
    fn attach(&mut self, file: &File, path: &Path, origin: &str, libraries: &[Found]) -> Result<()> {
        let key = identity(file, &file.metadata()?);
        // The open file, not its path: what a path names differs between mount namespaces and may change.
        let exact = format!("/proc/self/fd/{}", file.as_raw_fd());
        let probes = libraries
            .iter()
            .map(|found| self.programs.attach(Path::new(&exact), &found.hooks, found.keys.as_ref()))
            .collect::<Result<_>>()?;
        let watch = inotify::add_watch(&self.changes, &exact, inotify::WatchFlags::MODIFY).unwrap_or(-1);
        let target = Target {
            path: path.display().to_string(),
            found: libraries.iter().map(|found| found.description.clone()).collect(),
            hooks: libraries.iter().map(|found| found.hooks.len()).sum(),
        };
        let attached =
            Attached { file: file.try_clone()?, probes, returns: FxHashMap::default(), watch, target };
        self.attached.insert(key, attached);
        let path = escape::path(path);
        for found in libraries {
            tracing::info!("attached {path}{origin} ({})", found.description);
            if found.without_keys {
                tracing::warn!("{path}: no keys: where this library has them could not be told");
            }
            for note in &found.notes {
                tracing::debug!("{path}: {note}");
            }
        }
        Ok(())
    }
}

/// Device and inode; on overlayfs, where each mount shows a lower file with a device of its own although probes
/// sit on the one real inode, 0 and the inode with size and change time.
type Identity = (u64, u64, u64, i64);

/// `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
const OVERLAYFS: i64 = 0x794c_7630;

fn identity(file: &File, metadata: &fs::Metadata) -> Identity {
    if fstatfs(file).is_ok_and(|fs| fs.f_type == OVERLAYFS) {
        let changed = metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec());
        (0, metadata.ino(), metadata.size(), changed)
    } else {
        (metadata.dev(), metadata.ino(), 0, 0)
    }
}
