//! Where a connection of BoringSSL has the session that its last complete handshake made or resumed.
//!
//! A renegotiation must agree with it: the server may change neither its certificate nor whether the master secret is
//! extended. Two functions in two source files compare, and report an error of their own. Only what both of them
//! follow from the handshake through the connection object is believed.

use std::collections::BTreeSet;

use super::boringssl::Reporting;
use super::outline::{Function, Outline};
use crate::code::Decoder;
use crate::place::Path;
use crate::symbolic::{Event, Next};

/// The source files that may have the function, and the reason that it gives: `SSL_R_SERVER_CERT_CHANGED` in
/// `ssl_verify_peer_cert`, `SSL_R_RENEGOTIATION_EMS_MISMATCH` where the extension is parsed.
const SIGNS: [(&[&str], u64); 2] = [(&["handshake.cc"], 273), (&["extensions.cc", "t1_lib.cc"], 263)];

/// Ways from the connection object to the session, which end with a load; one is usual.
pub(super) fn find(outline: &Outline<'_, '_>, functions: &[&Reporting], decoder: &mut Decoder) -> Vec<Path> {
    let [one, other] = SIGNS.map(|(files, reason)| {
        let reports = functions
            .iter()
            .flat_map(|function| function.reports(files, reason).map(|report| (&function.function, report)));
        reports.flat_map(|(function, at)| followed(outline, function, at, decoder)).collect::<BTreeSet<_>>()
    });
    one.intersection(&other).copied().collect()
}

/// Pointers that are followed, on the way to an error, from the first argument, a handshake, through the connection
/// object that it points to.
fn followed(
    outline: &Outline<'_, '_>,
    function: &Function,
    at: u64,
    decoder: &mut Decoder,
) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    outline.arrive(function, at, decoder, |pool, handshake, event| {
        if let Event::Read { from, .. } = event
            && let Some(way) = pool.path(handshake, from)
            && let [_object, state, session] = *way.loads()
        {
            found.extend(Path::new(&[state, session], 0));
        }
        Next::Go
    });
    found
}
