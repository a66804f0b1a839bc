//! Where rustls has its secrets, whether or not the program wants a key log.
//!
//! `KeySchedule::derive_logged_secret` computes each secret of TLS 1.3, then asks `KeyLog::will_log` and only for a yes
//! calls `KeyLog::log` with it. Behind the question all arguments of the second call are at hand. The master secret of
//! TLS 1.2 goes to `KeyLog::log` without a question.

use std::collections::BTreeSet;

use crate::Why;
use crate::binary::Binary;
use crate::code::{Code, Decoder, Flow, Reg, reached};
use crate::error::ElfError;
use crate::hook::{Cost, Evidence, Hook, Purpose, Site};
use crate::place::{Base, Label, Place, Secret};
use crate::site::{self, function_code};
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};
use crate::symbols::Symbol;

use super::{all, names, only};

/// The function that computes secrets of TLS 1.3.
pub(super) const DERIVE: &str = "11KeySchedule20derive_logged_secret";
/// `log` of all types that are a `KeyLog`, by the scheme of the name.
const LOGS: [&str; 2] = ["rustls..key_log..KeyLog$GT$3log", "6KeyLog3log"];
/// Bytes of a client random.
const RANDOM_LEN: u64 = 32;
/// Most calls of the function that computes secrets; the most met are 6.
const MOST_CALLS: usize = 64;
/// Arguments of `log`: the object, label, client random and secret, of two words each.
const ARGUMENTS: usize = 7;

/// The hooks there.
pub(super) fn find(binary: &Binary<'_>, decoder: &mut Decoder) -> Result<Result<Vec<Hook>, Why>, ElfError> {
    let derive = binary.functions_with(DERIVE, names::is_of_rustls)?;
    let derived = only(derive).and_then(|symbol| behind_the_question(binary, decoder, &symbol));
    let mut hooks = match derived {
        Ok(hook) => vec![hook],
        Err(why) => return Ok(Err(why)),
    };
    let logs = all(binary, &LOGS, names::is_of_rustls)?;
    hooks.extend(logs.iter().filter_map(|symbol| log(binary, decoder, symbol)));
    Ok(Ok(hooks))
}

/// `log` itself.
fn log(binary: &Binary<'_>, decoder: &mut Decoder, symbol: &Symbol) -> Option<Hook> {
    let purpose = Purpose::Secret(Secret {
        object: None,
        label: Label::Sized(Place::arg(2), Place::arg(3)),
        client_random: Place::arg(4),
        secret: Place::arg(6),
        length: Place::arg(7),
    });
    let site = site::choose(binary, decoder, (symbol.address, symbol.size), &purpose.arguments())?;
    Some(Hook { function: "KeyLog::log", purpose, site, evidence: Evidence::Symbol(symbol.table) })
}

/// The instruction behind the one call from which all ways lead to `log` next, or to no call of that kind.
fn behind_the_question(binary: &Binary<'_>, decoder: &mut Decoder, symbol: &Symbol) -> Result<Hook, Why> {
    let code = function_code(binary, symbol.address, symbol.size);
    let (mut found, mut calls) = (Vec::new(), 0);
    let mut at = code.start;
    while code.contains(at) && calls < MOST_CALLS {
        let Some(insn) = code.decode(decoder, at) else { break };
        at += u64::from(insn.len);
        calls += usize::from(matches!(insn.flow, Flow::Call(_)));
        if let Flow::Call(target) = insn.flow
            && reached(binary, target).is_none()
            && let Some(secret) = next_log(binary, &code, decoder, at)
        {
            found.push((at, secret));
        }
    }
    let Ok([(at, secret)]) = <[_; 1]>::try_from(found) else {
        return Err("where derive_logged_secret has its secret does not show");
    };
    let file_offset = binary.file_offset(at).ok_or("derive_logged_secret is not in the file")?;
    let skip = (at - code.start) as u32;
    let site = Site { address: symbol.address, file_offset, skip, cost: Cost::Stepped };
    let (purpose, evidence) = (Purpose::Secret(secret), Evidence::Symbol(symbol.table));
    Ok(Hook { function: "KeySchedule::derive_logged_secret", purpose, site, evidence })
}

/// What the calls of `log` get that are the first ones from an instruction on, by what the registers hold there. `None` if
/// there is none, or they differ.
fn next_log(binary: &Binary<'_>, code: &Code, decoder: &mut Decoder, start: u64) -> Option<Secret> {
    let extent = code.start..code.start + code.bytes.len() as u64;
    let mut explorer = Explorer::new(code, extent, decoder);
    let state = State::new(&mut explorer.pool)?;
    let begin = state.clone();
    let mut found = BTreeSet::new();
    let complete = explorer.explore(start, state, |pool, state, event| {
        let (Event::Call { target, .. } | Event::Leave { target, conditional: false, .. }) = event else {
            return Next::Go;
        };
        if reached(binary, target).is_none()
            && let Some(arguments) = arguments(pool, state, code)
            && pool.as_constant(arguments[4]) == Some(RANDOM_LEN)
        {
            found.insert(arguments);
        }
        Next::End
    });
    let arguments = found.pop_first().filter(|_| complete && found.is_empty())?;
    let place = |which: usize| place(&explorer.pool, &begin, arguments[which]);
    // What the code has as a constant address is another one once it is loaded.
    let address = |which: usize| place(which).filter(|place| !matches!(place.base, Base::Constant(_)));
    let [label, client_random, secret] = [1, 3, 5].map(address);
    let [size, length] = [2, 6].map(place);
    Some(Secret {
        object: None,
        label: Label::Sized(label?, size?),
        client_random: client_random?,
        secret: secret?,
        length: length?,
    })
}

/// All words that are passed: those that find no register are on the stack.
fn arguments(pool: &mut Pool, state: &State, code: &Code) -> Option<[Id; ARGUMENTS]> {
    let abi = code.abi();
    let mut all = [state.get(abi.args[0]); ARGUMENTS];
    for (number, argument) in all.iter_mut().enumerate() {
        *argument = match abi.args.get(number) {
            Some(&register) => state.get(register),
            None => {
                let above = 8 * (number - abi.args.len()) as i64;
                let address = pool.plus(state.get(abi.stack), above)?;
                state.load(pool, address, 8)?
            }
        };
    }
    Some(all)
}

/// A register from which a value is found.
fn place(pool: &Pool, begin: &State, value: Id) -> Option<Place> {
    if let Some(number) = pool.as_constant(value) {
        return u32::try_from(number).ok().map(Place::constant);
    }
    let registers = 0..32 as Reg;
    registers.into_iter().find_map(|register| {
        let path = pool.path(begin.get(register), value)?;
        Some(Place { base: Base::Register(register), path })
    })
}
