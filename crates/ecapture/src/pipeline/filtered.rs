//! The sinks behind the filter: nothing reaches them unredacted.

use crate::filter::{Filter, Processes, Selection};
use crate::record::{
    Command, Execution, Failure, Kind, Outcome, Packet, Parameter, Plaintext, Record, Secret,
};
use crate::sinks::Sinks;

/// All sinks of a run, and what is kept from them.
pub struct FilteredSinks {
    sinks: Sinks,
    filter: Filter,
    /// Messages, pieces of them, raw bytes of one call, gaps, and records of commands that were not selected.
    pub left_out: u64,
}

impl FilteredSinks {
    /// Puts a filter before sinks.
    pub fn new(sinks: Sinks, filter: Filter) -> Self {
        Self { sinks, filter, left_out: 0 }
    }

    /// Goes on with another selection; what is hidden stays hidden.
    pub fn select(&mut self, processes: Processes, selection: Selection) {
        (self.filter.processes, self.filter.selection) = (processes, selection);
    }

    /// The sinks behind the filter.
    pub fn sinks(&mut self) -> &mut Sinks {
        &mut self.sinks
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Gives a selected record to every sink, without secrets.
    pub fn write(&mut self, record: &Record<'_>) {
        if !self.filter.processes.contains(record.thread.process) {
            self.left_out += 1;
            return;
        }
        match (&self.filter.redaction, record.kind) {
            (Some(redaction), Kind::Message(_) | Kind::Data) => {
                let payload = redaction.apply(record.payload);
                self.sinks.write(&Record { payload: &payload, ..*record });
            }
            _ => self.sinks.write(record),
        }
    }

    /// Gives a TLS secret to every sink.
    pub fn write_secret(&mut self, secret: &Secret<'_>) {
        self.sinks.write_secret(secret);
    }

    /// Gives a packet to every sink.
    pub fn write_packet(&mut self, packet: &Packet<'_>) {
        self.sinks.write_packet(packet);
    }

    /// Gives plaintext to every sink, as it was: there is none where something is to be redacted.
    pub fn write_plaintext(&mut self, plaintext: &Plaintext<'_>) {
        self.sinks.write_plaintext(plaintext);
    }

    /// Gives a command to every sink, if its text is selected, without secrets. Answers whether it was.
    pub fn write_command(&mut self, command: &Command<'_>) -> bool {
        let process = command.thread.process;
        if !self.filter.processes.contains(process) || !self.filter.selection.finds(command.text) {
            self.left_out += 1;
            return false;
        }
        match &self.filter.redaction {
            None => self.sinks.write_command(command),
            Some(redaction) => {
                let hide = |bytes: &[u8]| redaction.apply(bytes).into_owned();
                let hidden = command.parameters.iter().map(|value| match value {
                    Parameter::Null => Parameter::Null,
                    Parameter::Text(text) => Parameter::Text(hide(text)),
                    Parameter::Binary(bytes) => Parameter::Binary(hide(bytes)),
                });
                let parameters: Vec<Parameter> = hidden.collect();
                let failure = match command.outcome {
                    Some(Outcome::Error(failure)) => {
                        Some(Failure { message: hide(&failure.message), ..failure.clone() })
                    }
                    _ => None,
                };
                let outcome = failure.as_ref().map(Outcome::Error).or(command.outcome);
                let text = redaction.apply(command.text);
                // A secret may go over several arguments: then they are shown as text only.
                let execution = command.execution.map(|execution| Execution {
                    path: hide(&execution.path),
                    arguments: if *text == *command.text { execution.arguments.clone() } else { Vec::new() },
                    ..execution.clone()
                });
                self.sinks.write_command(&Command {
                    text: &text,
                    execution: execution.as_ref(),
                    parameters: &parameters,
                    outcome,
                    ..*command
                });
            }
        }
        true
    }

    /// Makes everything that was written visible.
    pub fn flush(&mut self) {
        self.sinks.flush();
    }

    /// The sinks alone.
    pub fn into_sinks(self) -> Sinks {
        self.sinks
    }
}
