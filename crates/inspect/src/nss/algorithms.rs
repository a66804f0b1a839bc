//! The functions that compute secrets, by the table in which `libfreeblpriv3` gives them to the others: `FREEBLVectorStr`
//! of `loader.h`, to which new versions only append.

use std::collections::BTreeSet;

use super::Parts;
use crate::Why;
use crate::code::flow::swept_targets;
use crate::code::reached;
use crate::hook::{Evidence, Hook, Purpose};
use crate::place::{Label, Path, Place, Secret};
use crate::relocation::words;
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Next, State};
use crate::symbols::Symbol;

/// `(context, bytes, length)`.
const HMAC_UPDATE: usize = 141;
/// `(context, out, *length, room)`.
const HMAC_FINISH: usize = 143;
/// `(hash, *secret, label, *seed, *out, fips)`: the PRF of TLS 1.2 (RFC 5246, section 5); secret and seed are `SECItem`s.
const PRF: usize = 174;

/// Offsets in `SECItem`.
const ITEM_DATA: i32 = 8;
const ITEM_LEN: i32 = 16;
/// The seed of a key expansion is `server_random + client_random` (RFC 5246, section 6.3).
const CLIENT_RANDOM_IN_SEED: i32 = 32;

/// Bytes before the first function: 2 of the table's length, 2 of its version.
const HEAD: u64 = 8;
/// Upper half of the version.
const MAJOR: u64 = 3;

/// The hooks there.
pub(super) fn find(parts: &mut Parts<'_, '_>, giver: &Symbol) -> Result<Vec<Hook>, Why> {
    let table = table(parts, giver).ok_or("where the table of functions is does not show")?;
    let functions = [HMAC_UPDATE, HMAC_FINISH, PRF].map(|at| table.get(at).copied().unwrap_or_default());
    let [update, finish, prf] = functions;
    let size = parts.size(prf).ok_or("a function of the table has no known start")?;
    let code = function_code(parts.binary, prf, size);
    let targets = swept_targets(&code, &mut parts.decoder);
    let calls: BTreeSet<_> =
        targets.into_iter().filter_map(|(_, target)| reached(parts.binary, target)).collect();
    if !calls.contains(&update) || !calls.contains(&finish) {
        return Err("the table of functions is not the one that is known");
    }
    [
        ("TLS_P_hash", prf, Purpose::Secret(master_secret())),
        ("HMAC_Update", update, Purpose::MacInput),
        ("HMAC_Finish", finish, Purpose::MacOutput),
    ]
    .map(|(name, address, purpose)| parts.hook(name, address, purpose, Evidence::AlgorithmTable))
    .into_iter()
    .collect()
}

fn master_secret() -> Secret {
    let item = |argument, at, add| {
        let path = Path::new(&[at], add).unwrap_or_default();
        Place { path, ..Place::arg(argument) }
    };
    Secret {
        object: None,
        label: Label::KeyExpansion(Place::arg(3)),
        client_random: item(4, ITEM_DATA, CLIENT_RANDOM_IN_SEED),
        secret: item(2, ITEM_DATA, 0),
        length: item(2, ITEM_LEN, 0),
    }
}

/// The table whose address the function returns.
fn table(parts: &mut Parts<'_, '_>, giver: &Symbol) -> Option<Vec<u64>> {
    let code = function_code(parts.binary, giver.address, giver.size);
    let extent = giver.address..giver.address.saturating_add(giver.size);
    let mut explorer = Explorer::new(&code, extent, &mut parts.decoder);
    let state = State::new(&mut explorer.pool)?;
    let mut returned = BTreeSet::new();
    explorer.explore(giver.address, state, |pool, state, event| {
        if event == Event::Return {
            returned.extend(pool.as_constant(state.get(RESULT)).filter(|table| *table != 0));
        }
        Next::Go
    });
    let address = returned.pop_first().filter(|_| returned.is_empty())?;
    let head = *words(parts.binary, address, 1)?.first()?;
    let (len, major) = (head & 0xffff, head >> 24 & 0xff);
    if major != MAJOR || head >> 32 != 0 || len < HEAD {
        return None;
    }
    let table = words(parts.binary, address.checked_add(HEAD)?, (len - HEAD) / 8)?;
    table.iter().all(|function| parts.binary.is_code(*function)).then_some(table)
}

/// The register in which both machines return a value.
const RESULT: u8 = 0;
