//! zsh, which exports most of its functions to its modules.

use inspect::Binary;

use super::named::Named;
use super::{Point, Verdict};
use crate::bpf::{Field, FieldKind, Start, TextHook, Values};

const FUNCTIONS: [&str; 4] = ["callhookfunc", "execode", "preprompt", "zexit"];

/// The hooks of a shell.
pub fn hooks(binary: &Binary<'_>) -> Verdict {
    let mut named = match Named::new(binary, &FUNCTIONS, &["lastval"]) {
        Ok(named) => named,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    let Some(status) = named.variable("lastval", FieldKind::U32) else { return Verdict::Nothing };
    if FUNCTIONS.iter().any(|name| !named.has(name)) {
        return Verdict::Nothing;
    }
    let told = |point: Point, fields| TextHook::new(point as u32, fields);
    let text = |number| Field::new(Start::Argument(number), FieldKind::Text);
    // callhookfunc(name, list, …): the list's first entry, the next one, its data
    let hook = vec![text(1), text(2).over(&[0, 0, 16], 0)];
    named.at("callhookfunc", told(Point::ZshHook, hook).only_if(1, Values::NOT_ZERO));
    named.at("execode", told(Point::ZshRun, vec![text(4)]));
    named.at("preprompt", told(Point::ZshPrompt, vec![status]));
    named.at("zexit", told(Point::ZshExit, vec![Field::value(Start::Argument(1))]));
    Verdict::Hooks(named.found("zsh"))
}
