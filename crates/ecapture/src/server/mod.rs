//! The event stream and the control API, on one thread of their own. The capture never waits for it.

mod access;
mod control;
mod http;
mod hub;
mod lines;
mod listen;
mod proto;
mod report;
mod stream;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::{Router, middleware};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use access::Access;
pub use access::Token;
use control::Control;
pub use control::{Change, Handles, Module, Refusal};
pub use hub::Hub;
pub use lines::Lines;
use listen::Listener;
pub use listen::Place;
pub use stream::{Events, Stream};

/// Name of the thread. A panic on it ends a connection, not the program.
pub const THREAD: &str = "server";

/// Most clients of each stream of records.
const CLIENTS: usize = 100;

/// How long clients may take at the end to get what waits for them.
const GRACE: Duration = Duration::from_secs(2);

/// What is served, where, and to whom.
#[derive(Debug, Default)]
pub struct ServerConfig {
    /// `--ecaptureq`.
    pub stream: Option<Place>,
    /// `--listen`.
    pub control: Option<Place>,
    /// What clients have to know.
    pub token: Option<Token>,
    /// Origins whose pages are served.
    pub origins: Vec<String>,
}

/// Listeners that do not serve yet.
pub struct Bound {
    config: ServerConfig,
    stream: Option<Listener>,
    control: Option<Listener>,
}

/// A server that runs.
pub struct Server {
    hubs: Vec<Arc<Hub>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What is counted of both servers.
pub(crate) struct Counts {
    accesses: Vec<Arc<Access>>,
    stream: Option<Arc<Stream>>,
}

impl Counts {
    fn refused(&self) -> u64 {
        self.accesses.iter().map(|access| access.refused()).sum()
    }

    /// Clients that there are, and those that were dropped.
    fn clients(&self, lines: &Hub) -> (u64, u64) {
        let hubs = self.stream.iter().map(|stream| stream.hub().as_ref()).chain([lines]);
        hubs.fold((0, 0), |(connected, dropped), hub| {
            (connected + hub.connected() as u64, dropped + hub.dropped())
        })
    }
}

impl Bound {
    /// Begins to listen, so that what is wrong with an address is known before the capture starts.
    ///
    /// # Errors
    /// An address can not be had, or others could connect to it without a token.
    pub fn new(config: ServerConfig) -> Result<Self> {
        let listen = |option: &str, place: &Option<Place>| -> Result<Option<Listener>> {
            let Some(place) = place else { return Ok(None) };
            let listener = place.listen().with_context(|| format!("{option} {place}"))?;
            if !listener.is_local() {
                if config.token.is_none() {
                    bail!(
                        "{option} {place}: other machines can connect there: give a --token-file, or use localhost"
                    );
                }
                tracing::warn!("{option} {place}: records and the token pass the network unencrypted");
            }
            Ok(Some(listener))
        };
        let stream = listen("--ecaptureq", &config.stream)?;
        let control = listen("--listen", &config.control)?;
        Ok(Self { config, stream, control })
    }

    /// Serves. `prepare` is called on the thread before anything else.
    ///
    /// # Errors
    /// The thread can not be started.
    pub fn start(
        self,
        stream: Option<Arc<Stream>>,
        lines: Arc<Hub>,
        handles: Handles,
        prepare: fn(),
    ) -> io::Result<Server> {
        let Self { config, stream: stream_listener, control: control_listener } = self;
        let access = |listener: &Option<Listener>| {
            let is_unix = matches!(listener, Some(Listener::Unix(..)));
            Arc::new(Access::new(config.token.clone(), config.origins.clone(), is_unix))
        };
        let accesses = [access(&stream_listener), access(&control_listener)];
        let mut hubs = vec![Arc::clone(&lines)];
        hubs.extend(stream.iter().map(|stream| Arc::clone(stream.hub())));
        let counts = Counts { accesses: accesses.to_vec(), stream: stream.clone() };
        let guarded = |router: Router, access: &Arc<Access>| {
            router.layer(middleware::from_fn_with_state(Arc::clone(access), access::guard))
        };
        let mut served = Vec::new();
        if let (Some(listener), Some(stream)) = (stream_listener, stream) {
            tracing::info!("event stream at ws://{listener}/");
            served.push((listener, guarded(stream::router(stream), &accesses[0])));
        }
        if let Some(listener) = control_listener {
            tracing::info!("control API at {listener}");
            let are_trusted = accesses[1].is_private();
            let control = Arc::new(Control { handles, lines, counts, are_trusted });
            served.push((listener, guarded(control::router(control), &accesses[1])));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let of_thread = hubs.clone();
        let thread = thread::Builder::new().name(THREAD.into()).spawn(move || {
            prepare();
            runtime.block_on(async {
                for (listener, router) in served {
                    tokio::spawn(http::serve(listener, router));
                }
                let _ = stopped.await;
                goodbye(&of_thread).await;
            });
        })?;
        Ok(Server { hubs, stop, thread })
    }
}

/// Waits until all clients have gone, for a short time.
async fn goodbye(hubs: &[Arc<Hub>]) {
    let end = Instant::now() + GRACE;
    while hubs.iter().any(|hub| hub.connected() != 0) && Instant::now() < end {
        sleep(Duration::from_millis(5)).await;
    }
}

impl Server {
    /// Ends, once clients have got what waits for them, or after a short time.
    pub fn stop(self) {
        self.hubs.iter().for_each(|hub| hub.close());
        let _ = self.stop.send(()); // if the thread is gone, so are its clients
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use axum::routing::get;

    use super::*;

    /// Serves `router` on a thread for as long as the test process lives.
    fn serve(router: Router) -> SocketAddr {
        let listener = "127.0.0.1:0".parse::<Place>().expect("a place").listen().expect("a port");
        let Listener::Tcp(_, address) = &listener else { panic!("TCP") };
        let address = *address;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        thread::spawn(move || runtime.block_on(http::serve(listener, router)));
        address
    }

    fn answer(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(request).expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // it may be reset
        String::from_utf8_lossy(&answer).into_owned()
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_panic_ends_one_connection() {
        let router = Router::new()
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("a handler")
                    }
                }),
            )
            .route("/", get(|| async { "well" }));
        let address = serve(router);
        assert_eq!(answer(address, b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"), "");
        assert!(answer(address, GET).ends_with("well"));
    }

    #[test]
    fn heads_are_limited() {
        let address = serve(Router::new().route("/", get(|| async { "well" })));
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        assert!(answer(address, long.as_bytes()).starts_with("HTTP/1.1 431"));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
        assert!(answer(address, many.as_bytes()).starts_with("HTTP/1.1 431"));
        // One that never ends its head is cut off; the others are served meanwhile.
        let mut slow = TcpStream::connect(address).expect("a connection");
        slow.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
        assert!(answer(address, GET).ends_with("well"));
        slow.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        assert_eq!(slow.read(&mut [0; 9]).expect("the end, not a timeout"), 0);
    }

    #[test]
    fn others_need_a_token() {
        let open = ServerConfig { control: "0.0.0.0:0".parse().ok(), ..ServerConfig::default() };
        let error = Bound::new(open).err().expect("refused");
        assert!(format!("{error:#}").contains("--token-file"));
    }
}
