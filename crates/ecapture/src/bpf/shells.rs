//! Watches every shell by tracepoints: the programs that it runs, and the lines that it reads from terminals.

use anyhow::{Context, Result};
use libbpf_rs::{ErrorKind, MapCore, MapFlags};

use super::load::{Programs, attach, comm_key, map_handle};

/// What is told, in [`TextEvent::point`](super::TextEvent::point): `enum shell_point` of `text.h`.
pub mod points {
    /// A shell runs a program: shell and login, length of the arguments and terminal, arguments, name of the shell in
    /// two, path. The second of a pair is in the upper half.
    pub const PROGRAM: u32 = 64;
    /// The program is over: its status, as `wait` tells it.
    pub const PROGRAM_END: u32 = 65;
    /// A shell read from a terminal: length, bytes.
    pub const LINE: u32 = 66;
}

/// `IS_SHELL` of `shell.bpf.c`.
const IS_SHELL: u32 = 1;

const OF_PROGRAMS: [&str; 3] = ["program_end", "program_fork", "program_start"];
/// Whoever reads must know of changes of the terminal.
const OF_SETTINGS: [&str; 1] = ["line_settings"];
const OF_LINES: [&str; 2] = ["line_read", "line_end"];

impl Programs {
    /// Begins to watch programs with these names, of which 15 bytes count.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn watch_shells(&mut self, names: &[String]) -> Result<()> {
        let known = map_handle(&self.main, "shell_names")?;
        for name in names {
            known.update(&comm_key(name), &[1], MapFlags::ANY).context("too many names of shells")?;
        }
        self.links.extend(attach(&self.main, &OF_PROGRAMS).context("watch programs that start and end")?);
        Ok(())
    }

    /// Begins to watch the terminals of shells. Whether that is possible: it needs tracefs, and a kernel with
    /// `CONFIG_FTRACE_SYSCALLS`.
    pub fn watch_lines(&mut self) -> bool {
        let lines = attach(&self.main, &OF_SETTINGS)
            .and_then(|first| Ok([first, attach(&self.main, &OF_LINES)?].into_iter().flatten()));
        match lines {
            Ok(links) => {
                self.links.extend(links);
                true
            }
            Err(error) => {
                tracing::debug!("terminals can not be watched: {error:#}");
                false
            }
        }
    }

    /// A process that was there before. What the kernel knows of it by now is newer.
    ///
    /// # Errors
    /// There are too many.
    pub fn know_process(&self, pid: u32, is_shell: bool) -> Result<()> {
        let is = if is_shell { IS_SHELL } else { 0 };
        let processes = map_handle(&self.main, "processes")?;
        match processes.update(&pid.to_ne_bytes(), &is.to_ne_bytes(), MapFlags::NO_EXIST) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).context("too many shells"),
            _ => Ok(()),
        }
    }
}
