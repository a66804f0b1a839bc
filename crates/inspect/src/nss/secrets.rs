//! Where `libssl3` begins to compute a secret of TLS 1.3, by labels of the key schedule (RFC 8446, section 7.1):
//! `tls13_DeriveSecretWrap(socket, key, prefix, suffix, name, **secret)`. Builds that write no key log may have no names.

use std::collections::BTreeSet;

use super::Parts;
use crate::Why;
use crate::code::Decoder;
use crate::error::ElfError;
use crate::hook::{Evidence, Hook, Purpose};
use crate::labels::{self, Receiver, Site};
use crate::place::{Derivation, Path, Place};
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, State};
use crate::symbols::Symbols;

/// Gives out what is computed from `client_random + server_random` (RFC 5705, section 4), which it puts together first.
pub(super) const EXPORT: &str = "SSL_ExportKeyingMaterial";
const DERIVE: &str = "tls13_DeriveSecretWrap";
/// Positions of arguments, from 0.
const SOCKET: usize = 0;
const KEY: usize = 1;
const LABEL: usize = 3;
const SECRETS: [usize; 2] = [4, 5];
/// Labels without what says whose secret it is, and nothing else: others go to other functions, too.
const LABELS: [&str; 5] = ["e traffic", "hs traffic", "ap traffic", "e exp master", "exp master"];
/// Bytes of a random value.
const RANDOM_LEN: i64 = 32;

/// The hook there, and the way from the socket to the client random.
pub(super) fn find(
    parts: &mut Parts<'_, '_>,
    symbols: &Symbols,
) -> Result<Result<(Hook, Path), Why>, ElfError> {
    let (places, loads) = match labels::find(parts.binary, &LABELS)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let receiver = labels::receiver(parts.binary, parts.functions, &mut parts.decoder, &places, &loads);
    Ok(match receiver {
        Ok(Some(receiver)) => hook(parts, symbols, &receiver),
        Ok(None) => Err("this version names none"),
        Err(why) => Err(why),
    })
}

fn hook(parts: &mut Parts<'_, '_>, symbols: &Symbols, receiver: &Receiver) -> Result<(Hook, Path), Why> {
    if receiver.position != LABEL
        || !receiver.sites.iter().all(stores_secret)
        || !receiver.sites.iter().any(loads_key)
    {
        return Err("the function that gets the labels has other arguments than known");
    }
    let client_random = client_random(parts, symbols)?;
    let socket = Place::arg(SOCKET as u8 + 1);
    let purpose = Purpose::Derive(Derivation {
        object: socket,
        label: Place::arg(LABEL as u8 + 1),
        client_random: Place { path: client_random, ..socket },
    });
    let calls = receiver.sites.iter().map(|site| site.call).collect::<BTreeSet<_>>().len();
    let labels: BTreeSet<_> = receiver.sites.iter().map(|site| site.label).collect();
    let labels = labels.into_iter().collect();
    let evidence = Evidence::Labels { calls, labels, random: vec![EXPORT] };
    Ok((parts.hook(DERIVE, receiver.address, purpose, evidence)?, client_random))
}

/// Whether the call shows that the secret goes to a field of the socket.
fn stores_secret(site: &Site) -> bool {
    let mut ways = SECRETS.iter().filter_map(|at| way(site, *at));
    ways.any(|way| way.loads().is_empty() && way.add() > 0)
}

/// Whether the call shows that the key is in a field of the socket; one that was just made may be elsewhere as well.
fn loads_key(site: &Site) -> bool {
    way(site, KEY).is_some_and(|way| matches!(way.loads(), [1..=i32::MAX]) && way.add() == 0)
}

/// From the socket to another argument.
fn way(site: &Site, position: usize) -> Option<Path> {
    site.pool.path(site.arguments[SOCKET], *site.arguments.get(position)?)
}

/// The way from the socket to the client random: [`EXPORT`] copies both random values into memory of its own, first that
/// of the client. They are next to one another.
fn client_random(parts: &mut Parts<'_, '_>, symbols: &Symbols) -> Result<Path, Why> {
    let symbol = symbols.get(EXPORT).filter(|symbol| symbol.size != 0);
    let symbol = symbol.ok_or("no function tells where the client random is")?;
    let code = function_code(parts.binary, symbol.address, symbol.size);
    let places = copied_first(&code, &mut parts.decoder).ok_or(UNCLEAR)?;
    let [place] = places.into_iter().collect::<Vec<_>>()[..] else { return Err(UNCLEAR) };
    Ok(Path::plus(place))
}

const UNCLEAR: Why = "where the client random is does not show";

/// What a stretch of code without calls reads and stores, in order: bases and offsets.
#[derive(Default)]
struct Stretch {
    reads: Vec<(usize, Id, i64)>,
    stores: Vec<(usize, Id, i64)>,
    steps: usize,
}

/// Where, behind the same base, what is copied first begins, in each stretch that copies two random values.
fn copied_first(code: &crate::code::Code, decoder: &mut Decoder) -> Option<BTreeSet<i32>> {
    let extent = code.start..code.start.saturating_add(code.bytes.len() as u64);
    let mut explorer = Explorer::new(code, extent, decoder);
    let state = State::new(&mut explorer.pool)?;
    let mut places = BTreeSet::new();
    let mut stretch = Stretch::default();
    let complete = explorer.explore(code.start, state, |pool, _, event| {
        match event {
            Event::Read { from, size: 8.. } => stretch.note(pool.split(from), true),
            Event::Read { .. } => {}
            Event::Store { to, .. } => stretch.note(pool.split(to), false),
            Event::Call { .. } | Event::Leave { .. } | Event::Return => {
                places.extend(stretch.copied_first().and_then(|at| i32::try_from(at).ok()));
                stretch = Stretch::default();
            }
        }
        Next::Go
    });
    complete.then_some(places)
}

impl Stretch {
    fn note(&mut self, (base, at): (Id, i64), is_read: bool) {
        self.steps += 1;
        let Ok(at) = i32::try_from(at) else { return };
        let list = if is_read { &mut self.reads } else { &mut self.stores };
        list.push((self.steps, base, i64::from(at)));
    }

    /// When a value behind the base was read: first, and last; of what one instruction reads, the start is seen.
    fn read(&self, base: Id, at: i64) -> Option<(usize, usize)> {
        let parts = self
            .reads
            .iter()
            .filter(|(_, other, part)| *other == base && (at..at + RANDOM_LEN).contains(part));
        let steps = || parts.clone().map(|(step, ..)| *step);
        let starts = parts.clone().any(|(.., part)| *part == at);
        steps().min().zip(steps().max()).filter(|_| starts)
    }

    /// The value that was read, and all of it stored, before its neighbour was read.
    fn copied_first(&self) -> Option<i64> {
        let target = self.stores.iter().find_map(|(_, base, _)| self.is_target(*base).then_some(*base))?;
        let stored = self.stores.iter().filter(|(_, base, at)| *base == target && *at < RANDOM_LEN);
        let stored = stored.map(|(step, ..)| *step).max()?;
        self.reads.iter().find_map(|&(_, base, at)| {
            let (_, last) = self.read(base, at)?;
            let neighbour = [at - RANDOM_LEN, at + RANDOM_LEN];
            let (first, _) = neighbour.into_iter().find_map(|at| self.read(base, at))?;
            (at > 0 && last < stored && stored < first).then_some(at)
        })
    }

    /// Whether two values are stored behind the base.
    fn is_target(&self, base: Id) -> bool {
        let has = |wanted| self.stores.iter().any(|(_, other, at)| (*other, *at) == (base, wanted));
        [0, RANDOM_LEN].into_iter().all(has)
    }
}
