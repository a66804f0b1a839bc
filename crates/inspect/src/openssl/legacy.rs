//! Where OpenSSL 1.0.2 has its keys: it gives them to no program, but exports what computes them.

use super::internal::Why;
use super::object::{self, only};
use super::secret::RANDOM;
use crate::binary::Binary;
use crate::code::Decoder;
use crate::place::{MasterSecret, Path};
use crate::symbolic::{Event, Id, Next, Pool, State};
use crate::symbols::Symbols;

/// `(object, out, premaster, length)`: calls
/// `tls1_PRF(mask, "master secret", 13, client_random, 32, …, server_random, 32, …, session->master_key, …)`.
const GENERATE: &str = "tls1_generate_master_secret";
/// `(bio, session)`: prints the master secret.
const PRINT: &str = "SSL_SESSION_print";
/// What the master secret is derived under: RFC 5246, section 8.1.
const SEED: &[u8] = b"master secret";
/// Most arguments on the stack that are looked at; the function has 9 there on `x86_64`.
const MOST_STACKED: i64 = 10;

/// All of them.
pub(super) const FUNCTIONS: [&str; 2] = [GENERATE, PRINT];

/// The client random and the master secret; `None` if the file does not export the function that computes it.
pub(super) fn find(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Option<Result<(Path, MasterSecret), Why>> {
    symbols.get(GENERATE)?;
    Some(keys(binary, symbols, decoder))
}

fn keys(binary: &Binary<'_>, symbols: &Symbols, decoder: &mut Decoder) -> Result<(Path, MasterSecret), Why> {
    let session = object::sessions(binary, symbols, decoder).ok_or("no function shows the session")??;
    let session = only(session.into_iter())?;
    let (mut randoms, mut secrets) = (Vec::new(), Vec::new());
    object::explore(binary, symbols, decoder, GENERATE, |pool, state, event, own| {
        let (Event::Call { .. } | Event::Leave { conditional: false, .. }) = event else { return Next::Go };
        let given: Vec<_> = own.registers.iter().map(|&register| state.get(register)).collect();
        if !given.windows(2).any(|pair| is_seed(binary, pool, pair)) {
            return Next::Go;
        }
        let is_random = |pair: &&[Id]| pool.as_constant(pair[1]) == Some(RANDOM);
        randoms.extend(given.windows(2).find(is_random).and_then(|pair| pool.path(own.all[0], pair[0])));
        for place in 0..MOST_STACKED {
            let way = stacked(pool, state, own.stack, place).and_then(|id| pool.path(own.all[0], id));
            secrets.extend(way.filter(|way| way.loads() == session.loads() && way.add() > 0));
        }
        Next::Go
    })
    .ok_or("the function that computes it has no known end")?;
    let (random, secret) = (same(randoms)?, same(secrets)?);
    let at = secret.add().checked_sub(4).ok_or("it is at the start of the session")?;
    // The length is an `int` right before it, as the public header of the session says; the code must read it there.
    let mut read = false;
    object::explore(binary, symbols, decoder, PRINT, |pool, _, event, own| {
        if let Event::Read { from, size: 4 } = event {
            read |= pool.path(own.all[1], from) == Some(Path::plus(at));
        }
        Next::Go
    });
    if !read {
        return Err("no code reads its length");
    }
    let length = Path::new(secret.loads(), at).ok_or("the session is too far away")?;
    Ok((random, MasterSecret { secret, length, width: 4, established: false }))
}

fn stacked(pool: &mut Pool, state: &State, stack: u8, place: i64) -> Option<Id> {
    let address = pool.plus(state.get(stack), 8 * place)?;
    state.load(pool, address, 8)
}

/// Whether two arguments are the text and its length.
fn is_seed(binary: &Binary<'_>, pool: &Pool, pair: &[Id]) -> bool {
    let length = pool.as_constant(pair[1]) == Some(SEED.len() as u64);
    let text = || binary.file_offset(pool.as_constant(pair[0])?);
    let bytes = |offset| binary.source.bytes(offset, SEED.len() as u64, "a constant").ok();
    length && text().and_then(bytes).is_some_and(|bytes| bytes == SEED)
}

fn same(mut all: Vec<Path>) -> Result<Path, Why> {
    all.dedup();
    only(all.into_iter())
}
