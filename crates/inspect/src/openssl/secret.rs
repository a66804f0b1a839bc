//! The function that hands over TLS secrets for a key log, and which of its arguments is what.
//!
//! It is the one that every name of a secret is given to. It is called also when no key log is wanted. That its
//! arguments are `(object, label, secret, length)` is not taken for granted: link-time optimisation merges it with
//! `nss_keylog_int(label, object, client_random, 32, secret, length)`.

use std::collections::{BTreeMap, BTreeSet};

use super::internal::Why;
use crate::binary::Binary;
use crate::code::Decoder;
use crate::functions::Functions;
use crate::hook::Arg;
use crate::labels::{CLIENT_RANDOM, EARLY_EXPORTER, EXPORTER, Receiver, Site};
use crate::place::{Base, Label, Path, Place, Secret};
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, Node, Pool, State};

/// Bytes of a ClientHello's random.
pub(super) const RANDOM: u64 = 32;

/// The function's name in the source of OpenSSL and BoringSSL, and after link-time optimisation.
const LOGGER: &str = "ssl_log_secret";
const MERGED: &str = "nss_keylog_int";

/// Secrets that are never on the stack when they are handed over.
const STAYING: [&str; 3] = [CLIENT_RANDOM, EXPORTER, EARLY_EXPORTER];

/// What the arguments are, by position from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) object: usize,
    label: usize,
    random: Random,
    pub(super) secret: usize,
    pub(super) length: usize,
}

/// Where the client random is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Random {
    /// From the object on.
    Path(Path),
    Argument(usize),
}

impl Roles {
    pub(super) fn function(&self) -> &'static str {
        match self.random {
            Random::Path(_) => LOGGER,
            Random::Argument(_) => MERGED,
        }
    }

    pub(super) fn secret(&self) -> Secret {
        let argument = |position: usize| Arg(position as u8 + 1);
        let place = |position| Place { base: Base::Arg(argument(position)), path: Path::HERE };
        Secret {
            object: Some(place(self.object)),
            label: Label::Text(place(self.label)),
            client_random: match self.random {
                Random::Path(path) => Place { base: Base::Arg(argument(self.object)), path },
                Random::Argument(position) => place(position),
            },
            secret: place(self.secret),
            length: place(self.length),
        }
    }
}

/// What each argument is, by the calls, and by what the function itself does with them. `accessor` is the way to the
/// client random by another function, and its name. Also tells which functions show that way.
pub(super) fn roles(
    binary: &Binary<'_>,
    functions: &Functions<'_, '_>,
    decoder: &mut Decoder,
    receiver: &Receiver,
    accessor: Option<(Path, &'static str)>,
) -> Result<(Roles, Path, Vec<&'static str>), Why> {
    if let Some((roles, path)) = merged(receiver) {
        return match accessor {
            Some((other, _)) if other != path => Err(DISAGREE),
            Some((_, name)) => Ok((roles, path, vec![MERGED, name])),
            None => Ok((roles, path, vec![MERGED])),
        };
    }
    let own = inside(binary, functions, decoder, receiver);
    let called = secrets_at_calls(receiver)?;
    let used = one(own.secrets.iter().copied());
    let (secret, length) = match called {
        Some(called) if !own.secrets.is_empty() && !own.secrets.contains(&called) => {
            return Err("its secret's place is ambiguous");
        }
        Some(called) => called,
        None => used.ok_or("where its secret is does not show")?,
    };
    let (object, path, seen) = random(receiver, &own, accessor, secret)?;
    let label = receiver.position;
    let roles = Roles { object, label, random: Random::Path(path), secret, length };
    if [object, label, secret, length].iter().collect::<BTreeSet<_>>().len() < 4 {
        return Err("one argument would be two things");
    }
    Ok((roles, path, seen))
}

const DISAGREE: Why = "two functions disagree about where the client random is";

/// The argument that is the object, the way to the client random, and which functions show it.
fn random(
    receiver: &Receiver,
    own: &Inside,
    accessor: Option<(Path, &'static str)>,
    secret: usize,
) -> Result<(usize, Path, Vec<&'static str>), Why> {
    if own.randoms.len() > 1 && accessor.is_none() {
        return Err("where it has the client random from is ambiguous");
    }
    // With Encrypted Client Hello there are two, of which other functions use the one on the wire.
    let same = own.randoms.iter().find(|(_, path)| accessor.is_some_and(|(other, _)| *path == other));
    match (same.or(own.randoms.first()), accessor) {
        (Some(&(_, path)), Some((other, _))) if path != other => Err(DISAGREE),
        (Some(&(object, path)), Some((_, name))) => Ok((object, path, vec![LOGGER, name])),
        (Some(&(object, path)), None) => Ok((object, path, vec![LOGGER])),
        (None, Some((path, name))) => {
            let object =
                object_at_calls(receiver, secret).ok_or("which argument is the object does not show")?;
            Ok((object, path, vec![name]))
        }
        (None, None) => Err("where the client random is does not show"),
    }
}

/// The shape after link-time optimisation: at all calls there is a constant 32, before it the client random by the
/// same way from an argument that is the object, and behind it secret and length.
fn merged(receiver: &Receiver) -> Option<(Roles, Path)> {
    let all = &receiver.sites;
    let count = all.first()?.arguments.len();
    let is_32 = |site: &Site, at: usize| site.pool.as_constant(site.arguments[at]) == Some(RANDOM);
    let size = one((1..count.saturating_sub(2)).filter(|&at| all.iter().all(|site| is_32(site, at))))?;
    let random = size - 1;
    let ways = |site: &Site| {
        let objects = (0..count).filter(|&at| at != random && at != receiver.position);
        let ways = objects.filter_map(|at| Some((at, way(site, at, random)?)));
        ways.filter(|(_, path)| *path != Path::HERE).collect::<Vec<_>>()
    };
    let mut common = ways(all.first()?);
    common.retain(|found| all.iter().all(|site| ways(site).contains(found)));
    let &[(object, path)] = common.as_slice() else { return None };
    let (secret, length) = (size + 1, size + 2);
    let random = Random::Argument(random);
    Some((Roles { object, label: receiver.position, random, secret, length }, path))
}

/// The way from one argument to another.
pub(super) fn way(site: &Site, from: usize, to: usize) -> Option<Path> {
    site.pool.path(site.arguments[from], site.arguments[to])
}

/// Secret and length by the calls that hand over a master secret: both are in one session.
fn secrets_at_calls(receiver: &Receiver) -> Result<Option<(usize, usize)>, Why> {
    let mut found = BTreeSet::new();
    for site in receiver.sites.iter().filter(|site| site.label == CLIENT_RANDOM) {
        let count = site.arguments.len();
        let pairs = (0..count).flat_map(|secret| (0..count).map(move |length| (secret, length)));
        found.extend(pairs.filter(|&(secret, length)| {
            ![secret, length].contains(&receiver.position) && in_one_session(site, secret, length)
        }));
    }
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop_first()),
        _ => Err("the calls do not tell where its secret is"),
    }
}

fn in_one_session(site: &Site, secret: usize, length: usize) -> bool {
    let Some(place) = loaded(&site.pool, site.arguments[length]) else { return false };
    let (session, from) = site.pool.split(site.arguments[secret]);
    let (holder, at) = site.pool.split(place.0);
    let is_pointer = matches!(site.pool.node(session), Node::Load(_, 8) | Node::Start(_) | Node::Left { .. });
    session == holder && from != at && from > 0 && is_pointer
}

/// The address and size of what a value was loaded from.
pub(super) fn loaded(pool: &Pool, value: Id) -> Option<(Id, u8)> {
    match pool.node(value) {
        Node::Load(address, size) => Some((address, size)),
        Node::Half(whole) => match pool.node(whole) {
            Node::Load(address, size) => Some((address, size)),
            _ => None,
        },
        _ => None,
    }
}

/// The argument from which a way leads to the secrets that stay in the connection, at all calls where one does.
fn object_at_calls(receiver: &Receiver, secret: usize) -> Option<usize> {
    let mut common: Option<BTreeSet<usize>> = None;
    for site in receiver.sites.iter().filter(|site| STAYING.contains(&site.label)) {
        let others = (0..site.arguments.len()).filter(|&at| at != secret && at != receiver.position);
        let is_object = |at: &usize| way(site, *at, secret).is_some_and(|path| path != Path::HERE);
        let objects: BTreeSet<_> = others.filter(is_object).collect();
        if !objects.is_empty() {
            common = Some(common.map_or(objects.clone(), |common| &common & &objects));
        }
    }
    one(common?.into_iter())
}

fn one<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// What the function does with its arguments.
#[derive(Default)]
struct Inside {
    /// The argument from which, and the way by which it has the 32 bytes that it gives to another function.
    randoms: BTreeSet<(usize, Path)>,
    /// Arguments that it gives to another function as bytes and their number.
    secrets: BTreeSet<(usize, usize)>,
}

fn inside(
    binary: &Binary<'_>,
    functions: &Functions<'_, '_>,
    decoder: &mut Decoder,
    receiver: &Receiver,
) -> Inside {
    let mut found = Inside::default();
    let Some(extent) = functions.around(receiver.address).filter(|extent| extent.start == receiver.address)
    else {
        return found;
    };
    let code = function_code(binary, extent.start, extent.end.saturating_sub(extent.start));
    let mut explorer = Explorer::new(&code, extent.clone(), decoder);
    let Some(state) = State::new(&mut explorer.pool) else { return found };
    let registers = code.abi().args;
    let own: Vec<_> = registers.iter().map(|&register| state.get(register)).collect();
    let mut bytes: BTreeMap<(usize, Vec<i32>), BTreeSet<i32>> = BTreeMap::new();
    explorer.explore(extent.start, state, |pool, state, event| {
        let way = |id: Id| {
            let ways = own.iter().enumerate().filter_map(|(at, own)| Some((at, pool.path(*own, id)?)));
            one(ways.filter(|(_, path)| *path != Path::HERE))
        };
        match event {
            Event::Read { from, size: size @ (1 | 16) } => {
                if let Some((at, path)) = way(from) {
                    let read = (0..i32::from(size)).filter_map(|more| path.add().checked_add(more));
                    bytes.entry((at, path.loads().to_vec())).or_default().extend(read);
                }
            }
            Event::Call { .. } | Event::Leave { .. } => {
                let given: Vec<_> = registers.iter().map(|&register| state.get(register)).collect();
                for (place, pair) in given.windows(2).enumerate() {
                    if pool.as_constant(pair[1]) == Some(RANDOM) {
                        found.randoms.extend(way(pair[0]));
                    }
                    let position = |id: Id| own.iter().position(|own| *own == id);
                    if let (Some(secret), Some(length)) = (position(pair[0]), position(pair[1]))
                        && secret != receiver.position
                        && length != receiver.position
                        // Else both are where they were, and perhaps no arguments.
                        && secret != place
                    {
                        found.secrets.insert((secret, length));
                    }
                }
            }
            _ => {}
        }
        Next::Go
    });
    for ((at, loads), bytes) in bytes {
        found.randoms.extend(runs(&loads, &bytes).into_iter().map(|path| (at, path)));
    }
    found
}

/// The ways to all that are exactly 32 bytes in a row.
fn runs(loads: &[i32], bytes: &BTreeSet<i32>) -> Vec<Path> {
    let first = |at: &&i32| at.checked_sub(1).is_none_or(|before| !bytes.contains(&before));
    let length = |at: i32| (at..=i32::MAX).take_while(|at| bytes.contains(at)).count() as u64;
    let starts = bytes.iter().filter(first).filter(|at| length(**at) == RANDOM);
    starts.filter_map(|start| Path::new(loads, *start)).collect()
}
