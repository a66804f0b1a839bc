//! Finds files with hooks among those that processes run, and attaches to each file once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustc_hash::{FxHashMap, FxHashSet};

use super::procfs::{self, FileId, Mapping};
use crate::bpf::{Attachment, Programs};
use crate::probes::{self, Found, Verdict};

/// Most files that are remembered: a build machine runs new ones without end.
const REMEMBERED: usize = 1 << 16;

/// Every file that was looked at, and the probes on those that have hooks.
pub struct Discovery {
    programs: Programs,
    /// Only these processes count; empty: all.
    pids: Vec<u32>,
    /// Files by what `maps` calls them, with the path they had: an inode number may be used again.
    seen: FxHashMap<FileId, PathBuf>,
    /// Files by what `stat` calls them: two names in `maps` may be one file.
    attached: FxHashSet<(u64, u64)>,
    attachments: Vec<Attachment>,
}

impl Discovery {
    /// Nothing attached yet.
    pub fn new(programs: Programs, pids: Vec<u32>) -> Self {
        Self {
            programs,
            pids,
            seen: FxHashMap::default(),
            attached: FxHashSet::default(),
            attachments: Vec::new(),
        }
    }

    /// How many files have probes.
    pub fn files(&self) -> usize {
        self.attachments.len()
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
        for pid in pids {
            match procfs::code(pid) {
                Ok(mappings) => mappings.iter().for_each(|mapping| self.consider(pid, mapping)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied += 1,
                Err(_) => {} // it ended
            }
        }
        if denied != 0 {
            tracing::debug!("{denied} processes can not be looked into");
        }
        Ok(())
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
        match probes::examine(&file) {
            Verdict::Nothing => {}
            Verdict::Unusable(reason) if is_libssl(&mapping.path) => {
                tracing::warn!("{}: not hooked: {reason}", mapping.path.display());
            }
            Verdict::Unusable(reason) => tracing::debug!("{}: {reason}", mapping.path.display()),
            Verdict::Hooks(found) => {
                if let Err(error) = self.attach(&file, &mapping.path, &found) {
                    tracing::warn!("{}: not hooked: {error:#}", mapping.path.display());
                }
            }
        }
    }

    /// Attaches to a file that the user named.
    ///
    /// # Errors
    /// The file can not be read, is not for this machine, or has nothing to hook.
    pub fn attach_named(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            bail!("{} is a directory; give a library or an executable", path.display());
        }
        match probes::examine(&file) {
            Verdict::Hooks(found) => self.attach(&file, path, &found),
            Verdict::Unusable(reason) => bail!("{}: {reason}", path.display()),
            Verdict::Nothing => {
                bail!(
                    "{}: no SSL_read or SSL_write in it; give a libssl or a program with OpenSSL inside",
                    path.display()
                )
            }
        }
    }

    fn attach(&mut self, file: &File, path: &Path, found: &Found) -> Result<()> {
        let metadata = file.metadata()?;
        if !self.attached.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        // The open file, not its path: what a path names differs between mount namespaces and may change.
        let exact = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.attachments.push(self.programs.attach(Path::new(&exact), &found.hooks)?);
        tracing::info!("attached {} ({})", path.display(), found.description);
        for note in &found.notes {
            tracing::debug!("{}: {note}", path.display());
        }
        Ok(())
    }
}

/// Whether a file that we can not read is worth a warning: a 32-bit helper program is not.
fn is_libssl(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("ssl"))
}
