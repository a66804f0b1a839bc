//! Event -> call -> command -> record: commands of shells and statements of servers.

mod bash;
mod call;
mod mysql;
mod mysql_parameters;
mod out;
mod postgres;
mod shell;
mod sql;
mod zsh;

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::departed::Departed;
use super::filtered::FilteredSinks;
use super::live::Live;
use crate::bpf::{Block, Counter, Counters, TextEvent, events};
use crate::filter::Filter;
use crate::probes::Program;
use crate::sinks::Sinks;
use crate::status::Figure;
use bash::Bash;
use call::{Call, Calls};
use mysql::MySql;
use out::Out;
use postgres::Postgres;
use shell::Shells;
use zsh::Zsh;

/// How long a record waits for the next one before it is made visible.
const TICK: Duration = Duration::from_millis(25);

/// Makes commands of what the hooks of one program tell.
trait Reader: Send {
    /// A hook told something.
    fn take(&mut self, call: Call, out: &mut Out);

    /// Nothing more can come of a process.
    fn over(&mut self, pid: u32, out: &mut Out);

    /// The run is over.
    fn finish(&mut self, out: &mut Out);
}

/// The state of every shell or server.
pub struct Commands {
    reader: Box<dyn Reader>,
    calls: Calls,
    departed: Departed,
    out: Out,
    totals: Totals,
    live: Live,
}

/// Totals of a run.
#[derive(Debug, Default)]
pub struct Totals {
    /// Records that were written.
    pub told: u64,
    /// Records that were not selected.
    pub left_out: u64,
    /// What the hooks told.
    pub events: u64,
    /// Records of the kernel that are missing.
    pub lost: u64,
    /// Records of ours that we could not read: defects.
    pub malformed: u64,
    /// The kernel's counters at the end.
    pub kernel: Counters,
}

impl Commands {
    /// Commands of a program; what `filter` leaves goes to `sinks`; only those with this exit status.
    /// `live` changes where and which while it goes on.
    pub fn new(program: Program, status: Option<i32>, sinks: Sinks, filter: Filter, live: Live) -> Self {
        Self {
            reader: match program {
                Program::Bash => Box::new(Bash::default()),
                Program::Zsh => Box::new(Zsh::default()),
                Program::MySql => Box::new(MySql::default()),
                Program::Postgres => Box::new(Postgres::default()),
                Program::AnyShell => Box::new(Shells::default()),
            },
            calls: Calls::default(),
            departed: Departed::default(),
            out: Out::new(FilteredSinks::new(sinks, filter), status),
            totals: Totals::default(),
            live,
        }
    }

    /// Works until no more blocks can come. `over` names processes that ended. Used blocks go back through `used`.
    pub fn run(
        mut self,
        blocks: &Receiver<Block>,
        over: &Receiver<u32>,
        used: &Sender<Block>,
    ) -> (Totals, Sinks) {
        let mut idle = 0;
        loop {
            match blocks.recv_timeout(TICK) {
                Ok(block) => {
                    idle = 0;
                    events(&block).for_each(|record| self.take(record));
                    let _ = used.try_send(block);
                }
                Err(RecvTimeoutError::Timeout) => idle += 1,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.out.tend();
            for pid in self.departed.gone(idle >= 4) {
                self.reader.over(pid, &mut self.out);
                self.calls.forget(pid);
                self.out.forget(pid);
            }
            self.departed.heard(over.try_iter());
            (self.totals.told, self.totals.lost) = (self.out.told, self.calls.lost);
            self.totals.left_out = self.out.sinks().left_out;
            self.live.tend(self.out.sinks(), || self.totals.figures());
        }
        self.reader.finish(&mut self.out);
        (self.totals.told, self.totals.lost) = (self.out.told, self.calls.lost);
        let sinks = self.out.into_sinks();
        self.totals.left_out = sinks.left_out;
        self.live.finish();
        (self.totals, sinks.into_sinks())
    }

    fn take(&mut self, record: &[u8]) {
        let Ok(event) = TextEvent::parse(record) else {
            self.totals.malformed += 1;
            return;
        };
        self.departed.saw(event.time);
        self.totals.events += 1;
        if let Some(call) = self.calls.take(&event) {
            self.out.meet(&call);
            self.reader.take(call, &mut self.out);
        }
    }
}

impl Totals {
    fn figures(&self) -> Vec<Figure> {
        let total = |name, help, value| Figure { name, help, value, is_level: false };
        vec![
            total("records", "Records of commands that were written.", self.told),
            total("events", "What the hooks told.", self.events),
            total("lost", "Records of the kernel part that are missing.", self.lost),
            total("malformed", "Records of the kernel part that could not be read.", self.malformed),
            total("left_out", "Records of commands that were not selected.", self.left_out),
        ]
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter| self.kernel.get(counter).events;
        write!(f, "records={} events={} lost={}", self.told, self.events, self.lost)?;
        write!(f, " (buffer full: {}", count(Counter::RingFull))?;
        write!(f, "; unreadable memory: {}", count(Counter::Unreadable))?;
        write!(f, "; texts too long: {}", count(Counter::TooLong))?;
        write!(f, "; calls without state: {}; malformed: {})", count(Counter::NoState), self.malformed)?;
        if self.left_out != 0 {
            write!(f, " left_out={}", self.left_out)?;
        }
        Ok(())
    }
}
