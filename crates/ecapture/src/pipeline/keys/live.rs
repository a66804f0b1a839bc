//! The secrets of a connection that was open before we watched, from the memory of its object.
//!
//! OpenSSL keeps the secrets of TLS 1.3, and the transcript hashes that go into them, around the exporter secret. Which
//! is which is not assumed but proved: only the right master secret and the right hash give the stored exporter
//! secret. The traffic secrets are derived from the two, as those that are stored may belong to a later key.

use super::schedule::{Hash, Secret};
use crate::bpf::{Object, Window};

/// Label and secret of a line of a key log.
pub type Line = (&'static str, Vec<u8>);

/// Most places that are tried as a secret or as a hash: two dozen are usual.
const MOST_CANDIDATES: usize = 64;

/// Secrets and hashes are members of structs.
const ALIGNMENT: usize = 4;

/// A row of zeros so long is in no secret.
const ZEROS: [u8; 8] = [0; 8];

/// Bytes between one secret of OpenSSL and the next, `EVP_MAX_MD_SIZE`.
const SLOT: usize = 64;

/// Bytes of the shortest exporter secret.
const SHORTEST: usize = 32;

/// What the object proves; empty if that is nothing.
pub fn lines(object: &Object<'_>) -> Vec<Line> {
    if let Some(window) = &object.window {
        let proved = [Hash::Sha384, Hash::Sha256].into_iter().find_map(|hash| tls13(hash, window));
        if let Some(lines) = proved {
            return lines;
        }
        // The session of TLS 1.3 has a secret of the same length, which resumes it.
        if !is_before_tls13(window, object.established) {
            return Vec::new();
        }
    }
    let master = object.master.filter(|master| is_secret(*master));
    master.map(|master| ("CLIENT_RANDOM", master.to_vec())).into_iter().collect()
}

/// Nothing is where the exporter secret is in TLS 1.3. A session that is there before the handshake is complete may be
/// older than that secret; then nothing is where its neighbours are, either: the traffic secret of the server before it
/// and, if early data was sent before the handshake was complete, the early exporter secret behind it.
fn is_before_tls13(window: &Window<'_>, established: bool) -> bool {
    let exporter = window.exporter;
    let places = if established {
        exporter..exporter + SHORTEST
    } else {
        exporter.saturating_sub(SLOT)..exporter + 2 * SLOT
    };
    window.bytes.get(places).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

fn tls13(hash: Hash, window: &Window<'_>) -> Option<Vec<Line>> {
    let exporter = secret_at(window, window.exporter, hash)?;
    let candidates = candidates(window, hash);
    let (master_bytes, master, transcript) = candidates.iter().find_map(|candidate| {
        let master = Secret::new(hash, candidate)?;
        let transcript = candidates.iter().find(|hash| master.derive("exp master", hash) == exporter)?;
        Some((*candidate, master, *transcript))
    })?;
    let mut lines = handshake(hash, &candidates, master_bytes).unwrap_or_default();
    lines.push(("CLIENT_TRAFFIC_SECRET_0", master.derive("c ap traffic", transcript)));
    lines.push(("SERVER_TRAFFIC_SECRET_0", master.derive("s ap traffic", transcript)));
    lines.push(("EXPORTER_SECRET", exporter.to_vec()));
    Some(lines)
}

/// The handshake secret is the one that leads to the master secret; the hash is the one by which it leads to the key
/// of a Finished message.
fn handshake(hash: Hash, candidates: &[&[u8]], master: &[u8]) -> Option<Vec<Line>> {
    let mut secrets = candidates.iter().filter_map(|candidate| Secret::new(hash, candidate));
    let handshake = secrets.find(|secret| secret.master() == master)?;
    candidates.iter().find_map(|transcript| {
        let [client, server] =
            ["c hs traffic", "s hs traffic"].map(|label| handshake.derive(label, transcript));
        let is_proved = [&client, &server].into_iter().any(|traffic| {
            Secret::new(hash, traffic).is_some_and(|traffic| candidates.contains(&&*traffic.finished_key()))
        });
        is_proved.then(|| {
            vec![("CLIENT_HANDSHAKE_TRAFFIC_SECRET", client), ("SERVER_HANDSHAKE_TRAFFIC_SECRET", server)]
        })
    })
}

/// What may be a secret or a hash, the nearest to the exporter secret first.
fn candidates<'a>(window: &Window<'a>, hash: Hash) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> =
        (window.exporter % ALIGNMENT..window.bytes.len()).step_by(ALIGNMENT).collect();
    places.sort_by_key(|place| place.abs_diff(window.exporter));
    places.into_iter().filter_map(|place| secret_at(window, place, hash)).take(MOST_CANDIDATES).collect()
}

fn secret_at<'a>(window: &Window<'a>, place: usize, hash: Hash) -> Option<&'a [u8]> {
    window.bytes.get(place..place + hash.length()).filter(|bytes| is_secret(bytes))
}

fn is_secret(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, &ZEROS).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::schedule::rfc8448::*;
    use super::*;

    const RANDOM: [u8; 32] = [7; 32];

    /// Memory as OpenSSL 3 has it: slots of 64 bytes, the exporter secret at the end.
    fn memory(slots: &[&str]) -> (Vec<u8>, usize) {
        let mut memory: Vec<u8> = slots
            .iter()
            .flat_map(|digits| {
                let mut slot = bytes(digits);
                slot.resize(SLOT, 0);
                slot
            })
            .collect();
        let exporter = memory.len() - SLOT;
        memory.resize(exporter + 2 * SLOT, 0);
        (memory, exporter)
    }

    const SLOTS: [&str; 9] = [
        HANDSHAKE,
        MASTER,
        "",
        SERVER_FINISHED,
        FINISHED_HASH,
        HELLO_HASH,
        CLIENT_TRAFFIC,
        SERVER_TRAFFIC,
        EXPORTER,
    ];

    fn lines_of(slots: &[&str], master: Option<&[u8; 48]>) -> Vec<Line> {
        let (bytes, exporter) = memory(slots);
        let window = Some(Window { bytes: &bytes, exporter });
        lines(&Object { client_random: Some(&RANDOM), master, window, established: false })
    }

    fn expected(traffic: &[(&'static str, &str)]) -> Vec<Line> {
        traffic.iter().map(|(label, digits)| (*label, bytes(digits))).collect()
    }

    const TRAFFIC: [(&str, &str); 3] = [
        ("CLIENT_TRAFFIC_SECRET_0", CLIENT_TRAFFIC),
        ("SERVER_TRAFFIC_SECRET_0", SERVER_TRAFFIC),
        ("EXPORTER_SECRET", EXPORTER),
    ];

    const HANDSHAKES: [(&str, &str); 2] = [
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT_HANDSHAKE),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", SERVER_HANDSHAKE),
    ];

    #[test]
    fn everything_that_is_proved() {
        assert_eq!(lines_of(&SLOTS, Some(&[9; 48])), expected(&[&HANDSHAKES[..], &TRAFFIC].concat()));
    }

    #[test]
    fn traffic_secrets_of_a_later_key_are_not_taken() {
        let mut slots = SLOTS;
        (slots[6], slots[7]) = (SERVER_FINISHED, HANDSHAKE);
        assert_eq!(lines_of(&slots, None), expected(&[&HANDSHAKES[..], &TRAFFIC].concat()));
    }

    #[test]
    fn handshake_secrets_need_a_proof_of_their_own() {
        for missing in [0, 3, 5] {
            let mut slots = SLOTS;
            slots[missing] = "";
            assert_eq!(lines_of(&slots, None), expected(&TRAFFIC), "{missing}");
        }
    }

    #[test]
    fn without_a_proof_there_is_no_line() {
        for missing in [1, 4] {
            let mut slots = SLOTS;
            slots[missing] = "";
            assert_eq!(lines_of(&slots, Some(&[9; 48])), [], "{missing}");
        }
        let mut changed = SLOTS;
        let other = format!("00{}", &EXPORTER[2..]);
        changed[8] = &other;
        assert_eq!(lines_of(&changed, Some(&[9; 48])), []);
    }

    #[test]
    fn a_master_secret_counts_only_where_there_is_nothing_of_tls_1_3() {
        let line = [("CLIENT_RANDOM", vec![9; 48])];
        assert_eq!(lines_of(&["", "", ""], Some(&[9; 48])), line);
        assert_eq!(lines_of(&["", "", ""], Some(&[0; 48])), []);
        assert_eq!(lines_of(&["", SERVER_TRAFFIC, ""], Some(&[9; 48])), []);
        // Early data: only the early exporter secret is there.
        let (mut bytes, exporter) = memory(&["", "", ""]);
        bytes[exporter + SLOT..][..32].fill(5);
        let window = Some(Window { bytes: &bytes, exporter });
        assert_eq!(
            lines(&Object { client_random: None, master: Some(&[9; 48]), window, established: false }),
            []
        );
        // A library before TLS 1.3.
        assert_eq!(
            lines(&Object { client_random: None, master: Some(&[9; 48]), window: None, established: false }),
            line
        );
    }

    #[test]
    fn of_an_established_session_only_the_exporter_secret_tells() {
        let line = [("CLIENT_RANDOM", vec![9; 48])];
        // BoringSSL has other things around it, as pointers.
        for (slots, expected) in [(["", SERVER_TRAFFIC, ""], &line[..]), (["", "", EXPORTER], &[][..])] {
            let (mut bytes, exporter) = memory(&slots);
            bytes[exporter + SLOT..].fill(5);
            let window = Some(Window { bytes: &bytes, exporter });
            let object =
                Object { client_random: Some(&RANDOM), master: Some(&[9; 48]), window, established: true };
            assert_eq!(lines(&object), expected);
        }
    }

    #[test]
    fn a_window_of_noise_costs_little() {
        let noise: Vec<u8> =
            (0..1152u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
        let window = Window { bytes: &noise, exporter: 1024 };
        assert_eq!(candidates(&window, Hash::Sha384).len(), MOST_CANDIDATES);
        assert_eq!(
            lines(&Object { client_random: None, master: None, window: Some(window), established: false }),
            []
        );
    }
}
