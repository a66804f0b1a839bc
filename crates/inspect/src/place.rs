//! Where a value is when a probe is hit: plain data that a BPF program can follow.

use std::fmt;

use crate::hook::Arg;

/// Most pointers that are followed to reach a value.
pub const MOST_LOADS: usize = 3;

/// A way through memory from a starting value: each load reads the 8 bytes at the value plus an offset, and a last
/// offset is added. Without loads and with 0 it is the starting value itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    loads: [i32; MOST_LOADS],
    count: u8,
    add: i32,
}

impl Path {
    /// The starting value itself.
    pub const HERE: Self = Self { loads: [0; MOST_LOADS], count: 0, add: 0 };

    /// `None` for more than [`MOST_LOADS`] loads.
    pub fn new(loads: &[i32], add: i32) -> Option<Self> {
        let mut path = Self { add, count: loads.len() as u8, ..Self::HERE };
        path.loads.get_mut(..loads.len())?.copy_from_slice(loads);
        Some(path)
    }

    /// The starting value plus an offset.
    pub const fn plus(add: i32) -> Self {
        Self { add, ..Self::HERE }
    }

    /// Offsets at which pointers are loaded, in order.
    pub fn loads(&self) -> &[i32] {
        self.loads.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// What is added at the end.
    pub fn add(&self) -> i32 {
        self.add
    }

    /// In the notation of C, from a starting value of that name: `*(object+0x30)+0x30`.
    pub fn from(&self, start: &str) -> String {
        let plus = |value: String, offset: i32| match offset {
            0 => value,
            1.. => format!("{value}+{offset:#x}"),
            _ => format!("{value}-{:#x}", offset.unsigned_abs()),
        };
        let loaded =
            self.loads().iter().fold(start.to_owned(), |value, &at| format!("*({})", plus(value, at)));
        plus(loaded, self.add)
    }
}

/// What a way begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// An argument of the function, at its entry.
    Arg(Arg),
    /// A general-purpose register, by its number in the instruction encoding; 31 on aarch64 is the stack pointer.
    Register(u8),
    /// Nothing: the value is this number.
    Constant(u32),
    /// The start of the thread's own data: `fs` on x86_64.
    ThreadPointer,
}

/// A value, found from the registers at a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where to begin.
    pub base: Base,
    /// The way from there.
    pub path: Path,
}

impl Place {
    /// An argument itself.
    pub const fn arg(number: u8) -> Self {
        Self { base: Base::Arg(Arg(number)), path: Path::HERE }
    }

    /// A register itself.
    pub const fn register(number: u8) -> Self {
        Self { base: Base::Register(number), path: Path::HERE }
    }

    /// A fixed number.
    pub const fn constant(value: u32) -> Self {
        Self { base: Base::Constant(value), path: Path::HERE }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = match self.base {
            Base::Arg(arg) => format!("arg{}", arg.0),
            Base::Register(number) => format!("r{number}"),
            Base::Constant(value) => value.to_string(),
            Base::ThreadPointer => "thread".to_owned(),
        };
        out.write_str(&self.path.from(&start))
    }
}

/// Where a call that hands over a TLS secret has its values. A place of bytes gives their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Address of the connection object; `None` where it is not at hand.
    pub object: Option<Place>,
    /// What the secret is for.
    pub label: Label,
    /// The 32 bytes of the ClientHello's random.
    pub client_random: Place,
    /// The secret's bytes.
    pub secret: Place,
    /// How many.
    pub length: Place,
}

impl Secret {
    /// All places that are read when the probe is hit.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let label = match self.label {
            Label::Text(at) | Label::KeyExpansion(at) => [Some(at), None],
            Label::Sized(at, length) => [Some(at), Some(length)],
            Label::Fixed(_) => [None, None],
        };
        let values = [self.object, Some(self.client_random), Some(self.secret), Some(self.length)];
        label.into_iter().chain(values).flatten()
    }
}

/// The name of a secret in an NSS key log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A C string.
    Text(Place),
    /// Bytes and their number.
    Sized(Place, Place),
    /// Known beforehand.
    Fixed(&'static str),
    /// `CLIENT_RANDOM`, of a function that computes other things as well: the C string, its label of the PRF, has to be
    /// `key expansion` (RFC 5246, section 6.3).
    KeyExpansion(Place),
}

/// Where a call that begins to compute a secret of TLS 1.3 has its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// Address of the connection object.
    pub object: Place,
    /// The end of its label of the key schedule (RFC 8446, section 7.1), a C string.
    pub label: Place,
    /// The 32 bytes of the ClientHello's random.
    pub client_random: Place,
}

impl Derivation {
    /// All places that are read when the probe is hit.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        [self.object, self.label, self.client_random].into_iter()
    }
}

/// Where a live connection object has its keys, from its address on: for connections whose handshake was not seen,
/// and libraries that hand no secrets over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectKeys {
    /// Address of the 32 bytes of the ClientHello's random.
    pub client_random: Path,
    /// TLS 1.2 and earlier; `None` if it could not be told.
    pub master: Option<MasterSecret>,
    /// TLS 1.3: where EXPORTER_SECRET is stored. The other secrets are found around it by proof: they are computed
    /// from one another, and only right ones give this one.
    pub exporter: Option<Path>,
}

/// The master secret of the object's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterSecret {
    /// Address of its 48 bytes.
    pub secret: Path,
    /// Address of its length; 0 before the handshake.
    pub length: Path,
    /// Bytes that the length itself has: 8, 4 in OpenSSL before 1.1.1, 1 or 4 in BoringSSL.
    pub width: u8,
    /// The object has no session before its handshake is complete: BoringSSL.
    pub established: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shown_in_the_notation_of_c() {
        let path = Path::new(&[0x30, -8], 0x10).unwrap();
        assert_eq!(path.from("object"), "*(*(object+0x30)-0x8)+0x10");
        assert_eq!(Place { base: Base::Arg(Arg(2)), path }.to_string(), "*(*(arg2+0x30)-0x8)+0x10");
        assert_eq!(Place::arg(1).to_string(), "arg1");
        assert_eq!(Place::constant(32).to_string(), "32");
    }

    #[test]
    fn a_path_has_few_loads() {
        assert_eq!(Path::new(&[1, 2, 3], 4).unwrap().loads(), [1, 2, 3]);
        assert_eq!(Path::new(&[1, 2, 3, 4], 5), None);
    }
}
