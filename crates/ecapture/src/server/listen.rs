//! Where a server listens: a TCP address or a Unix socket.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::Mode;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Host without brackets, and port.
    Tcp(String, u16),
    /// A path.
    Unix(PathBuf),
}

/// A place that is listened at. A Unix socket is removed when this is dropped.
#[derive(Debug)]
pub enum Listener {
    /// With the address that it has.
    Tcp(TcpListener, SocketAddr),
    /// With its path.
    Unix(UnixListener, PathBuf),
}

impl FromStr for Place {
    type Err = String;

    /// `HOST:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("no path".to_owned()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT or unix:PATH")?;
        let port = port.parse().map_err(|_| format!("{port} is not a port"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '@']) {
            return Err("expected HOST:PORT or unix:PATH".to_owned());
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Place {
    /// Begins to listen. Only our own user can connect to a Unix socket.
    ///
    /// # Errors
    /// The port is in use, the host has no address here, or whatever else the kernel says.
    pub fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(host, port) => {
                let listener = listen_tcp(host, *port)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Ok(Listener::Tcp(listener, address))
            }
            Self::Unix(path) => {
                remove_stale(path)?;
                let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
                let listener = UnixListener::bind(path);
                rustix::process::umask(before);
                let listener = listener?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(listener, path.clone()))
            }
        }
    }
}

/// At the first address of the host that can be had.
fn listen_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a run that was killed left behind.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    match UnixStream::connect(path) {
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()), // whatever else is there is not ours to remove; binding says so
    }
}

impl Listener {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(_, address) => address.ip().is_loopback(),
            Self::Unix(..) => true,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(f),
            Self::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = fs::remove_file(path); // someone else may have removed it
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let tcp = |host: &str, port| Ok(Place::Tcp(host.to_owned(), port));
        assert_eq!("localhost:28256".parse::<Place>(), tcp("localhost", 28256));
        assert_eq!("[::1]:1".parse::<Place>(), tcp("::1", 1));
        assert_eq!("unix:/run/a".parse::<Place>(), Ok(Place::Unix("/run/a".into())));
        for wrong in ["localhost", "localhost:x", ":1", "unix:", "http://a:1", "u@a:1", "a:70000"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        assert_eq!(Place::Tcp("::1".to_owned(), 1).to_string(), "[::1]:1");
    }

    #[test]
    fn a_port_has_one_listener() {
        let first = Place::Tcp("127.0.0.1".to_owned(), 0).listen().expect("a port");
        let Listener::Tcp(_, address) = &first else { panic!("TCP") };
        let error = Place::Tcp("127.0.0.1".to_owned(), address.port()).listen().expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_a_stale_socket_is_taken_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let place = Place::Unix(path.clone());
        let listener = place.listen().expect("a socket");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o700, "for its owner only");
        assert!(place.listen().is_err(), "somebody listens");
        let copy = path.with_extension("kept");
        fs::hard_link(&path, &copy).expect("a second name");
        drop(listener); // removes it; the second name is what a killed run leaves behind
        fs::rename(&copy, &path).expect("renamed");
        assert!(place.listen().is_ok(), "nobody listens");
        assert!(!path.exists(), "removed at the end");
        fs::write(&path, "x").expect("written");
        assert!(place.listen().is_err(), "not a socket");
        assert!(path.exists());
    }
}
