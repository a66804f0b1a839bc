//! Where rustls takes plaintext from a program, and where it has decrypted some.
//!
//! `PlaintextSink` is what all ways to write lead to. Everything received goes to `take_received_plaintext` as soon as it
//! is decrypted, however and whenever the program reads it. Both know a connection by its `CommonState`.

use std::collections::BTreeSet;

use crate::Why;
use crate::binary::Binary;
use crate::code::{Code, Decoder};
use crate::error::ElfError;
use crate::hook::{Arg, Call, Evidence, Hook, Purpose, ResultKind, Taken};
use crate::place::{Base, Place};
use crate::site::{self, function_code};
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};
use crate::symbols::Symbol;

use super::{Slots, all, names, only};

/// `(object, payload)`: what was decrypted.
const TAKE: &str = "11CommonState23take_received_plaintext";
/// `(object, bytes, …)`: what is to be encrypted.
const BUFFER: &str = "11CommonState16buffer_plaintext";
/// `(connection, buffer, length)`, by the scheme of the name.
const WRITE: [&str; 2] = ["PlaintextSink$GT$5write", "13PlaintextSink5write"];
/// `(connection, buffers, number)`.
const WRITE_VECTORED: [&str; 2] = ["PlaintextSink$GT$14write_vectored", "13PlaintextSink14write_vectored"];
/// What a connection ends with, by the scheme of the name: its state alone, or with all around it.
const DROPPED: [&str; 4] = [
    "rustls..common_state..CommonState$GT$17h",
    "rustls..conn..ConnectionCommon$LT$rustls..",
    "6rustls12common_state11CommonStateE",
    "6rustls4conn16ConnectionCommon",
];
/// Calls from a `write` to where bytes are encrypted.
const MOST_DEPTH: u8 = 2;
/// Most functions that one calls with the same first argument.
const MOST_INNER: usize = 16;

/// The hooks of both directions; in one alone they would be of no use to anyone who wants to read along.
pub(super) fn find(binary: &Binary<'_>, decoder: &mut Decoder) -> Result<Result<Vec<Hook>, Why>, ElfError> {
    let take = only(binary.functions_with(TAKE, names::is_of_rustls)?);
    let buffer = only(binary.functions_with(BUFFER, names::is_of_rustls)?);
    let mut writes = Vec::new();
    for (pieces, vectors) in [(WRITE, false), (WRITE_VECTORED, true)] {
        let found = all(binary, &pieces, names::is_of_rustls)?;
        writes.extend(found.into_iter().map(|symbol| (symbol, vectors)));
    }
    let dropped = all(binary, &DROPPED, names::is_drop)?;
    Ok(take.and_then(|take| {
        let buffer = buffer?;
        let mut hooks = vec![received(binary, decoder, &take)?];
        if writes.is_empty() {
            return Err("what programs write to is missing");
        }
        let slots = Slots::read(binary);
        for (symbol, vectors) in writes {
            hooks.push(sent(&slots, decoder, &symbol, vectors, buffer.address)?);
        }
        for symbol in dropped {
            hooks.push(hook(binary, decoder, &symbol, Purpose::Free)?);
        }
        Ok(hooks)
    }))
}

fn hook(binary: &Binary<'_>, decoder: &mut Decoder, symbol: &Symbol, purpose: Purpose) -> Result<Hook, Why> {
    let function = match purpose {
        Purpose::Taken(_) => "CommonState::take_received_plaintext",
        Purpose::WriteVectors(_) => "PlaintextSink::write_vectored",
        Purpose::Free => "drop_in_place",
        _ => "PlaintextSink::write",
    };
    let site = site::choose(binary, decoder, (symbol.address, symbol.size), &purpose.arguments())
        .ok_or("a function has no code")?;
    Ok(Hook { function, purpose, site, evidence: Evidence::Symbol(symbol.table) })
}

/// The hook of a `write` that passes its first argument on as the `CommonState`.
fn sent(
    slots: &Slots<'_, '_>,
    decoder: &mut Decoder,
    symbol: &Symbol,
    vectors: bool,
    buffer: u64,
) -> Result<Hook, Why> {
    let code = function_code(slots.binary, symbol.address, symbol.size);
    if !passes_object(slots, decoder, &code, buffer, MOST_DEPTH) {
        return Err("a connection does not begin with its state");
    }
    let call = Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result: ResultKind::Pair };
    let purpose = if vectors { Purpose::WriteVectors(call) } else { Purpose::Write(call) };
    hook(slots.binary, decoder, symbol, purpose)
}

/// Whether a function, or one that it calls with the same first argument, calls another with that argument, and never
/// with a different one.
fn passes_object(slots: &Slots<'_, '_>, decoder: &mut Decoder, code: &Code, wanted: u64, depth: u8) -> bool {
    let (mut same, mut other, mut inner) = (false, false, BTreeSet::new());
    let extent = code.start..code.start + code.bytes.len() as u64;
    {
        let mut explorer = Explorer::new(code, extent, decoder);
        let Some(state) = State::new(&mut explorer.pool) else { return false };
        let first = code.abi().args[0];
        let object = state.get(first);
        explorer.explore(code.start, state, |_, state, event| {
            let (Event::Call { target, .. } | Event::Leave { target, conditional: false, .. }) = event else {
                return Next::Go;
            };
            let is_object = state.get(first) == object;
            match slots.reached(target) {
                Some(address) if address == wanted => {
                    same |= is_object;
                    other |= !is_object;
                }
                Some(address) if is_object => {
                    inner.insert(address);
                }
                _ => {}
            }
            Next::Go
        });
    }
    if same || other || depth == 0 {
        return same && !other;
    }
    inner.into_iter().take(MOST_INNER).any(|address| {
        let code = function_code(slots.binary, address, 0);
        passes_object(slots, decoder, &code, wanted, depth - 1)
    })
}

/// The hook of the function that gets what was decrypted: borrowed bytes it copies, and of a vector that is empty it
/// frees the memory. Both show where the address is.
fn received(binary: &Binary<'_>, decoder: &mut Decoder, symbol: &Symbol) -> Result<Hook, Why> {
    let code = function_code(binary, symbol.address, symbol.size);
    let extent = code.start..code.start + code.bytes.len() as u64;
    let mut explorer = Explorer::new(&code, extent, decoder);
    let state = State::new(&mut explorer.pool).ok_or(UNCLEAR)?;
    let args = code.abi().args;
    let payload = state.get(args[1]);
    let word = |pool: &Pool, value: Id| {
        pool.path(payload, value).filter(|way| way.loads().len() == 1 && way.add() == 0)
    };
    let (mut copied, mut freed) = (BTreeSet::new(), BTreeSet::new());
    explorer.explore(code.start, state, |pool, state, event| {
        if matches!(event, Event::Call { .. } | Event::Leave { .. }) {
            let [first, second, third] = [args[0], args[1], args[2]].map(|register| state.get(register));
            // (to, from, size)
            copied.extend(word(pool, second).zip(word(pool, third)));
            // (address, size, alignment)
            let is_free = pool.as_constant(third) == Some(1) && word(pool, second).is_some();
            freed.extend(word(pool, first).filter(|_| is_free));
        }
        Next::Go
    });
    let (Some((buffer, length)), Some(owned)) = (copied.pop_first(), freed.pop_first()) else {
        return Err(UNCLEAR);
    };
    if !copied.is_empty() || !freed.is_empty() || owned != buffer {
        return Err(UNCLEAR);
    }
    let place = |path| Place { base: Base::Arg(Arg(2)), path };
    let taken = Taken { object: Arg(1), buffer: place(buffer), length: place(length) };
    hook(binary, decoder, symbol, Purpose::Taken(taken))
}

const UNCLEAR: Why = "where take_received_plaintext has its bytes does not show";
