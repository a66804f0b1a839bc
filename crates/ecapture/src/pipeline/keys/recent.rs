//! Which secrets were seen lately, in bounded memory.

use std::collections::HashMap;
use std::mem;

use crate::record::Secret;

/// Secrets of one generation; at least as many are remembered: 6,500 connections of TLS 1.3.
const GENERATION: usize = 1 << 15;

/// The secrets of two generations. Hashed with a random key: peers choose what is looked up.
#[derive(Default)]
pub struct Recent {
    young: HashMap<Name, Box<[u8]>>,
    old: HashMap<Name, Box<[u8]>>,
}

/// Label, client random, and the secret itself where a connection may have many of one label.
type Name = (Box<str>, [u8; 32], Box<[u8]>);

/// OpenSSL's labels of the secrets after each KeyUpdate end with this letter, not with a number.
const UPDATED: &str = "_TRAFFIC_SECRET_N";

/// Whether a secret was seen before.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not lately.
    Never,
    /// The same.
    Same,
    /// Another one of that name.
    Other,
}

impl Recent {
    /// Remembers a secret, unless one of that name is known.
    pub fn add(&mut self, secret: &Secret<'_>) -> Seen {
        let among_many = if secret.label.ends_with(UPDATED) { secret.secret } else { &[] };
        let name: Name = (secret.label.into(), *secret.client_random, among_many.into());
        if let Some(known) = self.young.get(&name).or_else(|| self.old.get(&name)) {
            return if **known == *secret.secret { Seen::Same } else { Seen::Other };
        }
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name, secret.secret.into());
        Seen::Never
    }

    /// Whether the master secret of a connection was added.
    pub fn has_master(&self, client_random: &[u8; 32]) -> bool {
        let name: Name = ("CLIENT_RANDOM".into(), *client_random, [].into());
        self.young.contains_key(&name) || self.old.contains_key(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_updated_secrets_change() {
        let mut recent = Recent::default();
        let mut add = |label, secret| recent.add(&Secret { label, client_random: &[1; 32], secret });
        assert_eq!(add("CLIENT_TRAFFIC_SECRET_0", &[1; 32]), Seen::Never);
        assert_eq!(add("CLIENT_TRAFFIC_SECRET_0", &[2; 32]), Seen::Other);
        assert_eq!(add("CLIENT_TRAFFIC_SECRET_N", &[2; 32]), Seen::Never);
        assert_eq!(add("CLIENT_TRAFFIC_SECRET_N", &[3; 32]), Seen::Never);
        assert_eq!(add("CLIENT_TRAFFIC_SECRET_N", &[2; 32]), Seen::Same);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..3 * GENERATION {
            let mut client_random = [0; 32];
            client_random[..8].copy_from_slice(&number.to_ne_bytes());
            let secret = Secret { label: "EXPORTER_SECRET", client_random: &client_random, secret: &[1; 32] };
            assert_eq!(recent.add(&secret), Seen::Never);
            assert_eq!(recent.add(&secret), Seen::Same);
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
    }
}
