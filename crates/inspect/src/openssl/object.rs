//! Where a connection object has its keys, by the small functions that give them to programs.

use std::collections::BTreeSet;

use super::internal::Why;
use super::secret::{Roles, loaded, way};
use crate::binary::Binary;
use crate::code::{Decoder, Reg};
use crate::labels::{EXPORTER, Receiver};
use crate::place::Path;
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};
use crate::symbols::Symbols;

/// `(object, out, length)` copies the client random.
pub(super) const CLIENT_RANDOM: &str = "SSL_get_client_random";
/// `(object)` returns the session.
const SESSION: &str = "SSL_get_session";
/// `(session, out, length)` copies the master secret; without room it returns its length.
const MASTER_KEY: &str = "SSL_SESSION_get_master_key";

/// All of them.
pub(super) const ACCESSORS: [&str; 3] = [CLIENT_RANDOM, SESSION, MASTER_KEY];

/// The way to the client random; `None` if the file does not define that function.
pub(super) fn client_random(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Option<Result<Path, Why>> {
    first_certain(|tls| accessor(binary, symbols, decoder, CLIENT_RANDOM, tls, copied)).and_then(single)
}

/// Where the secret is stored that stays with the connection in TLS 1.3.
pub(super) fn exporter(receiver: &Receiver, roles: &Roles) -> Result<Path, Why> {
    let sites = receiver.sites.iter().filter(|site| site.label == EXPORTER);
    let ways: Option<BTreeSet<Path>> = sites.map(|site| way(site, roles.object, roles.secret)).collect();
    only(ways.into_iter().flatten())
}

/// The ways to the session, which end with a load; `None` if the file does not define the function that gives it.
pub(super) fn sessions(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Option<Result<Vec<Path>, Why>> {
    let ways = first_certain(|tls| accessor(binary, symbols, decoder, SESSION, tls, returned))?;
    Some(ways).filter(|ways| ways.as_ref().map_or(true, |ways| !ways.is_empty()))
}

/// Where a session has the master secret: distances from its start.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Field {
    pub(super) secret: i32,
    pub(super) length: i32,
    /// Bytes of the length.
    pub(super) width: u8,
}

/// By the function that gives it; `None` if the file does not define that.
pub(super) fn in_session(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Option<Result<Field, Why>> {
    let secret = accessor(binary, symbols, decoder, MASTER_KEY, false, copied_field).and_then(single)?;
    let length = accessor(binary, symbols, decoder, MASTER_KEY, false, returned_length).and_then(single)?;
    let field = |secret| length.map(|(length, width)| Field { secret, length, width });
    Some(secret.and_then(field))
}

/// The only one.
pub(super) fn only<T>(mut all: impl Iterator<Item = T>) -> Result<T, Why> {
    let first = all.next().ok_or("its code does not show it")?;
    if all.next().is_some() { Err("its code shows several places") } else { Ok(first) }
}

/// The only answer; `None` if there is none.
fn single<T>(answers: Result<Vec<T>, Why>) -> Option<Result<T, Why>> {
    match answers {
        Ok(answers) if answers.is_empty() => None,
        answers => Some(answers.and_then(|answers| only(answers.into_iter()))),
    }
}

/// Since OpenSSL 3.2 an object may be one of QUIC, which has the TLS object inside: if there are several answers, the
/// one that holds where the type, the first field, is 0 (TLS).
fn first_certain<T: Clone>(
    mut ask: impl FnMut(bool) -> Option<Result<Vec<T>, Why>>,
) -> Option<Result<Vec<T>, Why>> {
    match ask(false)? {
        Ok(answers) if answers.len() == 1 => Some(Ok(answers)),
        _ => ask(true),
    }
}

/// What `answer` says of what is met in a function, all different answers; `None` if it is not defined here.
fn accessor<T: PartialEq>(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
    name: &str,
    tls: bool,
    answer: fn(&mut Pool, &State, Event, &Arguments) -> Option<T>,
) -> Option<Result<Vec<T>, Why>> {
    let mut answers = Vec::new();
    let complete = explore(binary, symbols, decoder, name, tls, |pool, state, event, own| {
        if let Some(answer) = answer(pool, state, event, own)
            && !answers.contains(&answer)
        {
            answers.push(answer);
        }
        Next::Go
    })?;
    Some(if complete { Ok(answers) } else { Err("its code is too large") })
}

/// Calls `meet` for what is met in a function; whether all of it was seen, `None` if it is not defined here.
/// `tls`: the first field of the object, its type since OpenSSL 3.2, is 0.
fn explore(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
    name: &str,
    tls: bool,
    mut meet: impl FnMut(&mut Pool, &State, Event, &Arguments) -> Next,
) -> Option<bool> {
    let symbol = symbols.get(name).filter(|symbol| symbol.size != 0)?;
    let code = function_code(binary, symbol.address, symbol.size);
    let extent = symbol.address..symbol.address.checked_add(symbol.size)?;
    let mut explorer = Explorer::new(&code, extent, decoder);
    let mut state = State::new(&mut explorer.pool)?;
    let registers = code.abi().args;
    let own = Arguments { all: registers.iter().map(|&register| state.get(register)).collect(), registers };
    if tls {
        let zero = explorer.pool.constant(0)?;
        state.store(&explorer.pool, own.all[0], 4, Some(zero))?;
    }
    Some(explorer.explore(symbol.address, state, |pool, state, event| meet(pool, state, event, &own)))
}

/// The arguments of the function that is explored, at its start.
struct Arguments {
    all: Vec<Id>,
    /// Where arguments are passed.
    registers: &'static [Reg],
}

/// The way from the first argument to what is copied to the second, by a call or by the first bytes of it.
fn copied(pool: &mut Pool, state: &State, event: Event, own: &Arguments) -> Option<Path> {
    let from = match event {
        Event::Store { to, value: Some(value), .. } if to == own.all[1] => loaded(pool, value)?.0,
        Event::Call { .. } | Event::Leave { conditional: false, .. } => {
            let given: Vec<_> = own.registers.iter().map(|&register| state.get(register)).collect();
            let to = given.iter().position(|id| *id == own.all[1])?;
            *given.get(to + 1)?
        }
        _ => return None,
    };
    pool.path(own.all[0], from).filter(|path| *path != Path::HERE)
}

/// The distance from the first argument to what is copied to the second.
fn copied_field(pool: &mut Pool, state: &State, event: Event, own: &Arguments) -> Option<i32> {
    copied(pool, state, event, own).filter(|path| path.loads().is_empty()).map(|path| path.add())
}

/// The way from the first argument to a pointer that is returned.
fn returned(pool: &mut Pool, state: &State, event: Event, own: &Arguments) -> Option<Path> {
    let way = (event == Event::Return).then(|| pool.path(own.all[0], state.get(RESULT)))??;
    (!way.loads().is_empty() && way.add() == 0).then_some(way)
}

/// How far from the first argument a number is that is returned, and its size.
fn returned_length(pool: &mut Pool, state: &State, event: Event, own: &Arguments) -> Option<(i32, u8)> {
    let (at, size) = (event == Event::Return).then(|| loaded(pool, state.get(RESULT)))??;
    let way = pool.path(own.all[0], at).filter(|path| path.loads().is_empty())?;
    Some((way.add(), size))
}

/// Register 0 has the result on both machines.
const RESULT: u8 = 0;
