//! `ecapture extcap`: the protocol by which Wireshark runs programs that capture for it, extcap(4).

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Parser;

use crate::bpf::Expression;
use crate::cli::{Cli, Extcap};
use crate::targets;

/// Before the name of each interface, so that it is not that of Wireshark's own.
const PREFIX: &str = "ecapture-";

/// Options that a capture has in Wireshark's dialog, with their type, their words and the tooltip.
const OPTIONS: [(&str, &str, &str, &str); 2] = [
    ("--pid", "unsigned", "Process id", "Only packets and keys of this process; 0: all"),
    ("--comm", "string", "Command name", "Only packets and keys of programs of this name"),
];

/// What Wireshark wants.
pub enum Answer {
    /// It was printed.
    Printed,
    /// A capture: the command line of it.
    Capture(Box<Cli>),
}

/// Answers a question of Wireshark.
///
/// # Errors
/// It can not be answered.
pub fn answer(asked: &Extcap) -> Result<Answer> {
    let mut out = io::stdout().lock();
    if asked.capture {
        return capture(asked).map(Answer::Capture);
    }
    if asked.extcap_interfaces {
        list(&mut out)?;
    } else if asked.extcap_dlts {
        writeln!(out, "dlt {{number=1}}{{name=EN10MB}}{{display=Ethernet}}")?;
    } else if asked.extcap_config {
        for (number, (call, kind, display, tooltip)) in OPTIONS.into_iter().enumerate() {
            writeln!(
                out,
                "arg {{number={number}}}{{call={call}}}{{display={display}}}{{type={kind}}}{{tooltip={tooltip}}}"
            )?;
        }
    } else if let Some(filter) = &asked.extcap_capture_filter
        && let Err(error) = Expression::new(filter)
    {
        writeln!(out, "{error:#}")?; // no output means that it is valid
    }
    Ok(Answer::Printed)
}

fn list(out: &mut impl Write) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "extcap {{version={version}}}{{display=ecapture}}")?;
    for name in targets::interface_names()?.iter().map(String::as_str).chain(["any"]) {
        let what = if name == "any" { "all interfaces" } else { name };
        writeln!(out, "interface {{value={PREFIX}{name}}}{{display={what}, decrypted (ecapture)}}")?;
    }
    Ok(())
}

/// The same capture as a user would ask for.
fn capture(asked: &Extcap) -> Result<Box<Cli>> {
    let interface =
        asked.extcap_interface.as_deref().context("--capture: --extcap-interface NAME is missing")?;
    let interface = interface.strip_prefix(PREFIX).unwrap_or(interface);
    let fifo = asked.fifo.as_deref().context("--capture: --fifo FILE is missing")?;
    let mut line: Vec<std::ffi::OsString> =
        ["ecapture", "tls", "-m", "pcapng", "-i", interface, "-w"].map(Into::into).into();
    line.push(fifo.into());
    line.extend(asked.extcap_capture_filter.as_deref().filter(|filter| !filter.is_empty()).map(Into::into));
    Ok(Box::new(Cli::try_parse_from(line)?))
}
