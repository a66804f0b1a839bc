//! Where keys pass and where they stay: puts together what labels, logger and accessors tell.

use std::collections::BTreeSet;

use super::internal::Why;
use super::secret::{self, Roles};
use super::survey::Survey;
use super::{known, master, object, prf};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::hook::{Evidence, Hook, Purpose};
use crate::labels::{self, Receiver};
use crate::place::{ObjectKeys, Path};
use crate::site;
use crate::symbols::Symbols;

/// What was found.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) hooks: Vec<Hook>,
    pub(super) object: Option<ObjectKeys>,
    pub(super) notes: Vec<String>,
}

/// Everything about keys in a file. `sessions`: the ways from a connection object to its session that code without
/// symbols shows.
pub(super) fn find(
    binary: &Binary<'_>,
    symbols: &Symbols,
    survey: &Survey<'_, '_>,
    sessions: &[Path],
) -> Keys {
    let mut decoder = Decoder::default();
    let mut keys = Keys::default();
    let given = keys.noted(object::CLIENT_RANDOM, object::client_random(binary, symbols, &mut decoder));
    let computed = match given {
        Some(_) => None,
        None => keys.noted("keys", prf::find(binary, survey, &mut decoder)),
    };
    let accessor = given
        .map(|path| (path, object::CLIENT_RANDOM))
        .or(computed.map(|computed| (computed.client_random, prf::FUNCTION)));
    let logger = logger(binary, survey, &mut decoder, accessor);
    // What only code without symbols shows does not stand against the logger.
    let computed = computed.filter(|_| logger.is_ok());
    let accessor = given.or(computed.map(|computed| computed.client_random));
    let logger = keys.noted("secrets", logger.transpose());
    if let Some(logger) = &logger {
        keys.hooks.extend(logger.hook(binary, &mut decoder));
    }
    if let Some(client_random) = logger.as_ref().map(|logger| logger.random).or(accessor) {
        let logged = logger.as_ref().map(|logger| (&logger.receiver, &logger.roles));
        let master = master::find(binary, symbols, &mut decoder, client_random, logged, sessions)
            .and_then(|master| master::agreed(master, computed.and_then(prf::Shown::master)));
        let master = keys.noted("master secret", master.transpose());
        let exporter = logged.map(|(receiver, roles)| object::exporter(receiver, roles));
        let exporter = keys.noted("exporter secret", exporter);
        keys.object = Some(ObjectKeys { client_random, master, exporter });
    }
    if keys.hooks.is_empty() && keys.object.is_some_and(|object| object.master.is_some()) {
        keys.hooks = handshakes(binary, symbols, &mut decoder);
    }
    keys
}

impl Keys {
    /// The answer; why there is none becomes a note.
    fn noted<T>(&mut self, what: &str, answer: Option<Result<T, Why>>) -> Option<T> {
        match answer? {
            Ok(answer) => Some(answer),
            Err(why) => {
                self.notes.push(format!("{what}: {why}"));
                None
            }
        }
    }
}

/// The function that hands over secrets.
struct Logger {
    receiver: Receiver,
    size: u64,
    roles: Roles,
    random: Path,
    /// Functions that show where the client random is.
    shown: Vec<&'static str>,
}

fn logger(
    binary: &Binary<'_>,
    survey: &Survey<'_, '_>,
    decoder: &mut Decoder,
    accessor: Option<(Path, &'static str)>,
) -> Result<Option<Logger>, Why> {
    if survey.texts.labels.is_empty() {
        return Ok(None);
    }
    let functions = survey.functions.as_ref().map_err(|why| *why)?;
    let receiver = labels::receiver(binary, functions, decoder, &survey.texts.labels, &survey.loads)?;
    let Some(receiver) = receiver else { return Ok(None) };
    let size = match functions.around(receiver.address) {
        Some(extent) if extent.start == receiver.address => extent.end.saturating_sub(extent.start),
        _ => return Err("the function that gets the names of secrets has no known start"),
    };
    let (roles, random, shown) = secret::roles(binary, functions, decoder, &receiver, accessor)?;
    Ok(Some(Logger { receiver, size, roles, random, shown }))
}

impl Logger {
    fn hook(&self, binary: &Binary<'_>, decoder: &mut Decoder) -> Option<Hook> {
        let purpose = Purpose::Secret(self.roles.secret());
        let function = (self.receiver.address, self.size);
        let site = site::choose(binary, decoder, function, &purpose.arguments())?;
        let sites = &self.receiver.sites;
        let labels: BTreeSet<_> = sites.iter().map(|site| site.label).collect();
        let calls = sites.iter().map(|site| site.call).collect::<BTreeSet<_>>().len();
        let labels = labels.into_iter().collect();
        let evidence = Evidence::Labels { calls, labels, random: self.shown.clone() };
        Some(Hook { function: self.roles.function(), purpose, site, evidence })
    }
}

/// Without a function that hands secrets over, the master secret is there when the handshake is complete.
fn handshakes(binary: &Binary<'_>, symbols: &Symbols, decoder: &mut Decoder) -> Vec<Hook> {
    let exported = known::HANDSHAKES.iter().filter_map(|name| symbols.get(name));
    let hooks = exported.filter_map(|symbol| {
        let purpose = Purpose::Handshake;
        let site = site::choose(binary, decoder, (symbol.address, symbol.size), &purpose.arguments())?;
        Some(Hook { function: symbol.name, purpose, site, evidence: Evidence::Symbol(symbol.table) })
    });
    hooks.collect()
}
