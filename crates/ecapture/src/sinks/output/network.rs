//! A peer in the network: TCP with the records one after another, or a WebSocket with a message for each record.
//! A connection that is lost is made again; the record that was cut off is sent anew.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Error, Message, WebSocket};

use super::queue::{Batch, Queue};

/// How long making a connection may take, for each of its steps.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pauses between attempts double from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// How long a write may block before we look whether the run has ended.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);

/// The same of a read, which finds pings and the end of the connection.
const READ_PATIENCE: Duration = Duration::from_millis(1);

/// How often we read.
const READ_PAUSE: Duration = Duration::from_millis(250);

/// Where a peer is and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    /// Host without brackets, and port.
    host: String,
    port: u16,
    /// As it was given.
    url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Tcp,
    Ws,
    Wss,
}

impl FromStr for Address {
    type Err = String;

    /// `tcp://HOST:PORT`, `ws://HOST[:PORT][/PATH]`, `wss://HOST[:PORT][/PATH]`.
    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let (scheme, default) = match scheme {
            "tcp" => (Scheme::Tcp, None),
            "ws" => (Scheme::Ws, Some(80)),
            "wss" => (Scheme::Wss, Some(443)),
            _ => return Err(format!("{scheme}:// is not known; tcp://, ws:// and wss:// are")),
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        if scheme == Scheme::Tcp && !matches!(path, "" | "/") {
            return Err("tcp:// has no path".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("{port} is not a port"))?)
            }
            _ => (authority, default.ok_or("a port is needed: tcp://HOST:PORT")?),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains('@') {
            return Err("expected a host and a port".to_owned());
        }
        Ok(Self { scheme, host: host.to_owned(), port, url: url.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// A peer, connected or not.
#[derive(Debug)]
pub struct Network {
    address: Address,
    connection: Option<Connection>,
    /// Whether there ever was a connection.
    was_connected: bool,
    /// When the next attempt is due, and the pause after it.
    retry: (Instant, Duration),
    /// When we read last.
    read: Instant,
}

#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    WebSocket(Box<WebSocket<Stream>>),
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Why records were not sent.
enum Unsent {
    /// The connection is lost.
    Lost(String),
    /// The run has ended, and the peer takes nothing.
    GivenUp,
}

impl Network {
    /// A peer to which no connection was tried yet.
    pub fn new(address: Address) -> Self {
        let now = Instant::now();
        Self { address, connection: None, was_connected: false, retry: (now, PAUSES[0]), read: now }
    }

    /// Sends records, over as many connections as that takes; at the end of the run, what is not sent in time
    /// counts as dropped.
    pub fn send(&mut self, batch: &Batch, queue: &Queue) {
        self.look_for_input();
        let mut sent = 0;
        while sent < batch.ends.len() && !queue.is_given_up() {
            let Some(connection) = self.connected(queue) else {
                if queue.is_given_up() {
                    break;
                }
                thread::sleep(self.retry.0.saturating_duration_since(Instant::now()).min(WRITE_PATIENCE));
                continue;
            };
            match connection.send(batch, &mut sent, queue) {
                Ok(()) => {}
                Err(Unsent::Lost(reason)) => self.lose(&reason),
                Err(Unsent::GivenUp) => break,
            }
        }
        queue.count_written(sent);
        let from = sent.checked_sub(1).map_or(0, |last| batch.ends[last]);
        queue.count_dropped(batch.ends.len() - sent, batch.bytes.len() - from);
    }

    /// Connects early, answers pings, notices the end of a connection.
    pub fn tick(&mut self, queue: &Queue) {
        self.connected(queue);
        self.look_for_input();
    }

    /// Says good-bye.
    pub fn close(&mut self) {
        if let Some(Connection::WebSocket(socket)) = &mut self.connection {
            let _ = socket.close(None).and_then(|()| socket.flush()); // who does not listen needs no good-bye
        }
    }

    /// The connection, if there is one or can be one now.
    fn connected(&mut self, queue: &Queue) -> Option<&mut Connection> {
        if self.connection.is_none() && Instant::now() >= self.retry.0 {
            match connect(&self.address) {
                Ok(connection) => {
                    if self.was_connected {
                        queue.count_reconnect();
                        tracing::info!("{}: connected again", self.address);
                    }
                    self.was_connected = true;
                    self.connection = Some(connection);
                    self.retry.1 = PAUSES[0];
                }
                Err(error) => {
                    if self.retry.1 == PAUSES[0] {
                        tracing::warn!("{}: {error}; trying again until it is there", self.address);
                    }
                    self.wait_longer();
                }
            }
        }
        self.connection.as_mut()
    }

    fn wait_longer(&mut self) {
        let pause = self.retry.1;
        self.retry = (Instant::now() + pause, (pause * 2).min(PAUSES[1]));
    }

    fn lose(&mut self, reason: &str) {
        tracing::warn!("{}: connection lost: {reason}", self.address);
        self.connection = None;
        self.wait_longer();
    }

    fn look_for_input(&mut self) {
        if self.read.elapsed() < READ_PAUSE {
            return;
        }
        self.read = Instant::now();
        if let Some(Err(reason)) = self.connection.as_mut().map(Connection::read) {
            self.lose(&reason);
        }
    }
}

impl Connection {
    /// Sends records from the one with the index `sent`, which is advanced.
    fn send(&mut self, batch: &Batch, sent: &mut usize, queue: &Queue) -> Result<(), Unsent> {
        match self {
            Self::Tcp(stream) => {
                let mut at = sent.checked_sub(1).map_or(0, |last| batch.ends[last]);
                while at < batch.bytes.len() {
                    match stream.write(&batch.bytes[at..]) {
                        Ok(0) => return Err(Unsent::Lost("the peer has closed it".to_owned())),
                        Ok(written) => at += written,
                        Err(error) => check_blocked(&error, queue)?,
                    }
                    *sent = batch.ends.partition_point(|end| *end <= at);
                }
                Ok(())
            }
            Self::WebSocket(socket) => {
                for record in batch.records().skip(*sent) {
                    send_message(socket, message(record), queue)?;
                    *sent += 1;
                }
                Ok(())
            }
        }
    }

    /// Takes what the peer says, which is of no interest. Tells why the connection is over, if it is.
    fn read(&mut self) -> Result<(), String> {
        match self {
            Self::Tcp(stream) => match stream.read(&mut [0; 4096]) {
                Ok(0) => Err("the peer has closed it".to_owned()),
                Ok(_) => Ok(()),
                Err(error) if is_blocked(&error) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Self::WebSocket(socket) => match socket.read() {
                Ok(_) => Ok(()),
                Err(Error::Io(error)) if is_blocked(&error) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// A text message without its line end, or a binary one where that is not possible.
fn message(record: &[u8]) -> Message {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    match std::str::from_utf8(record) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(record.to_vec()),
    }
}

fn send_message(socket: &mut WebSocket<Stream>, message: Message, queue: &Queue) -> Result<(), Unsent> {
    // What could not be written at once is kept by the socket, and goes with the next flush.
    let mut result = socket.write(message).and_then(|()| socket.flush());
    loop {
        match result {
            Ok(()) => return Ok(()),
            Err(Error::Io(error)) => check_blocked(&error, queue)?,
            Err(error) => return Err(Unsent::Lost(error.to_string())),
        }
        result = socket.flush();
    }
}

fn is_blocked(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn check_blocked(error: &io::Error, queue: &Queue) -> Result<(), Unsent> {
    match is_blocked(error) {
        false => Err(Unsent::Lost(error.to_string())),
        true if queue.is_given_up() => Err(Unsent::GivenUp),
        true => Ok(()),
    }
}

fn connect(address: &Address) -> Result<Connection, String> {
    let stream = connect_tcp(address).map_err(|error| error.to_string())?;
    let of_timeouts = stream.try_clone().map_err(|error| error.to_string())?;
    let connection = match address.scheme {
        Scheme::Tcp => Connection::Tcp(stream),
        Scheme::Ws => upgrade(address, Stream::Plain(stream))?,
        Scheme::Wss => upgrade(address, Stream::Tls(Box::new(encrypt(address, stream)?)))?,
    };
    of_timeouts
        .set_read_timeout(Some(READ_PATIENCE))
        .and_then(|()| of_timeouts.set_write_timeout(Some(WRITE_PATIENCE)))
        .map_err(|error| error.to_string())?;
    Ok(connection)
}

fn connect_tcp(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// TLS with the certificates that the system trusts, or those of `$SSL_CERT_FILE` and `$SSL_CERT_DIR`.
fn encrypt(address: &Address, stream: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone()).map_err(|error| error.to_string())?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(client, stream))
}

fn upgrade(address: &Address, stream: Stream) -> Result<Connection, String> {
    let (socket, _) = tungstenite::client(&address.url, stream).map_err(|error| error.to_string())?;
    Ok(Connection::WebSocket(Box::new(socket)))
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use super::super::queue::Policy;
    use super::*;

    #[test]
    fn addresses() {
        let parts = |url: &str| url.parse::<Address>().map(|address| (address.host, address.port));
        let at = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(parts("tcp://collector:5000"), at("collector", 5000));
        assert_eq!(parts("ws://[::1]:5000/a?b=c:d"), at("::1", 5000));
        assert_eq!(parts("ws://[::1]/"), at("::1", 80));
        assert_eq!(parts("wss://collector.example/events"), at("collector.example", 443));
        for wrong in
            ["collector", "udp://a:1", "tcp://a", "tcp://a:x", "tcp://:1", "tcp://a:1/path", "ws://u:p@a:1"]
        {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lost_connection_is_made_again_and_a_cut_record_sent_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("tcp://{}", listener.local_addr().expect("an address"));
        let queue = Queue::new(1 << 20, Policy::DropOldest);
        let mut network = Network::new(address.parse().expect("an address"));
        // More than the buffers of two sockets hold, so that the peer leaves in the middle.
        let mut batch = Batch::default();
        for number in 0..200_000_usize {
            writeln!(batch.bytes, "{number:099}").expect("a vector takes everything");
            batch.ends.push(batch.bytes.len());
        }
        thread::scope(|scope| {
            let peer = scope.spawn(|| {
                let mut first = vec![0; 100_050];
                listener.accept().expect("a connection").0.read_exact(&mut first).expect("bytes");
                let (second, _) = listener.accept().expect("another connection");
                io::BufReader::new(second).lines().map(|line| line.expect("text")).collect::<Vec<_>>()
            });
            network.send(&batch, &queue);
            drop(network);
            let lines = peer.join().expect("no panic");
            assert!(lines.iter().all(|line| line.len() == 99), "a record was cut");
            assert_eq!(lines.last().map(String::as_str), Some(&*format!("{:099}", 199_999)));
        });
        let (delivery, _) = queue.wait_done(Some(Duration::ZERO));
        assert_eq!((delivery.records, delivery.dropped, delivery.reconnects), (200_000, 0, 1));
    }
}
