//! Where records go: one file for each format. A sink reads records and knows nothing else.

mod command_json;
mod command_text;
mod direct;
mod hexdump;
mod json;
mod keylog;
mod output;
mod pcapng;
mod text;

use std::io;

use crate::record::{Command, Packet, Plaintext, Record, Secret, Traffic};
pub use json::Json;
pub use keylog::KeyLog;
pub use output::{Address, Batch, Delivery, FileRotation, Output, Policy, Running};
pub use pcapng::{Comments, PcapTarget, Pcapng, Rotation};
pub use text::{Style, Text};

/// A destination of records.
pub trait Sink: Send {
    /// Takes one record.
    fn write(&mut self, record: &Record<'_>) -> io::Result<()>;

    /// Takes a TLS secret; formats for people and programs that want plaintext leave it out.
    fn write_secret(&mut self, _secret: &Secret<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Takes a packet; only captures of packets want it.
    fn write_packet(&mut self, _packet: &Packet<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Takes plaintext as it was; formats for people have it as records.
    fn write_plaintext(&mut self, _plaintext: &Plaintext<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Takes a command; formats for TLS leave it out.
    fn write_command(&mut self, _command: &Command<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Makes what was written visible.
    fn flush(&mut self) -> io::Result<()>;

    /// Ends the output, after the last record. `traffic` tells what was counted of an interface, by its index.
    fn finish(&mut self, _traffic: &dyn Fn(u32) -> Traffic) -> io::Result<()> {
        Ok(())
    }

    /// Waits until everything has arrived. Tells what became of the records, where there is a queue between.
    fn drain(&mut self) -> (Option<Delivery>, io::Result<()>) {
        (None, self.flush())
    }

    /// What became of the records so far, where there is a queue between.
    fn delivery(&self) -> Option<Delivery> {
        None
    }

    /// Shows payloads in another way; only text can.
    fn set_shown(&mut self, _hex: bool, _limit: Option<u64>) {}

    /// Name for messages.
    fn name(&self) -> &str;
}

/// Every sink of a run. The first that fails ends the run.
pub struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    failure: Option<Failure>,
    on_failure: Box<dyn Fn() + Send>,
}

/// Why a sink could take no more.
#[derive(Debug)]
pub struct Failure {
    /// Name of the sink.
    pub sink: String,
    /// What went wrong.
    pub error: io::Error,
}

impl Sinks {
    /// `on_failure` is called once, when a sink fails for the first time.
    pub fn new(sinks: Vec<Box<dyn Sink>>, on_failure: impl Fn() + Send + 'static) -> Self {
        Self { sinks, failure: None, on_failure: Box::new(on_failure) }
    }

    /// Gives a record to every sink.
    pub fn write(&mut self, record: &Record<'_>) {
        self.each(|sink| sink.write(record));
    }

    /// Gives a secret to every sink.
    pub fn write_secret(&mut self, secret: &Secret<'_>) {
        self.each(|sink| sink.write_secret(secret));
    }

    /// Gives a packet to every sink.
    pub fn write_packet(&mut self, packet: &Packet<'_>) {
        self.each(|sink| sink.write_packet(packet));
    }

    /// Gives plaintext to every sink.
    pub fn write_plaintext(&mut self, plaintext: &Plaintext<'_>) {
        self.each(|sink| sink.write_plaintext(plaintext));
    }

    /// Gives a command to every sink.
    pub fn write_command(&mut self, command: &Command<'_>) {
        self.each(|sink| sink.write_command(command));
    }

    /// Ends every output.
    pub fn finish(&mut self, traffic: &dyn Fn(u32) -> Traffic) {
        self.each(|sink| sink.finish(traffic));
    }

    /// Makes everything that was written visible.
    pub fn flush(&mut self) {
        self.each(|sink| sink.flush());
    }

    /// Waits until every sink has written everything. Tells what became of the records of each, and why one
    /// failed, if one did.
    pub fn drain(mut self) -> (Vec<(String, Delivery)>, Option<Failure>) {
        let mut deliveries = Vec::new();
        for sink in &mut self.sinks {
            let (delivery, result) = sink.drain();
            deliveries.extend(delivery.map(|delivery| (sink.name().to_owned(), delivery)));
            if let Err(error) = result {
                self.failure.get_or_insert(Failure { sink: sink.name().to_owned(), error });
            }
        }
        (deliveries, self.failure)
    }

    /// What became of the records of each so far.
    pub fn deliveries(&self) -> impl Iterator<Item = (&str, Delivery)> {
        self.sinks.iter().filter_map(|sink| Some((sink.name(), sink.delivery()?)))
    }

    /// Shows payloads in another way, where a sink can.
    pub fn set_shown(&mut self, hex: bool, limit: Option<u64>) {
        self.sinks.iter_mut().for_each(|sink| sink.set_shown(hex, limit));
    }

    /// Puts a sink in the place of the last one of a name, or adds it; answers the one that was there.
    pub fn exchange(&mut self, old: Option<&str>, new: Option<Box<dyn Sink>>) -> Option<Box<dyn Sink>> {
        let place = old.and_then(|old| self.sinks.iter().rposition(|sink| sink.name() == old));
        let gone = place.map(|place| self.sinks.remove(place));
        self.sinks.extend(new);
        gone
    }

    fn each(&mut self, mut run: impl FnMut(&mut dyn Sink) -> io::Result<()>) {
        if self.failure.is_some() {
            return;
        }
        for sink in &mut self.sinks {
            if let Err(error) = run(sink.as_mut()) {
                self.failure = Some(Failure { sink: sink.name().to_owned(), error });
                (self.on_failure)();
                return;
            }
        }
    }
}
