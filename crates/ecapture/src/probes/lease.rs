//! Keeps writers away from a file from the first look at it until its probes are watched.
//!
//! A read lease (fcntl(2), `F_SETLEASE`) can only be had while nobody has the file open, or mapped, for writing. Who
//! opens it for writing then waits until the lease is given back: for as long as a file is looked at.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Once;

/// A lease; given back when it is dropped.
pub struct Lease<'f>(&'f File);

impl<'f> Lease<'f> {
    /// `None`: somebody can write to it, or it belongs to another user and we have no `CAP_LEASE`, or its file system
    /// has no leases.
    pub fn take(file: &'f File) -> Option<Self> {
        static QUIET: Once = Once::new();
        // SAFETY: no handler is installed. The signal that tells of a waiting writer would end us.
        QUIET.call_once(|| unsafe { _ = libc::signal(libc::SIGIO, libc::SIG_IGN) });
        set(file, libc::F_RDLCK).then_some(Self(file))
    }

    /// Whether nobody can have written to it so far: who waits longer than `fs.lease-break-time` is let through.
    pub fn holds(&self) -> bool {
        // SAFETY: this command has no argument, and the descriptor is open.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        set(self.0, libc::F_UNLCK);
    }
}

fn set(file: &File, kind: libc::c_int) -> bool {
    // SAFETY: the argument is a number, and the descriptor is open.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) == 0 }
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
