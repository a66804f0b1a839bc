//! The function that hands over TLS secrets: `_gnutls_call_keylog_func(session, label, secret, length)`, which is called
//! also when no key log is wanted.

use std::collections::BTreeSet;

use super::known::RANDOM;
use crate::Why;
use crate::binary::Binary;
use crate::code::Decoder;
use crate::error::ElfError;
use crate::functions::Functions;
use crate::hook::{Arg, Evidence, Hook, Purpose};
use crate::labels::{self, CLIENT_RANDOM, LABELS, Receiver, Site};
use crate::place::{Base, Label, Path, Place, Secret};
use crate::site::{self, function_code};
use crate::symbolic::{Event, Explorer, Next, State};
use crate::symbols::Symbols;

/// Its name in the source.
const LOGGER: &str = "_gnutls_call_keylog_func";
/// Positions of its arguments, from 0.
const SESSION: usize = 0;
const LABEL: usize = 1;
const SECRET: usize = 2;
const LENGTH: usize = 3;
/// Bytes of a master secret (RFC 5246, section 8.1).
const MASTER_LEN: u64 = 48;

/// The hook there.
pub(super) fn find(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
) -> Result<Result<Hook, Why>, ElfError> {
    let (places, loads) = match labels::find(binary, &LABELS)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some(functions) = Functions::read(binary) else { return Ok(Err("no index of the functions")) };
    Ok(match labels::receiver(binary, &functions, decoder, &places, &loads) {
        Ok(Some(receiver)) => hook(binary, symbols, &functions, decoder, &receiver),
        Ok(None) => Err("this version names none"),
        Err(why) => Err(why),
    })
}

fn hook(
    binary: &Binary<'_>,
    symbols: &Symbols,
    functions: &Functions<'_, '_>,
    decoder: &mut Decoder,
    receiver: &Receiver,
) -> Result<Hook, Why> {
    if !has_prototype(receiver) {
        return Err("the function that gets their names has other arguments than known");
    }
    let random = client_random(binary, symbols, decoder)?;
    let extent = functions
        .around(receiver.address)
        .filter(|extent| extent.start == receiver.address)
        .ok_or("the function that gets their names has no known start")?;
    let argument = |position: usize| Base::Arg(Arg(position as u8 + 1));
    let place = |position| Place { base: argument(position), path: Path::HERE };
    let purpose = Purpose::Secret(Secret {
        object: Some(place(SESSION)),
        label: Label::Text(place(LABEL)),
        client_random: Place { base: argument(SESSION), path: random },
        secret: place(SECRET),
        length: place(LENGTH),
    });
    let function = (receiver.address, extent.end.saturating_sub(extent.start));
    let site = site::choose(binary, decoder, function, &purpose.arguments()).ok_or("it has no code")?;
    let calls = receiver.sites.iter().map(|site| site.call).collect::<BTreeSet<_>>().len();
    let labels: BTreeSet<_> = receiver.sites.iter().map(|site| site.label).collect();
    let labels = labels.into_iter().collect();
    Ok(Hook {
        function: LOGGER,
        purpose,
        site,
        evidence: Evidence::Labels { calls, labels, random: vec![RANDOM] },
    })
}

/// Whether the calls show the arguments: the master secret is a field of the session and has 48 bytes. All others are
/// fields, too; aarch64 code adds large offsets in a way that is not followed.
fn has_prototype(receiver: &Receiver) -> bool {
    let way = |site: &Site| site.pool.path(site.arguments[SESSION], site.arguments[SECRET]);
    let is_field = |way: Path| way.loads().is_empty() && way.add() > 0;
    let length = |site: &Site| site.pool.as_constant(site.arguments[LENGTH]);
    let mut masters = receiver.sites.iter().filter(|site| site.label == CLIENT_RANDOM).peekable();
    receiver.position == LABEL
        && receiver.sites.iter().all(|site| way(site).is_none_or(is_field))
        && masters.peek().is_some()
        && masters.all(|site| length(site) == Some(MASTER_LEN) && way(site).is_some())
}

/// The way from the session to the client random, by the function that tells it to programs: it stores its address
/// where the second argument points.
fn client_random(binary: &Binary<'_>, symbols: &Symbols, decoder: &mut Decoder) -> Result<Path, Why> {
    let symbol = symbols.get(RANDOM).filter(|symbol| symbol.size != 0);
    let symbol = symbol.ok_or("no function tells where the client random is")?;
    let code = function_code(binary, symbol.address, symbol.size);
    let extent = symbol.address..symbol.address.saturating_add(symbol.size);
    let mut explorer = Explorer::new(&code, extent, decoder);
    let state = State::new(&mut explorer.pool).ok_or(UNCLEAR)?;
    let [session, client] = [0, 1].map(|at: usize| state.get(code.abi().args[at]));
    let mut ways = BTreeSet::new();
    let complete = explorer.explore(symbol.address, state, |pool, _, event| {
        if let Event::Store { to, value: Some(value) } = event
            && to == client
        {
            ways.extend(pool.path(session, value));
        }
        Next::Go
    });
    let only = ways.pop_first().filter(|_| complete && ways.is_empty());
    only.filter(|way| way.loads().is_empty() && way.add() > 0).ok_or(UNCLEAR)
}

const UNCLEAR: Why = "where the client random is does not show";
