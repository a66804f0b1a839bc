//! Messages of the program itself: to standard error, and to a file as JSON lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::colours;

/// Starts logging. `file` is made empty or new, and shared with a sink: both write at its end.
///
/// # Errors
/// The file can not be made.
pub fn start(debug: bool, file: Option<&Path>) -> Result<()> {
    libbpf_rs::set_print(
        debug.then_some((libbpf_rs::PrintLevel::Warn, |_, text| tracing::debug!("{}", text.trim_end()))),
    );
    let level = LevelFilter::from_level(if debug { Level::DEBUG } else { Level::INFO });
    let console = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(colours(&io::stderr()))
        .with_writer(io::stderr)
        .with_filter(level);
    let json = file
        .map(|path| log_file(path).with_context(|| format!("--logaddr {}", path.display())))
        .transpose()?
        .map(|file| {
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(Arc::new(file))
                .with_filter(level)
        });
    tracing_subscriber::registry().with(console).with(json).init();
    Ok(())
}

fn log_file(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}
