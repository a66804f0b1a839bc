//! Sees programs start, load libraries and end, while it happens: kernel side-band records of perf events,
//! one buffer for each CPU.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, Sampler};

use super::procfs::{FileId, Mapping};

/// Bytes of each CPU's buffer; a record has about 100.
const BUFFER: usize = 64 << 10;

/// What a process did.
#[derive(Debug)]
pub enum Change {
    /// It maps code of a file.
    Code {
        /// Its id.
        pid: u32,
        /// What it maps.
        mapping: Mapping,
    },
    /// Its first thread ended, and mostly the process with it.
    Over {
        /// Its id.
        pid: u32,
    },
    /// The kernel could not keep up: changes were lost.
    Missed,
}

/// The side-band buffers.
pub struct Watch {
    buffers: Vec<Sampler>,
}

impl Watch {
    /// Starts watching every process for its end and, with `code`, for the files it maps code of.
    ///
    /// # Errors
    /// The kernel refused: capability `CAP_PERFMON`, or no perf events.
    pub fn start(code: bool) -> Result<Self> {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_else(|_| "0".into());
        let buffers = cpus(&online)
            .map(|cpu| buffer(cpu, code))
            .collect::<Result<_>>()
            .context("watch for new programs")?;
        Ok(Self { buffers })
    }

    /// Descriptors that become readable when there are changes.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.buffers.iter().map(|buffer| {
            // SAFETY: the sampler owns the descriptor and outlives the borrow.
            unsafe { BorrowedFd::borrow_raw(buffer.as_raw_fd()) }
        })
    }

    /// Hands out what happened since the last time.
    pub fn changes(&mut self, mut each: impl FnMut(Change)) {
        for buffer in &mut self.buffers {
            while let Some(record) = buffer.next_record() {
                match record.parse_record() {
                    Ok(record) => change(record).into_iter().for_each(&mut each),
                    Err(_) => each(Change::Missed),
                }
            }
        }
    }
}

fn change(record: Record<'_>) -> Option<Change> {
    match record {
        Record::Mmap2(mmap) => Some(Change::Code {
            pid: mmap.pid,
            mapping: Mapping {
                file: FileId {
                    device: (mmap.maj()?, mmap.min()?),
                    inode: mmap.ino().filter(|inode| *inode != 0)?,
                },
                start: mmap.addr,
                end: mmap.addr + mmap.len,
                path: mmap.filename_os().into(),
            },
        }),
        Record::Exit(exit) if exit.pid == exit.tid => Some(Change::Over { pid: exit.pid }),
        Record::Lost(_) => Some(Change::Missed),
        _ => None,
    }
}

fn buffer(cpu: usize, code: bool) -> Result<Sampler> {
    let counter = Builder::new(Software::DUMMY)
        .any_pid()
        .one_cpu(cpu)
        .mmap(code)
        .mmap2(code)
        .task(true)
        .wakeup_watermark(1)
        .enabled(true)
        .build()?;
    Ok(counter.sampled(BUFFER)?)
}

/// `0-3,8` and the like.
fn cpus(list: &str) -> impl Iterator<Item = usize> {
    list.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap_or(0)..=last.parse().unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn cpu_lists() {
        assert_eq!(super::cpus("0-2,8,10-11\n").collect::<Vec<_>>(), [0, 1, 2, 8, 10, 11]);
    }
}
