//! Shells and servers: hooks on functions that the file names.

use inspect::Binary;

use super::report::{Function, Library, cost};
use crate::bpf::{Hook, Place};
use crate::probes::{self, Found, Point};

/// What a file has of them, and why that of others can not be used.
pub fn of(binary: &Binary<'_>) -> (Vec<Library>, Vec<String>) {
    let findings = probes::commands(binary);
    (findings.found.iter().map(|found| library(binary, found)).collect(), findings.refused)
}

fn library(binary: &Binary<'_>, found: &Found) -> Library {
    Library {
        name: found.description.split(';').next().unwrap_or_default().to_owned(),
        version: None,
        needs: None,
        functions: found.hooks.iter().filter_map(|hook| function(binary, hook)).collect(),
        offsets: Vec::new(),
        notes: found.notes.clone(),
    }
}

fn function(binary: &Binary<'_>, hook: &Hook) -> Option<Function> {
    let (when, text) = match &hook.place {
        Place::Text(text) => ("called", text),
        Place::TextAfter(text) => ("it returns", text),
        _ => return None,
    };
    let about = Point::from_number(text.point).filter(|_| !text.silent).map(Point::about);
    Some(Function {
        name: hook.function.clone(),
        address: hook.address,
        does: format!("when {when}: {}", about.unwrap_or("keeps values for the others")),
        confidence: "certain",
        evidence: "symbol".to_owned(),
        probe_offset: hook.offset,
        probe_skip: (hook.site - hook.address) as u32,
        probe_returns: Vec::new(),
        cost: cost(binary.cost_at(hook.site)?),
    })
}
