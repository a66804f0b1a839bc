//! The status of a run, as JSON and as metrics of Prometheus.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::control::Control;
use crate::status::{Delivered, Target};

/// `GET /status`.
#[derive(Serialize)]
pub struct Report {
    version: &'static str,
    module: &'static str,
    uptime_seconds: f64,
    targets: Vec<Target>,
    /// What was counted.
    counts: Map<String, Value>,
    /// The same for each second of the last one.
    rates: Map<String, Value>,
    /// What the kernel part could not hand over, by reason.
    losses: Map<String, Value>,
    outputs: Vec<Delivered>,
    server: Map<String, Value>,
}

/// The status as an object.
pub fn status(control: &Control) -> Report {
    let status = control.handles.board.status();
    let number = |(name, value): (&'static str, u64)| (name.to_owned(), Value::from(value));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        module: control.handles.module.name(),
        uptime_seconds: control.handles.board.age().as_secs_f64(),
        targets: status.targets,
        counts: status.figures.iter().map(|figure| number((figure.name, figure.value))).collect(),
        rates: status.rates.into_iter().map(|(name, rate)| (name.to_owned(), rate.into())).collect(),
        losses: status
            .losses
            .iter()
            .map(|loss| (loss.reason.to_owned(), json!({ "events": loss.events, "bytes": loss.bytes })))
            .collect(),
        outputs: status.outputs,
        server: counts(control).into_iter().map(|(name, _, value, _)| number((name, value))).collect(),
    }
}

/// Of the server itself: name, meaning, value, whether it may become less.
fn counts(control: &Control) -> [(&'static str, &'static str, u64, bool); 4] {
    let counts = &control.counts;
    let (clients, dropped) = counts.clients(&control.lines);
    [
        ("clients", "Clients of the event streams.", clients, true),
        ("clients_dropped", "Clients that were dropped because they were too slow.", dropped, false),
        ("requests_refused", "Requests without permission, or too many of them.", counts.refused(), false),
        ("hooked_files", "Files with probes.", control.handles.board.status().targets.len() as u64, true),
    ]
}

/// `GET /metrics`: the text format of Prometheus, version 0.0.4.
pub fn metrics(control: &Control) -> String {
    let status = control.handles.board.status();
    let mut text = String::new();
    let own = counts(control);
    let figures = status.figures.iter().map(|it| (it.name, it.help, it.value, it.is_level));
    for (name, help, value, is_level) in figures.chain(own) {
        let (suffix, kind) = if is_level { ("", "gauge") } else { ("_total", "counter") };
        family(&mut text, &format!("{name}{suffix}"), help, kind, [(String::new(), value)]);
    }
    let losses = |value: fn(&crate::status::Loss) -> u64| {
        status.losses.iter().map(move |loss| (format!("{{reason=\"{}\"}}", loss.reason), value(loss)))
    };
    family(
        &mut text,
        "lost_events_total",
        "Events of the kernel part that are missing.",
        "counter",
        losses(|it| it.events),
    );
    family(
        &mut text,
        "lost_bytes_total",
        "Their bytes, where these are known.",
        "counter",
        losses(|it| it.bytes),
    );
    let outputs = |value: fn(&Delivered) -> u64| {
        status.outputs.iter().map(move |it| (format!("{{output=\"{}\"}}", label(&it.name)), value(it)))
    };
    family(
        &mut text,
        "output_records_total",
        "Records that were written.",
        "counter",
        outputs(|it| it.written),
    );
    family(
        &mut text,
        "output_dropped_total",
        "Records that were dropped.",
        "counter",
        outputs(|it| it.dropped),
    );
    let age = control.handles.board.age().as_secs();
    family(&mut text, "uptime_seconds", "How long the run goes on.", "gauge", [(String::new(), age)]);
    text
}

fn family(
    text: &mut String,
    name: &str,
    help: &str,
    kind: &str,
    values: impl IntoIterator<Item = (String, u64)>,
) {
    // A string takes everything.
    let _ = write!(text, "# HELP ecapture_{name} {help}\n# TYPE ecapture_{name} {kind}\n");
    for (labels, value) in values {
        let _ = writeln!(text, "ecapture_{name}{labels} {value}");
    }
}

/// A value of a label, as the format wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
