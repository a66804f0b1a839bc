//! Keeps writers away from a file from the first look at it until its probes are watched.
//!
//! A read lease (fcntl(2), `F_SETLEASE`) can only be had while nobody has the file open, or mapped, for writing. Who
//! opens it for writing then waits until the lease is given back: for as long as a file is looked at.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Once;

/// A lease; given back when it is closed.
///
/// It has a descriptor of its own, as a lease sets a flag on it with which overlayfs of Linux 5.10 refuses to read.
pub struct Lease(File);

impl Lease {
    /// `None`: somebody can write to it, or it belongs to another user and we have no `CAP_LEASE`, or its file system
    /// has no leases.
    pub fn take(file: &File) -> Option<Self> {
        static QUIET: Once = Once::new();
        // SAFETY: no handler is installed. The signal that tells of a waiting writer would end us.
        QUIET.call_once(|| unsafe { _ = libc::signal(libc::SIGIO, libc::SIG_IGN) });
        let own = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        // SAFETY: the argument is a number, and the descriptor is open.
        let is_taken = unsafe { libc::fcntl(own.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0 };
        is_taken.then_some(Self(own))
    }

    /// Whether nobody can have written to it so far: who waits longer than `fs.lease-break-time` is let through.
    pub fn holds(&self) -> bool {
        // SAFETY: this command has no argument, and the descriptor is open.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::ErrorKind;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn who_wants_to_write_waits_and_who_can_write_leaves_no_lease() {
        let named = tempfile::NamedTempFile::new().expect("a file");
        let file = File::open(named.path()).expect("open");
        assert!(Lease::take(&file).is_none(), "it is open for writing");
        let path = named.into_temp_path();
        let lease = Lease::take(&file).expect("a lease");
        assert!(lease.holds());
        let write = || OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        assert_eq!(write().expect_err("a lease").kind(), ErrorKind::WouldBlock);
        assert!(!lease.holds(), "a writer waits");
        drop(lease);
        let _writer = write().expect("no lease");
        assert!(Lease::take(&file).is_none());
    }
}
