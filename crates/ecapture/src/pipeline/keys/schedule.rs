//! The key schedule of TLS 1.3, RFC 8446 section 7.1.

use hkdf::Hkdf;
use sha2::{Digest, Sha256, Sha384};

/// The hash of a cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// `TLS_*_SHA256`.
    Sha256,
    /// `TLS_*_SHA384`.
    Sha384,
}

/// A secret from which others are derived.
pub enum Secret {
    /// See [`Hash`].
    Sha256(Hkdf<Sha256>),
    /// See [`Hash`].
    Sha384(Hkdf<Sha384>),
}

impl Hash {
    /// Bytes of a hash, and of every secret.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// The hash of no bytes.
    fn of_nothing(self) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest([]).to_vec(),
            Self::Sha384 => Sha384::digest([]).to_vec(),
        }
    }

    /// `HKDF-Extract(salt, 0)`.
    fn extract_nothing(self, salt: &[u8]) -> Vec<u8> {
        let zeros = &[0; 48][..self.length()];
        match self {
            Self::Sha256 => Hkdf::<Sha256>::extract(Some(salt), zeros).0.to_vec(),
            Self::Sha384 => Hkdf::<Sha384>::extract(Some(salt), zeros).0.to_vec(),
        }
    }
}

impl Secret {
    /// `None` if it is shorter than a hash.
    pub fn new(hash: Hash, bytes: &[u8]) -> Option<Self> {
        match hash {
            Hash::Sha256 => Hkdf::from_prk(bytes).ok().map(Self::Sha256),
            Hash::Sha384 => Hkdf::from_prk(bytes).ok().map(Self::Sha384),
        }
    }

    /// Its hash.
    fn hash(&self) -> Hash {
        match self {
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha384(_) => Hash::Sha384,
        }
    }

    /// `Derive-Secret(secret, label, messages)`, where `transcript` is the hash of the messages.
    pub fn derive(&self, label: &str, transcript: &[u8]) -> Vec<u8> {
        self.expand(label, transcript)
    }

    /// The key of the Finished message that is made from a handshake traffic secret (section 4.4.4).
    pub fn finished_key(&self) -> Vec<u8> {
        self.expand("finished", &[])
    }

    /// The master secret that follows this handshake secret.
    pub fn master(&self) -> Vec<u8> {
        let hash = self.hash();
        hash.extract_nothing(&self.derive("derived", &hash.of_nothing()))
    }

    /// `HKDF-Expand-Label(secret, label, context, Hash.length)`.
    fn expand(&self, label: &str, context: &[u8]) -> Vec<u8> {
        let length = self.hash().length();
        let label_length = [6 + label.len() as u8];
        let info: [&[u8]; 6] = [
            &(length as u16).to_be_bytes(),
            &label_length,
            b"tls13 ",
            label.as_bytes(),
            &[context.len() as u8],
            context,
        ];
        let mut out = vec![0; length];
        let expanded = match self {
            Self::Sha256(secret) => secret.expand_multi_info(&info, &mut out),
            Self::Sha384(secret) => secret.expand_multi_info(&info, &mut out),
        };
        // Only refused for more than 255 hashes.
        debug_assert!(expanded.is_ok());
        out
    }
}

#[cfg(test)]
pub mod rfc8448 {
    //! "Simple 1-RTT Handshake", section 3 of RFC 8448; TLS_AES_128_GCM_SHA256.

    /// Hexadecimal digits to bytes.
    pub fn bytes(digits: &str) -> Vec<u8> {
        let nibbles: Vec<u8> = digits.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect();
        nibbles.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    }

    pub const HANDSHAKE: &str = "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac";
    pub const HELLO_HASH: &str = "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8";
    pub const CLIENT_HANDSHAKE: &str = "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21";
    pub const SERVER_HANDSHAKE: &str = "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38";
    pub const SERVER_FINISHED: &str = "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8";
    pub const MASTER: &str = "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919";
    pub const FINISHED_HASH: &str = "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13";
    pub const CLIENT_TRAFFIC: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
    pub const SERVER_TRAFFIC: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
    pub const EXPORTER: &str = "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50";
}

#[cfg(test)]
mod tests {
    use super::rfc8448::*;
    use super::*;

    fn secret(digits: &str) -> Secret {
        Secret::new(Hash::Sha256, &bytes(digits)).expect("long enough")
    }

    #[test]
    fn the_example_of_rfc_8448() {
        let handshake = secret(HANDSHAKE);
        assert_eq!(handshake.derive("c hs traffic", &bytes(HELLO_HASH)), bytes(CLIENT_HANDSHAKE));
        assert_eq!(handshake.derive("s hs traffic", &bytes(HELLO_HASH)), bytes(SERVER_HANDSHAKE));
        assert_eq!(handshake.master(), bytes(MASTER));
        assert_eq!(secret(SERVER_HANDSHAKE).finished_key(), bytes(SERVER_FINISHED));
        let master = secret(MASTER);
        assert_eq!(master.derive("c ap traffic", &bytes(FINISHED_HASH)), bytes(CLIENT_TRAFFIC));
        assert_eq!(master.derive("s ap traffic", &bytes(FINISHED_HASH)), bytes(SERVER_TRAFFIC));
        assert_eq!(master.derive("exp master", &bytes(FINISHED_HASH)), bytes(EXPORTER));
    }
}
