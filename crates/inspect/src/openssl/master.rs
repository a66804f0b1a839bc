//! Where a connection object has the master secret of its session.
//!
//! OpenSSL has one session at a time. In BoringSSL a handshake has sessions of its own, and the connection the one
//! that the last complete handshake made or resumed: only this is the connection's.

use super::internal::Why;
use super::object::{self, Field, only};
use super::secret::{Roles, loaded, way};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::labels::{CLIENT_RANDOM as LABEL, EARLY_EXPORTER, Receiver};
use crate::place::{MasterSecret, Path};
use crate::symbols::Symbols;

/// By the functions that give it to programs, and by the calls of the logger that hand it over. Both must agree where
/// there are both. `sessions`: the ways to the established session that code without symbols shows.
pub(super) fn find(
    binary: &Binary<'_>,
    symbols: &Symbols,
    decoder: &mut Decoder,
    client_random: Path,
    logged: Option<(&Receiver, &Roles)>,
    sessions: &[Path],
) -> Result<Option<MasterSecret>, Why> {
    let given = object::sessions(binary, symbols, decoder).transpose()?;
    let (session, established) = match given.as_deref().unwrap_or(sessions) {
        [] => (None, false),
        [way] if given.is_some() => (Some(*way), false),
        ways => (Some(beside(client_random, ways)?), true),
    };
    let given = object::in_session(binary, symbols, decoder).transpose()?;
    let (mut handed_over, mut whole) = (None, None);
    if let Some((receiver, roles)) = logged {
        handed_over = logged_field(receiver, roles)?;
        // A handshake of BoringSSL has a session that is not the connection's.
        if !established && (session.is_some() || is_openssl(receiver)) {
            whole = logged_master(receiver, roles)?;
        }
    }
    let field = agreed(given, handed_over)?;
    let master = session.zip(field).map(|(session, field)| {
        let from_session = |add| Path::new(session.loads(), add).ok_or("the session is too far away");
        let (secret, length) = (from_session(field.secret)?, from_session(field.length)?);
        Ok(MasterSecret { secret, length, width: field.width, established })
    });
    agreed(master.transpose()?, whole)
}

/// The established session: its pointer is in the same struct as the client random.
fn beside(client_random: Path, sessions: &[Path]) -> Result<Path, Why> {
    let is_beside = |session: &&Path| match *session.loads() {
        [ref state @ .., _] => !state.is_empty() && state == client_random.loads(),
        [] => false,
    };
    only(sessions.iter().filter(is_beside).copied())
}

pub(super) fn agreed<T: PartialEq>(one: Option<T>, other: Option<T>) -> Result<Option<T>, Why> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            Err("two functions disagree about where the master secret is")
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// Whether it is openssl.org's: BoringSSL does not log this secret.
fn is_openssl(receiver: &Receiver) -> bool {
    receiver.sites.iter().any(|site| site.label == EARLY_EXPORTER)
}

const SEVERAL: Why = "the logged master secret is in different places";

/// From the object on.
fn logged_master(receiver: &Receiver, roles: &Roles) -> Result<Option<MasterSecret>, Why> {
    let mut found = Vec::new();
    for site in receiver.sites.iter().filter(|site| site.label == LABEL) {
        let Some((at, width)) = loaded(&site.pool, site.arguments[roles.length]) else { continue };
        let Some(length) = site.pool.path(site.arguments[roles.object], at) else { continue };
        let Some(secret) = way(site, roles.object, roles.secret) else { continue };
        found.push(MasterSecret { secret, length, width, established: false });
    }
    found.dedup();
    if found.len() > 1 { Err(SEVERAL) } else { Ok(found.pop()) }
}

/// From the session on, whosever it is.
fn logged_field(receiver: &Receiver, roles: &Roles) -> Result<Option<Field>, Why> {
    let mut found = Vec::new();
    for site in receiver.sites.iter().filter(|site| site.label == LABEL) {
        let Some((at, width)) = loaded(&site.pool, site.arguments[roles.length]) else { continue };
        let (holder, length) = site.pool.split(at);
        let (session, secret) = site.pool.split(site.arguments[roles.secret]);
        if let (true, Ok(secret), Ok(length)) = (session == holder, secret.try_into(), length.try_into()) {
            found.push(Field { secret, length, width });
        }
    }
    found.dedup();
    if found.len() > 1 { Err(SEVERAL) } else { Ok(found.pop()) }
}
