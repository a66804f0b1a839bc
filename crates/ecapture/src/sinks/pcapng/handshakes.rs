//! Connections whose secrets are still to come. Only their packets, and those behind them, have to wait.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::record::{Flow, Secret};

/// How long after its ClientHello a connection is given up: its program is not watched.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that are waited for; the oldest is given up then.
const MOST: usize = 16384;

/// Bytes of a packet in which a ClientHello is looked for: it begins a segment, perhaps in a tunnel.
const HEAD: usize = 512;

/// By packets: where they go, or that this is not known.
type Place = Option<Flow>;

/// The random of a ClientHello, by which secrets name their connection.
type Random = [u8; 32];

/// Open handshakes. Hashed with a random key: peers choose what is in packets.
#[derive(Default)]
pub struct Handshakes {
    open: HashMap<Place, Handshake>,
    places: HashMap<Random, Place>,
    /// In the order of their begin.
    begun: VecDeque<(Instant, Place)>,
}

struct Handshake {
    random: Random,
    since: Instant,
    has_client_secret: bool,
    has_server_secret: bool,
}

impl Handshakes {
    /// Takes note of a packet; answers whether secrets may be missing for it.
    pub fn concern(&mut self, place: Place, bytes: &[u8], now: Instant) -> bool {
        self.give_up(now);
        if let Some(random) = client_random(bytes) {
            self.close(place);
            let handshake =
                Handshake { random, since: now, has_client_secret: false, has_server_secret: false };
            self.open.insert(place, handshake);
            self.places.insert(random, place);
            self.begun.push_back((now, place));
        }
        self.is_open(place)
    }

    /// Whether secrets of a connection are missing.
    pub fn is_open(&self, place: Place) -> bool {
        self.open.contains_key(&place)
    }

    /// Takes note of a secret.
    pub fn take(&mut self, secret: &Secret<'_>) {
        let Some(place) = self.places.get(secret.client_random).copied() else { return };
        let Some(handshake) = self.open.get_mut(&place) else { return };
        match secret.label {
            "CLIENT_RANDOM" => (handshake.has_client_secret, handshake.has_server_secret) = (true, true),
            "CLIENT_TRAFFIC_SECRET_0" => handshake.has_client_secret = true,
            "SERVER_TRAFFIC_SECRET_0" => handshake.has_server_secret = true,
            _ => {}
        }
        if handshake.has_client_secret && handshake.has_server_secret {
            self.close(place);
        }
    }

    fn close(&mut self, place: Place) {
        if let Some(handshake) = self.open.remove(&place) {
            self.places.remove(&handshake.random);
        }
    }

    fn give_up(&mut self, now: Instant) {
        while let Some((since, place)) = self
            .begun
            .pop_front_if(|(since, _)| now - *since > PATIENCE)
            .or_else(|| self.oldest_of_too_many())
        {
            if self.open.get(&place).is_some_and(|handshake| handshake.since == since) {
                self.close(place);
            }
        }
    }

    fn oldest_of_too_many(&mut self) -> Option<(Instant, Place)> {
        if self.begun.len() > MOST { self.begun.pop_front() } else { None }
    }
}

/// That of a ClientHello in a TLS record: RFC 8446, sections 4.1.2 and 5.1.
fn client_random(bytes: &[u8]) -> Option<Random> {
    let head = &bytes[..bytes.len().min(HEAD)];
    memmem::find_iter(head, &[22, 3]).find_map(|at| match *bytes.get(at..)?.first_chunk::<43>()? {
        // Record, its minor version and length; ClientHello, its length; TLS 1.2, as 1.3 says, too; the random.
        [_, _, 0..=4, _, _, 1, 0, _, _, 3, 1..=3, ref random @ ..] => Some(*random),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(random: u8) -> Vec<u8> {
        let mut packet = vec![0; 66];
        packet.extend([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
        packet.extend([random; 32]);
        packet
    }

    fn place(port: u16) -> Place {
        Some(Flow::new(6, ([10, 0, 0, 1], 443).into(), ([10, 0, 0, 2], port).into()))
    }

    fn take(handshakes: &mut Handshakes, label: &str, random: u8) {
        handshakes.take(&Secret { label, client_random: &[random; 32], secret: &[0; 32] });
    }

    #[test]
    fn packets_wait_until_both_directions_can_be_decrypted() {
        let (mut handshakes, now) = (Handshakes::default(), Instant::now());
        assert!(!handshakes.concern(place(1), b"nothing", now));
        assert!(handshakes.concern(place(1), &hello(1), now));
        assert!(handshakes.concern(place(1), b"what follows", now));
        assert!(!handshakes.concern(place(2), b"another connection", now));
        for (label, is_open) in [
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", true),
            ("SERVER_TRAFFIC_SECRET_0", true),
            ("CLIENT_TRAFFIC_SECRET_0", false),
        ] {
            take(&mut handshakes, label, 2);
            assert!(handshakes.is_open(place(1)), "of another connection");
            take(&mut handshakes, label, 1);
            assert_eq!(handshakes.is_open(place(1)), is_open, "{label}");
            take(&mut handshakes, label, 2);
        }
        handshakes.concern(place(1), &hello(3), now);
        take(&mut handshakes, "CLIENT_RANDOM", 3);
        assert!(!handshakes.is_open(place(1)));
    }

    #[test]
    fn programs_that_are_not_watched_are_given_up() {
        let (mut handshakes, now) = (Handshakes::default(), Instant::now());
        assert!(handshakes.concern(place(1), &hello(1), now));
        assert!(handshakes.concern(place(1), b"data", now + PATIENCE));
        assert!(!handshakes.concern(place(1), b"data", now + 2 * PATIENCE));
        for port in 0..=MOST as u16 + 9 {
            handshakes.concern(place(port), &hello(1), now);
        }
        assert!(handshakes.open.len() <= MOST + 1 && handshakes.begun.len() <= MOST + 1);
    }

    #[test]
    fn a_cut_hello_is_none() {
        let packet = hello(7);
        assert_eq!(client_random(&packet), Some([7; 32]));
        for length in 0..packet.len() {
            assert_eq!(client_random(&packet[..length]), None, "{length}");
        }
    }
}
