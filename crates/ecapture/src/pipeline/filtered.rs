//! The sinks behind the filter: nothing reaches them unredacted.

use crate::filter::Filter;
use crate::record::{Kind, Packet, Record, Secret};
use crate::sinks::Sinks;

/// All sinks of a run, and what is kept from them.
pub struct FilteredSinks {
    sinks: Sinks,
    filter: Filter,
    /// Messages, raw bytes of one call and gaps that were not selected.
    pub left_out: u64,
}

impl FilteredSinks {
    /// Puts a filter before sinks.
    pub fn new(sinks: Sinks, filter: Filter) -> Self {
        Self { sinks, filter, left_out: 0 }
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Gives a selected record to every sink, without secrets.
    pub fn write(&mut self, record: &Record<'_>) {
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

    /// Makes everything that was written visible.
    pub fn flush(&mut self) {
        self.sinks.flush();
    }

    /// The sinks alone.
    pub fn into_sinks(self) -> Sinks {
        self.sinks
    }
}
