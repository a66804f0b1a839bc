//! Accepts connections and speaks HTTP/1 with them, within limits. What goes wrong in one ends that one only.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};

use super::listen::Listener;

/// Most connections of a listener; more wait in the kernel.
const CONNECTIONS: usize = 128;

/// How long a client may take for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of the head of a request, and most fields in it.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;

/// How long a client may take nothing of what we send.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a failure to accept: mostly, descriptors are scarce.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until the runtime ends.
pub async fn serve(listener: Listener, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = match &listener {
        Listener::Tcp(tcp, _) => tcp.try_clone().and_then(TcpListener::from_std).map(Accepting::Tcp),
        Listener::Unix(unix, _) => unix.try_clone().and_then(UnixListener::from_std).map(Accepting::Unix),
    };
    let accepting = match accepting {
        Ok(accepting) => accepting,
        Err(error) => return tracing::error!("{listener}: {error}"),
    };
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let io = match accepting.accept().await {
            Ok(io) => io,
            Err(error) => {
                tracing::debug!("{listener}: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            if let Err(error) = talk(io, router).await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(permit);
        });
    }
}

async fn talk(io: Patient, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router))
        .with_upgrades()
        .await
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    async fn accept(&self) -> io::Result<Patient> {
        Ok(Patient::new(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        }))
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that fails when the other end takes nothing for a while.
struct Patient {
    io: Box<dyn Duplex>,
    /// When a write that waits fails.
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl Patient {
    fn new(io: Box<dyn Duplex>) -> Self {
        Self { io, deadline: Box::pin(sleep(WRITE_PATIENCE)), is_waiting: false }
    }

    fn limited<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.deadline.as_mut().reset(Instant::now() + WRITE_PATIENCE);
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.limited(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.limited(cx, shut)
    }
}
