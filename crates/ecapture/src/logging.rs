//! Messages of the program itself: to standard error, and to a file or a peer in the network as JSON lines.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{colours, network};
use crate::privileges;
use crate::server::Stream;
use crate::sinks::{Output, Policy, Running};

/// Bytes of messages that may wait for a peer; the oldest are dropped.
const QUEUE: usize = 1 << 20;

/// A log in the network, to be finished at the end of the program.
pub struct Log(Arc<Mutex<Output>>);

impl Log {
    /// Gives the peer a short time to take what waits.
    pub fn finish(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).finish(); // nobody is left to tell
    }
}

/// A message at a time.
struct Line<'a>(MutexGuard<'a, Output>);

impl Write for Line<'_> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0.write_all(message)?;
        self.0.flush()?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging. A file at `target` is made empty or new, and shared with a sink: both write at its end. Clients of
/// `stream` get all messages, too.
///
/// # Errors
/// The file can not be made, or the address is none.
pub fn start(debug: bool, target: Option<&Path>, stream: Option<Arc<Stream>>) -> Result<Option<Log>> {
    libbpf_rs::set_print(
        debug.then_some((libbpf_rs::PrintLevel::Warn, |_, text| tracing::debug!("{}", text.trim_end()))),
    );
    let level = LevelFilter::from_level(if debug { Level::DEBUG } else { Level::INFO });
    let console = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(colours(&io::stderr()))
        .with_writer(io::stderr)
        .with_filter(level)
        .boxed();
    let (mut log, mut writer) = (None, None);
    if let Some(target) = target {
        writer = Some(match network("--logaddr", target)? {
            None => {
                let file = log_file(target).with_context(|| format!("--logaddr {}", target.display()))?;
                BoxMakeWriter::new(Arc::new(file))
            }
            Some(address) => {
                let (policy, prepare) = (Policy::DropOldest, privileges::drop_all);
                let output = Output::network(address, Running { queue: QUEUE, policy, prepare })?;
                let output = Arc::new(Mutex::new(output));
                log = Some(Log(Arc::clone(&output)));
                BoxMakeWriter::new(ToPeer(output))
            }
        });
    }
    let to_clients = stream.map(|stream| BoxMakeWriter::new(move || ToClients(Arc::clone(&stream))));
    let json = writer.into_iter().chain(to_clients).map(|writer| {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
        layer.with_writer(writer).with_filter(level).boxed()
    });
    let layers: Vec<_> = std::iter::once(console).chain(json).collect();
    tracing_subscriber::registry().with(layers).init();
    Ok(log)
}

/// Takes a message at a time.
struct ToClients(Arc<Stream>);

impl Write for ToClients {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0.log(String::from_utf8_lossy(message).trim_end());
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes writers of messages.
struct ToPeer(Arc<Mutex<Output>>);

impl<'a> MakeWriter<'a> for ToPeer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn log_file(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}
