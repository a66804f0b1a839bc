//! Code that uses the names of secrets in an NSS key log, and what it calls with them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::Why;
use crate::binary::Binary;
use crate::code::{Code, Decoder, Flow, Insn, reached};
use crate::constants::search;
use crate::error::ElfError;
use crate::functions::Functions;
use crate::references::{Reference, Use, Wanted, references};
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};

/// Of TLS 1.2 and earlier.
pub(crate) const CLIENT_RANDOM: &str = "CLIENT_RANDOM";
/// The one that stays with the connection.
pub(crate) const EXPORTER: &str = "EXPORTER_SECRET";

/// Only openssl.org's has it.
pub(crate) const EARLY_EXPORTER: &str = "EARLY_EXPORTER_SECRET";

/// All names, of which a linker may merge one with the end of another.
pub(crate) const LABELS: [&str; 8] = [
    CLIENT_RANDOM,
    EXPORTER,
    EARLY_EXPORTER,
    "CLIENT_EARLY_TRAFFIC_SECRET",
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
];

/// Names by address.
pub(crate) type Places = BTreeMap<u64, &'static str>;

/// Most references to labels; the most met are 24.
const MOST_REFERENCES: usize = 48;
/// Most instructions before a reference that are executed to know what the registers hold there.
const WINDOW: usize = 48;

/// A call that gets a label.
pub(crate) struct Site {
    pub(crate) label: &'static str,
    /// Address of the call.
    pub(crate) call: u64,
    /// What the registers for arguments hold.
    pub(crate) arguments: Vec<Id>,
    pub(crate) pool: Rc<Pool>,
}

/// The function that all labels are given to.
pub(crate) struct Receiver {
    pub(crate) address: u64,
    /// Which argument is the label, from 0.
    pub(crate) position: usize,
    pub(crate) sites: Vec<Site>,
}

/// A function and the position of the label among its arguments.
type Callee = (u64, usize);

/// Where these names are, and the code that loads them.
pub(crate) fn find(
    binary: &Binary<'_>,
    names: &[&'static str],
) -> Result<Result<(Places, Vec<Reference>), Why>, ElfError> {
    let mut places = Places::new();
    let texts: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
    let all_seen = search(binary, &texts, |address, _, which| {
        places.insert(address, names[which]);
    })?;
    if !all_seen {
        return Ok(Err("the names of secrets are in too many places"));
    }
    let wanted: Wanted = places.keys().map(|&at| at..at.saturating_add(1)).collect();
    let wanted = wanted.with_slots(binary);
    let Some(mut loads) = references(binary, &wanted)? else { return Ok(Err("too much code")) };
    loads.retain(|found| found.used == Use::Load);
    Ok(Ok((places, loads)))
}

/// The function that every load of a label leads to with the label in the same place; `None` if there are no loads.
pub(crate) fn receiver(
    binary: &Binary<'_>,
    functions: &Functions<'_, '_>,
    decoder: &mut Decoder,
    places: &Places,
    loads: &[Reference],
) -> Result<Option<Receiver>, Why> {
    let loads: Vec<_> = loads.iter().filter(|load| places.contains_key(&load.to)).collect();
    if loads.len() > MOST_REFERENCES {
        return Err("the names of secrets are used too often");
    }
    let mut sites: BTreeMap<Callee, Vec<Site>> = BTreeMap::new();
    let mut common: Option<BTreeSet<Callee>> = None;
    for reference in loads {
        let Some(&label) = places.get(&reference.to) else { continue };
        let found = calls_with(binary, functions, decoder, reference);
        if found.is_empty() {
            continue;
        }
        let callees: BTreeSet<_> = found.iter().map(|found| found.callee).collect();
        common = Some(common.map_or(callees.clone(), |common| &common & &callees));
        for Found { callee, call, arguments, pool } in found {
            sites.entry(callee).or_default().push(Site { label, call, arguments, pool });
        }
    }
    only(common, sites)
}

fn only(
    common: Option<BTreeSet<Callee>>,
    mut sites: BTreeMap<Callee, Vec<Site>>,
) -> Result<Option<Receiver>, Why> {
    let Some(common) = common else { return Ok(None) };
    let mut common = common.into_iter();
    let Some(callee) = common.next() else { return Err("the names of secrets go to different functions") };
    if common.next().is_some() {
        return Err("the names of secrets go to more than one function");
    }
    let sites = sites.remove(&callee).unwrap_or_default();
    if sites.iter().all(|site| site.label == sites[0].label) {
        return Err("only one name of a secret is used");
    }
    Ok(Some(Receiver { address: callee.0, position: callee.1, sites }))
}

struct Found {
    callee: Callee,
    call: u64,
    arguments: Vec<Id>,
    pool: Rc<Pool>,
}

/// The first calls of functions of this file, on all paths from the reference on, that get the label.
fn calls_with(
    binary: &Binary<'_>,
    functions: &Functions<'_, '_>,
    decoder: &mut Decoder,
    reference: &Reference,
) -> Vec<Found> {
    let Some(extent) = functions.around(reference.at) else { return Vec::new() };
    let code = function_code(binary, extent.start, extent.end.saturating_sub(extent.start));
    let Some((before, insn)) = window(&code, decoder, reference.at) else { return Vec::new() };
    let mut explorer = Explorer::new(&code, extent, decoder);
    let mut found = BTreeSet::new();
    let Some(label) = explorer.pool.constant(reference.to) else { return Vec::new() };
    let Some(mut state) = state_at(&mut explorer, &before, insn) else { return Vec::new() };
    // The register gets its value here, also if what the address is put together from was not seen.
    if let Some(to) = insn.1.effects.iter().find_map(|effect| effect.result()) {
        state.set(to, label);
    }
    let next = insn.0 + u64::from(insn.1.len);
    explorer.explore(next, state, |_, state, event| {
        let (at, target) = match event {
            Event::Call { at, target } | Event::Leave { at, target, conditional: false } => (at, target),
            _ => return Next::Go,
        };
        let arguments: Vec<_> = code.abi().args.iter().map(|&register| state.get(register)).collect();
        let position = arguments.iter().position(|argument| *argument == label);
        // The first such call may be one that gets it by chance, in a register that is no argument of it.
        if let Some((position, callee)) =
            position.and_then(|position| Some((position, reached(binary, target)?)))
        {
            found.insert(((callee, position), at, arguments));
        }
        if state.keeps(label, code.abi().clobbered) { Next::Go } else { Next::End }
    });
    let pool = Rc::new(std::mem::take(&mut explorer.pool));
    let found = found.into_iter();
    found.map(|(callee, call, arguments)| Found { callee, call, arguments, pool: Rc::clone(&pool) }).collect()
}

/// What is known behind an instruction: on a way from the start of the function or, if none is found, from what is
/// before it.
fn state_at(explorer: &mut Explorer<'_, '_>, before: &[Placed], insn: Placed) -> Option<State> {
    let mut state = match explorer.arrive(insn.0, |_, _, _| Next::Go) {
        Some(state) => state,
        None => {
            let mut state = State::new(&mut explorer.pool)?;
            explorer.sweep(before, &mut state)?;
            state
        }
    };
    explorer.sweep(&[insn], &mut state)?;
    Some(state)
}

type Placed = (u64, Insn);

/// The straight way to the instruction at `at` (or that has it inside), and that instruction.
fn window(code: &Code, decoder: &mut Decoder, at: u64) -> Option<(Vec<Placed>, Placed)> {
    let (mut before, mut next) = (Vec::new(), code.start);
    while next <= at {
        let insn = code.decode(decoder, next)?;
        let end = next + u64::from(insn.len);
        if end > at {
            let from = before.len().saturating_sub(WINDOW);
            return Some((before.split_off(from), (next, insn)));
        }
        match insn.flow {
            Flow::Jump(_) | Flow::Return | Flow::Stop => before.clear(),
            _ => before.push((next, insn)),
        }
        next = end;
    }
    None
}
