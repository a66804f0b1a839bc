//! Where a connection object has its keys, by the small functions that give them to programs.

use std::collections::BTreeSet;

use super::internal::Why;
use super::secret::{Roles, loaded, way};
use crate::binary::Binary;
use crate::code::{Decoder, Reg};
use crate::labels::{CLIENT_RANDOM as LABEL, EARLY_EXPORTER, EXPORTER, Receiver};
use crate::place::{MasterSecret, Path};
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

/// The master secret of an object's session: by the functions that give it, and by the calls of the logger that hand
/// it over. Both must agree where there are both.
pub(super) fn master(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
    logged: Option<(&Receiver, &Roles)>,
) -> Result<Option<MasterSecret>, Why> {
    let given = given_master(binary, symbols, decoder)?;
    let logged = match logged {
        Some((receiver, roles)) if given.is_some() || is_openssl(receiver) => logged_master(receiver, roles)?,
        _ => None,
    };
    match (given, logged) {
        (Some(given), Some(logged)) if given != logged => {
            Err("two functions disagree about where the master secret is")
        }
        (given, logged) => Ok(given.or(logged)),
    }
}

/// Whether it is openssl.org's: BoringSSL does not log this secret. There a handshake may have a session that is not
/// the object's.
fn is_openssl(receiver: &Receiver) -> bool {
    receiver.sites.iter().any(|site| site.label == EARLY_EXPORTER)
}

/// Where the secret is stored that stays with the connection in TLS 1.3.
pub(super) fn exporter(receiver: &Receiver, roles: &Roles) -> Result<Path, Why> {
    let sites = receiver.sites.iter().filter(|site| site.label == EXPORTER);
    let ways: Option<BTreeSet<Path>> = sites.map(|site| way(site, roles.object, roles.secret)).collect();
    only(ways.into_iter().flatten())
}

fn logged_master(receiver: &Receiver, roles: &Roles) -> Result<Option<MasterSecret>, Why> {
    let mut found = Vec::new();
    for site in receiver.sites.iter().filter(|site| site.label == LABEL) {
        let Some((at, width)) = loaded(&site.pool, site.arguments[roles.length]) else { continue };
        let Some(length) = site.pool.path(site.arguments[roles.object], at) else { continue };
        let Some(secret) = way(site, roles.object, roles.secret) else { continue };
        found.push(MasterSecret { secret, length, width });
    }
    match found.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(Some(*first)),
        _ => Err("the logged master secret is in different places"),
    }
}

fn given_master(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Result<Option<MasterSecret>, Why> {
    let secret = accessor(binary, symbols, decoder, MASTER_KEY, false, copied_field).and_then(single);
    let length = accessor(binary, symbols, decoder, MASTER_KEY, false, returned_length).and_then(single);
    let session = session(binary, symbols, decoder);
    let (Some(session), Some(secret), Some(length)) = (session, secret, length) else { return Ok(None) };
    let (session, secret, (length, width)) = (session?, secret?, length?);
    let from_session = |add| Path::new(session.loads(), add).ok_or("the session is too far away");
    Ok(Some(MasterSecret { secret: from_session(secret)?, length: from_session(length)?, width }))
}

/// The way to the session, which ends with a load; `None` if the file does not define the function that gives it.
pub(super) fn session(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Option<Result<Path, Why>> {
    first_certain(|tls| accessor(binary, symbols, decoder, SESSION, tls, returned)).and_then(single)
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
    let complete = explore_with(binary, symbols, decoder, name, tls, |pool, state, event, own| {
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
pub(super) fn explore(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
    name: &str,
    meet: impl FnMut(&mut Pool, &State, Event, &Arguments) -> Next,
) -> Option<bool> {
    explore_with(binary, symbols, decoder, name, false, meet)
}

/// `tls`: the first field of the object, its type since OpenSSL 3.2, is 0.
fn explore_with(
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
    let (registers, stack) = (code.abi().args, code.abi().stack);
    let own =
        Arguments { all: registers.iter().map(|&register| state.get(register)).collect(), registers, stack };
    if tls {
        let zero = explorer.pool.constant(0)?;
        state.store(&explorer.pool, own.all[0], 4, Some(zero))?;
    }
    Some(explorer.explore(symbol.address, state, |pool, state, event| meet(pool, state, event, &own)))
}

/// The arguments of the function that is explored, at its start.
pub(super) struct Arguments {
    pub(super) all: Vec<Id>,
    /// Where arguments are passed.
    pub(super) registers: &'static [Reg],
    pub(super) stack: Reg,
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
