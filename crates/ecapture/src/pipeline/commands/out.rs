//! Commands to records: times, processes, identities.

use rustc_hash::FxHashMap;

use super::super::clock::Clock;
use super::super::filtered::FilteredSinks;
use super::call::Call;
use crate::record::{self, Execution, Origin, Outcome, Parameter, Process, Session, Stage, Thread};
use crate::targets;

/// A command, as the programs' own modules know it.
#[derive(Debug, Default)]
pub struct Command {
    /// Unique within a run.
    pub id: u64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// What it is.
    pub kind: &'static str,
    /// When it began, monotonic ns.
    pub began: u64,
    /// Its text.
    pub text: Vec<u8>,
    /// The program that it is.
    pub execution: Option<Execution>,
    /// Its values.
    pub parameters: Vec<Parameter>,
    /// Rows.
    pub rows: Option<u64>,
    /// What is odd about it.
    pub note: &'static str,
}

/// Where commands go.
pub struct Out {
    sinks: FilteredSinks,
    clock: Clock,
    processes: FxHashMap<u32, (Process, Origin)>,
    commands: u64,
    /// Only commands with this exit status.
    status: Option<i32>,
    /// Records that were made.
    pub told: u64,
}

impl Out {
    /// Writes to `sinks`. `status`: only commands that end so.
    pub fn new(sinks: FilteredSinks, status: Option<i32>) -> Self {
        Self { sinks, clock: Clock::new(), processes: FxHashMap::default(), commands: 0, status, told: 0 }
    }

    /// Looks at the process of a call, as long as it is there.
    pub fn meet(&mut self, call: &Call) {
        let known = self.processes.entry(call.pid).or_insert_with(|| {
            let container = targets::container(call.neighbour());
            let process = Process { pid: call.pid, uid: call.uid, comm: String::new(), container };
            (process, call.origin())
        });
        known.0.uid = call.uid;
        if known.0.comm != call.comm {
            known.0.comm.clone_from(&call.comm);
        }
    }

    /// A new command of a call's thread, which begins with it.
    pub fn begin(&mut self, call: &Call, kind: &'static str, text: Vec<u8>) -> Command {
        self.commands += 1;
        let (pid, tid, began) = (call.pid, call.tid, call.time);
        Command { id: self.commands, pid, tid, kind, began, text, note: call.defect, ..Command::default() }
    }

    /// Tells that a command runs, unless it depends on its end whether it is wanted.
    pub fn start(&mut self, command: &Command) {
        if self.status.is_none() {
            self.write(command, Stage::Start, None, None, None);
        }
    }

    /// Tells how a command ended that was told when it began.
    pub fn end(&mut self, command: &Command, ended: Option<u64>, outcome: Outcome<'_>) {
        match self.status {
            None => self.write(command, Stage::End, ended, Some(outcome), None),
            Some(_) if self.status == outcome.status() => {
                self.write(command, Stage::Whole, ended, Some(outcome), None);
            }
            Some(_) => {}
        }
    }

    /// Tells of a statement, once it is over.
    pub fn whole(
        &mut self,
        command: &Command,
        ended: Option<u64>,
        outcome: Outcome<'_>,
        session: Option<&Session>,
    ) {
        self.write(command, Stage::Whole, ended, Some(outcome), session);
    }

    /// Tells of what has no end: a line. Not if only commands with some status are wanted.
    pub fn line(&mut self, command: &Command) {
        if self.status.is_none() {
            self.write(command, Stage::Whole, None, None, None);
        }
    }

    /// A process is over.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    /// What time brings.
    pub fn tend(&mut self) {
        self.clock.refresh(Clock::now());
        self.sinks.flush();
    }

    /// Where they go.
    pub fn sinks(&mut self) -> &mut FilteredSinks {
        &mut self.sinks
    }

    /// The sinks, at the end.
    pub fn into_sinks(mut self) -> FilteredSinks {
        self.sinks.flush();
        self.sinks
    }

    fn write(
        &mut self,
        command: &Command,
        stage: Stage,
        ended: Option<u64>,
        outcome: Option<Outcome<'_>>,
        session: Option<&Session>,
    ) {
        let Some((process, origin)) = self.processes.get(&command.pid) else { return };
        let is_told = self.sinks.write_command(&record::Command {
            id: command.id,
            stage,
            time: self.clock.wall(command.began),
            duration: ended.map(|ended| ended.saturating_sub(command.began)),
            thread: Thread { tid: command.tid, process },
            origin,
            session,
            kind: command.kind,
            text: &command.text,
            execution: command.execution.as_ref(),
            parameters: &command.parameters,
            outcome,
            rows: command.rows,
            note: command.note,
        });
        self.told += u64::from(is_told);
    }
}
