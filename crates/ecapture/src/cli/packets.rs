//! What is said of packets, checked.

use std::time::Duration;

use anyhow::{Result, bail};

use super::args::{Capture, Model, Output, PacketComments, Unowned};
use crate::bpf::{Expression, PacketChoice, Scope};
use crate::sinks::{Comments, PcapTarget, Rotation};
use crate::targets::Selection;

/// A capture of packets.
#[derive(Debug)]
pub struct PacketConfig {
    /// Which interfaces.
    pub interfaces: Selection,
    /// Which packets.
    pub choice: PacketChoice,
    /// Where they go.
    pub target: PcapTarget,
    /// Which of them name their process.
    pub comments: Comments,
    /// Whether plaintext is added.
    pub with_plaintext: bool,
}

impl PacketConfig {
    /// Checks the arguments; `None` when packets are not captured.
    ///
    /// # Errors
    /// A value that can not work.
    pub fn new(capture: &Capture, output: &Output, scope: &Scope) -> Result<Option<Self>> {
        let filter = capture.filter.join(" ");
        if !capture.model.contains(&Model::Pcapng) {
            if !filter.is_empty() {
                tracing::warn!(
                    "the filter expression \"{filter}\" is ignored: only -m pcapng captures packets"
                );
            }
            if capture.with_plaintext {
                bail!("--with-plaintext: only -m pcapng writes a file that it could be in");
            }
            return Ok(None);
        }
        let choice = PacketChoice {
            snaplen: capture.snaplen,
            unowned: match capture.unowned {
                Some(unowned) => unowned == Unowned::Keep,
                None => !scope.is_restricted(),
            },
            filter: if filter.is_empty() { None } else { Some(Expression::new(&filter)?) },
        };
        let interfaces = match capture.ifname.as_slice() {
            [] => Selection::Default,
            names if names.iter().any(|name| name == "any") => Selection::Any,
            names => Selection::Named(names.to_vec()),
        };
        let comments = match capture.packet_comments {
            PacketComments::Once => Comments::Once,
            PacketComments::Each => Comments::Each,
        };
        let (target, with_plaintext) = (target(capture, output)?, capture.with_plaintext);
        Ok(Some(Self { interfaces, choice, target, comments, with_plaintext }))
    }
}

fn target(capture: &Capture, output: &Output) -> Result<PcapTarget> {
    let rotation = Rotation {
        size: output.rotate_size().map(|size| size << 20),
        time: output.rotate_time().map(Duration::from_secs),
        count: output.rotate_count.map(|count| count as usize),
    };
    if rotation.count.is_some() && !rotation.is_on() {
        bail!("--rotate-count: say when a new file begins, with --rotate-size or --rotate-time");
    }
    if capture.pcapfile.as_os_str() != "-" {
        return Ok(PcapTarget::File(capture.pcapfile.clone(), rotation));
    }
    if rotation.is_on() {
        bail!("-w -: standard output can not be rotated; give a file");
    }
    Ok(PcapTarget::Stdout)
}
