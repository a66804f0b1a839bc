//! Where a connection object has its keys, by the function that computes the keys of TLS 1.2 and earlier from the
//! master secret. It is in every version of OpenSSL, and found without symbols.
//!
//! It calls `PRF(…, "key expansion", 13, server_random, 32, client_random, 32, …, master_key, length, …)`, or, where
//! the compiler made that part of it, `P_hash(…, master_key, half, "key expansion", 13, …)`. LibreSSL has the secret
//! first, too. Arguments that are always the same may be gone.

use std::collections::BTreeSet;

use super::internal::Why;
use super::secret::{RANDOM, loaded};
use super::source::{Language, Source};
use super::survey::Survey;
use crate::binary::Binary;
use crate::code::{Code, Decoder};
use crate::place::{MasterSecret, Path};
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Id, Next, Pool, State};

/// The function's name in OpenSSL's source.
pub(super) const FUNCTION: &str = "tls1_setup_key_block";

/// What the keys are derived under: RFC 5246, section 6.3.
pub(super) const SEED: &str = "key expansion";

/// Most arguments on the stack that are looked at.
const MOST_STACKED: i64 = 12;
/// Most places that load the text; two are usual.
const MOST_LOADS: usize = 8;

/// What the code shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shown {
    pub(super) client_random: Path,
    /// The master secret, its length, and the bytes that this has.
    master: Option<(Path, Path, u8)>,
}

impl Shown {
    pub(super) fn master(self) -> Option<MasterSecret> {
        self.master.map(|(secret, length, width)| MasterSecret { secret, length, width, established: false })
    }
}

/// `None` if nothing is called like that.
pub(super) fn find(
    binary: &Binary<'_>,
    survey: &Survey<'_, '_>,
    decoder: &mut Decoder,
) -> Option<Result<Shown, Why>> {
    // In BoringSSL the function may get a handshake instead of the object.
    if !survey.sources().filter_map(Source::language).eq([Language::C]) {
        return None;
    }
    let functions = survey.functions.as_ref().ok()?;
    let loads = survey.loads.iter().filter(|load| survey.texts.seeds.contains(&load.to));
    let extents: BTreeSet<_> = loads
        .filter_map(|load| functions.around(load.at))
        .map(|extent| (extent.start, extent.end))
        .take(MOST_LOADS)
        .collect();
    let mut shown = BTreeSet::new();
    for (start, end) in extents {
        let code = function_code(binary, start, end.saturating_sub(start));
        shown.extend(inside(&code, start..end, decoder, &survey.texts.seeds));
    }
    let first = shown.pop_first()?;
    Some(if shown.is_empty() { Ok(first) } else { Err("the keys are computed from several places") })
}

fn inside(
    code: &Code,
    extent: std::ops::Range<u64>,
    decoder: &mut Decoder,
    seeds: &BTreeSet<u64>,
) -> Option<Shown> {
    let start = extent.start;
    let mut explorer = Explorer::new(code, extent, decoder);
    let state = State::new(&mut explorer.pool)?;
    let object = state.get(code.abi().args[0]);
    let (mut randoms, mut secrets, mut halves) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut read = BTreeSet::new();
    explorer.explore(start, state, |pool, state, event| {
        match event {
            Event::Read { from, size: 4 } => read.extend(pool.path(object, from)),
            Event::Call { .. } | Event::Leave { conditional: false, .. } => {
                let given = arguments(code, pool, state);
                let seed = |pair: &[Option<Id>]| number(pool, pair[0]).is_some_and(|at| seeds.contains(&at));
                let Some(at) = given.windows(6).position(|args| {
                    let sizes = [1, 3, 5].map(|at| number(pool, args[at]));
                    seed(args) && sizes == [SEED.len() as u64, RANDOM, RANDOM].map(Some)
                }) else {
                    return Next::Go;
                };
                let way = |id: Option<Id>| pool.path(object, id?).filter(|way| !way.loads().is_empty());
                randoms.extend(given[at + 4].and_then(|id| pool.path(object, id)));
                let before = &given[at.saturating_sub(2)..at];
                secrets.extend(given[at + 6..].windows(2).chain([before]).filter_map(|pair| {
                    let &[secret, length] = pair else { return None };
                    let (length, width) = loaded(pool, length?)?;
                    let (secret, length) = (way(secret)?, way(Some(length))?);
                    (secret.loads() == length.loads()).then_some((secret, length, width))
                }));
                halves.extend(before.first().and_then(|secret| way(*secret)));
            }
            _ => {}
        }
        Next::Go
    });
    // Half of the secret is given to each of two hashes; its length is an `int` right before it, which is read to
    // halve it.
    secrets.extend(halves.into_iter().filter_map(|secret| {
        let length = Path::new(secret.loads(), secret.add().checked_sub(4)?)?;
        read.contains(&length).then_some((secret, length, 4))
    }));
    let client_random = randoms.pop_first().filter(|_| randoms.is_empty())?;
    let master = secrets.pop_first().filter(|_| secrets.is_empty());
    Some(Shown { client_random, master })
}

/// Those in registers, then those on the stack.
fn arguments(code: &Code, pool: &mut Pool, state: &State) -> Vec<Option<Id>> {
    let abi = code.abi();
    let mut all: Vec<_> = abi.args.iter().map(|&register| Some(state.get(register))).collect();
    for place in 0..MOST_STACKED {
        let address = pool.plus(state.get(abi.stack), 8 * place);
        let value =
            address.and_then(|address| [8, 4].into_iter().find_map(|size| state.load(pool, address, size)));
        all.push(value);
    }
    all
}

fn number(pool: &Pool, id: Option<Id>) -> Option<u64> {
    pool.as_constant(id?)
}
