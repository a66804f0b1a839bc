//! TLS secrets to lines of a key log: each is checked, and none is written twice.

mod live;
mod recent;
mod schedule;

use super::FilteredSinks;
use crate::bpf::{Object, Secret};
use crate::record;
use recent::{Recent, Seen};

/// Checks secrets and passes them on.
#[derive(Default)]
pub struct Keys {
    recent: Recent,
    /// Lines that were written.
    pub lines: u64,
    /// Secrets that can not be right.
    pub refused: u64,
}

impl Keys {
    /// Takes what a library hands over; whether it is a secret.
    pub fn take(&mut self, secret: &Secret<'_>, sinks: &mut FilteredSinks) -> bool {
        let label = if secret.computed.is_empty() {
            secret.label
        } else {
            let Some((name, _)) = COMPUTED.iter().find(|(_, by)| by.as_bytes() == secret.computed) else {
                return false; // no key log has it
            };
            name.as_bytes()
        };
        let bytes =
            secret.secret.filter(|_| secret.computed.is_empty() || secret.computed.ends_with(secret.label));
        let line = bytes.and_then(|bytes| check(label, secret.client_random, bytes));
        match line {
            Some(line) => self.write(&line, sinks),
            None => {
                self.refused += 1;
                false
            }
        }
    }

    /// Takes what the object of an open connection holds; whether that has its secrets.
    pub fn take_object(&mut self, object: &Object<'_>, sinks: &mut FilteredSinks) -> bool {
        let Some(client_random) = object.client_random else { return false };
        // It may have been seen where no object was at hand.
        let mut any = self.recent.has_master(client_random);
        for (label, bytes) in live::lines(object) {
            let line = check(label.as_bytes(), client_random, &bytes);
            any |= line.is_some_and(|line| self.write(&line, sinks));
        }
        any
    }

    /// A connection has one secret of a name: another one is wrong, or the first was.
    fn write(&mut self, line: &record::Secret<'_>, sinks: &mut FilteredSinks) -> bool {
        match self.recent.add(line) {
            Seen::Never => {
                self.lines += 1;
                sinks.write_secret(line);
                true
            }
            Seen::Same => true,
            Seen::Other => {
                self.refused += 1;
                false
            }
        }
    }
}

/// Names of secrets in a key log, and the labels by which they are computed: RFC 8446, section 7.1.
const COMPUTED: [(&str, &str); 7] = [
    ("CLIENT_EARLY_TRAFFIC_SECRET", "c e traffic"),
    ("EARLY_EXPORTER_SECRET", "e exp master"),
    ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "c hs traffic"),
    ("SERVER_HANDSHAKE_TRAFFIC_SECRET", "s hs traffic"),
    ("CLIENT_TRAFFIC_SECRET_0", "c ap traffic"),
    ("SERVER_TRAFFIC_SECRET_0", "s ap traffic"),
    ("EXPORTER_SECRET", "exp master"),
];

/// Refuses what can not be a line of a key log.
fn check<'a>(label: &'a [u8], client_random: &'a [u8; 32], secret: &'a [u8]) -> Option<record::Secret<'a>> {
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let label = std::str::from_utf8(label).ok()?;
    let lengths: &[usize] = match label {
        "CLIENT_RANDOM" => &[48], // RFC 5246, section 8.1
        _ => &[32, 48],           // every hash of TLS 1.3
    };
    let is_sound = !label.is_empty()
        && label.len() <= LONGEST_LABEL
        && label.bytes().all(|byte| is_label(&byte))
        && lengths.contains(&secret.len())
        && !is_zero(secret)
        && !is_zero(client_random);
    is_sound.then_some(record::Secret { label, client_random, secret })
}

/// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`, and some room.
const LONGEST_LABEL: usize = 39;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::sinks::Sinks;

    const RANDOM: &[u8; 32] = &[1; 32];

    fn take(keys: &mut Keys, label: &str, client_random: &[u8; 32], secret: Option<&[u8]>) -> bool {
        let mut sinks = FilteredSinks::new(Sinks::new(Vec::new(), || {}), Filter::default());
        keys.take(&Secret { label: label.as_bytes(), client_random, secret, computed: b"" }, &mut sinks)
    }

    #[test]
    fn secrets_are_named_by_what_they_were_computed_of() {
        let mut sinks = FilteredSinks::new(Sinks::new(Vec::new(), || {}), Filter::default());
        let mut keys = Keys::default();
        let cases = [
            ("exp master", "exp master", (1, 0)),
            ("hs traffic", "c hs traffic", (2, 0)),
            ("res master", "res master", (2, 0)),
            ("hs traffic", "s ap traffic", (2, 1)),
        ];
        for (label, computed, expected) in cases {
            let (label, computed) = (label.as_bytes(), computed.as_bytes());
            let secret = Secret { label, client_random: RANDOM, secret: Some(&[2; 32]), computed };
            keys.take(&secret, &mut sinks);
            assert_eq!((keys.lines, keys.refused), expected);
        }
    }

    #[test]
    fn an_object_whose_master_secret_was_seen_has_its_keys() {
        let mut sinks = FilteredSinks::new(Sinks::new(Vec::new(), || {}), Filter::default());
        let mut keys = Keys::default();
        let object = Object { client_random: Some(RANDOM), master: None, window: None, established: false };
        assert!(!keys.take_object(&object, &mut sinks));
        assert!(take(&mut keys, "CLIENT_RANDOM", RANDOM, Some(&[2; 48])));
        assert!(keys.take_object(&object, &mut sinks));
    }

    #[test]
    fn well_formed_secrets_are_lines() {
        let cases: [(&str, &[u8]); 3] = [
            ("CLIENT_RANDOM", &[2; 48]),
            ("EXPORTER_SECRET", &[2; 32]),
            ("SERVER_TRAFFIC_SECRET_12", &[2; 48]),
        ];
        for (label, secret) in cases {
            let mut keys = Keys::default();
            assert!(take(&mut keys, label, RANDOM, Some(secret)), "{label}");
            assert_eq!((keys.lines, keys.refused), (1, 0), "{label}");
        }
    }

    #[test]
    fn others_are_refused() {
        let cases: [(&str, &[u8]); 8] = [
            ("CLIENT_RANDOM", &[2; 32]),
            ("EXPORTER_SECRET", &[2; 64]),
            ("EXPORTER_SECRET", &[2; 31]),
            ("EXPORTER_SECRET", &[0; 32]),
            ("EXPORTER_SECRET", &[]),
            ("", &[2; 32]),
            ("Exporter", &[2; 32]),
            ("EXPORTER SECRET\n", &[2; 32]),
        ];
        let mut keys = Keys::default();
        for (label, secret) in cases {
            assert!(!take(&mut keys, label, RANDOM, Some(secret)), "{label} {secret:?}");
        }
        assert!(!take(&mut keys, "EXPORTER_SECRET", RANDOM, None), "longer than any");
        assert!(!take(&mut keys, "EXPORTER_SECRET", &[0; 32], Some(&[2; 32])), "no client random");
        assert_eq!((keys.lines, keys.refused), (0, cases.len() as u64 + 2));
    }

    #[test]
    fn a_secret_is_written_once_and_never_contradicted() {
        let mut keys = Keys::default();
        for (secret, expected) in [([2; 32], true), ([2; 32], true), ([3; 32], false)] {
            assert_eq!(take(&mut keys, "EXPORTER_SECRET", RANDOM, Some(&secret)), expected);
        }
        assert_eq!((keys.lines, keys.refused), (1, 1));
        assert!(take(&mut keys, "EXPORTER_SECRET", &[5; 32], Some(&[3; 32])));
        assert!(take(&mut keys, "EARLY_EXPORTER_SECRET", RANDOM, Some(&[3; 32])));
        assert_eq!((keys.lines, keys.refused), (3, 1));
    }
}
