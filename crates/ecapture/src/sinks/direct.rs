//! Standard output or a file, buffered and written by the pipeline itself.

use std::fs::File;
use std::io::{self, BufWriter, IoSlice, Write};
use std::path::Path;

/// Bytes that are gathered for one system call.
const BUFFER: usize = 64 << 10;

/// `IOV_MAX` of `linux/limits.h`: pieces that one system call takes.
const MOST_PIECES: usize = 1024;

/// An open destination with its name.
pub struct Direct {
    name: String,
    writer: BufWriter<Target>,
}

enum Target {
    Stdout,
    File(File),
}

impl Direct {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::new("standard output".to_owned(), Target::Stdout)
    }

    /// A file, readable by its owner only when it is new: it may hold secrets. It is made empty unless `keep`.
    /// Written at its end, so that it can be shared with the log.
    ///
    /// # Errors
    /// The file can not be opened for writing.
    pub fn file(path: &Path, keep: bool) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().append(true).create(true).mode(0o600).open(path)?;
        if !keep && file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(Self::new(path.display().to_string(), Target::File(file)))
    }

    /// Writes all of several pieces, with nothing else between them, past the buffer.
    pub fn write_pieces(&mut self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.writer.flush()?;
        IoSlice::advance_slices(&mut pieces, 0); // leaves out empty ones
        while !pieces.is_empty() {
            let most = pieces.len().min(MOST_PIECES);
            match self.writer.get_mut().write_vectored(&pieces[..most]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut pieces, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn new(name: String, target: Target) -> Self {
        Self { name, writer: BufWriter::with_capacity(BUFFER, target) }
    }

    /// Name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // Past the line buffer of `Stdout`, which would cut our blocks at line ends.
            Self::Stdout => rustix::io::write(io::stdout(), bytes).map_err(Into::into),
            Self::File(file) => file.write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Stdout => rustix::io::writev(io::stdout(), pieces).map_err(Into::into),
            Self::File(file) => file.write_vectored(pieces),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
