//! Tables of descriptions that the programs follow: where functions and objects have TLS secrets. `event.h` has
//! the C side.

use std::borrow::Cow;

use anyhow::{Result, bail};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use serde::{Deserialize, Serialize};

/// Most pointers on the way to a value.
const MOST_LOADS: usize = 3;

/// What a chain begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// An argument of the function, 1-based; those on the stack as well.
    Argument(u8),
    /// A general-purpose register, by its number in the instruction encoding.
    Register(u8),
    /// Nothing: the value is this number, without loads.
    Number(u32),
    /// The address of the object.
    Object,
    /// The value that the function returns; at its return.
    Returned,
    /// The address of the probed instruction, when the function is called.
    Probe,
    /// What a hook of this thread kept in that slot.
    Kept(u8),
    /// The start of the thread's own data.
    ThreadPointer,
}

/// A way to a value: each load reads the 8 bytes at the value plus an offset; `add` is added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Where to begin.
    pub start: Start,
    /// Offsets of the loads, at most three.
    pub loads: Vec<i32>,
    /// Added at the end.
    pub add: i32,
}

/// Where a function that hands over secrets has them, at the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretHook {
    /// The TLS object; `None` where it is not at hand.
    pub object: Option<Chain>,
    /// What the secret is called.
    pub label: Label,
    /// Address of the ClientHello's random.
    pub client_random: Chain,
    /// Address of the secret.
    pub secret: Chain,
    /// Its length.
    pub length: Chain,
}

/// The name of a secret in a key log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    /// Address of a C string.
    Text(Chain),
    /// Address of bytes, and their number.
    Sized(Chain, Chain),
    /// Known beforehand.
    Fixed(Cow<'static, str>),
    /// `CLIENT_RANDOM`, if the C string at the address is `key expansion`.
    KeyExpansion(Chain),
}

/// Where an object has its keys, by chains from [`Start::Object`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectKeys {
    /// Address of the ClientHello's random.
    pub client_random: Chain,
    /// The master secret of TLS 1.2 and earlier.
    pub master: Option<MasterSecret>,
    /// Address of the exporter secret of TLS 1.3.
    pub exporter: Option<Chain>,
}

/// Where the session of an object has the master secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterSecret {
    /// Its address.
    pub secret: Chain,
    /// Address of its length.
    pub length: Chain,
    /// Bytes that the length has.
    pub width: u8,
    /// There is no session before the handshake is complete.
    pub established: bool,
}

/// Which word of `struct pt_regs` has a general-purpose register, by its number in the instruction encoding.
#[cfg(target_arch = "x86_64")]
fn word_of(register: u8) -> Option<u8> {
    const WORDS: [u8; 16] = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];
    WORDS.get(usize::from(register)).copied()
}

#[cfg(target_arch = "aarch64")]
fn word_of(register: u8) -> Option<u8> {
    (register < 32).then_some(register) // x0 to x30, then sp
}

/// The registers that hold the first arguments.
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: [u8; 6] = [7, 6, 2, 1, 8, 9];
#[cfg(target_arch = "aarch64")]
const ARGUMENTS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The stack pointer's register, and where the first argument on the stack is: on x86 behind the return address.
#[cfg(target_arch = "x86_64")]
const STACK: u8 = 4;
#[cfg(target_arch = "x86_64")]
const FIRST_ON_STACK: i32 = 8;
#[cfg(target_arch = "aarch64")]
const STACK: u8 = 31;
#[cfg(target_arch = "aarch64")]
const FIRST_ON_STACK: i32 = 0;

/// The register that holds what a function returns.
const RESULT: u8 = 0;

/// Which word of `struct pt_regs` has the program counter.
#[cfg(target_arch = "x86_64")]
const PROGRAM_COUNTER: u8 = 16;
#[cfg(target_arch = "aarch64")]
const PROGRAM_COUNTER: u8 = 32;

impl Start {
    /// Offset in `struct pt_regs`, bytes; less than 0 for what is not in a register.
    fn base(self) -> Option<i32> {
        let register = match self {
            Self::Argument(number) => *ARGUMENTS.get(usize::from(number).checked_sub(1)?)?,
            Self::Register(number) => number,
            Self::Returned => RESULT,
            Self::Probe => return Some(i32::from(PROGRAM_COUNTER) * 8),
            Self::Number(_) | Self::Object => return Some(-1),
            Self::ThreadPointer => return Some(-2), // CHAIN_THREAD
            Self::Kept(slot) => return Some(-3 - i32::from(slot)), // KEPT
        };
        Some(i32::from(word_of(register)?) * 8)
    }
}

impl Chain {
    /// Bytes of `struct chain`.
    pub(super) const LEN: usize = 24;

    /// `None` for what the programs can not follow.
    pub(super) fn to_bytes(&self) -> Option<[u8; Self::LEN]> {
        if let Some(on_stack) = self.on_stack() {
            return on_stack.to_bytes();
        }
        let mut load = [0; MOST_LOADS];
        load.get_mut(..self.loads.len())?.copy_from_slice(&self.loads);
        let add = match self.start {
            Start::Number(number) => i32::try_from(number).ok()?,
            _ => self.add,
        };
        let words = [self.start.base()?, self.loads.len() as i32, load[0], load[1], load[2], add];
        let mut bytes = [0; Self::LEN];
        for (field, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *field = word.to_ne_bytes();
        }
        Some(bytes)
    }
}

impl Chain {
    /// The same for an argument on the stack; `None` for everything else.
    fn on_stack(&self) -> Option<Self> {
        let Start::Argument(number) = self.start else { return None };
        let index = i32::from(number).checked_sub(ARGUMENTS.len() as i32 + 1).filter(|index| *index >= 0)?;
        let loads = [&[FIRST_ON_STACK + 8 * index][..], &self.loads].concat();
        Some(Self { start: Start::Register(STACK), loads, add: self.add })
    }
}

/// A chain, or what stands for none: the number 0.
fn bytes_of(chain: Option<&Chain>) -> Option<[u8; Chain::LEN]> {
    chain.map_or_else(
        || Chain { start: Start::Number(0), loads: Vec::new(), add: 0 }.to_bytes(),
        Chain::to_bytes,
    )
}

/// A description as the programs read it.
pub(super) trait Described {
    /// Name of the table.
    const TABLE: &'static str;

    /// The entry; `None` for what the programs can not follow.
    fn to_bytes(&self) -> Option<Vec<u8>>;
}

impl SecretHook {
    /// Bytes of `struct secret_hook`.
    pub(super) const LEN: usize = 6 * Chain::LEN + 4 + LABEL_LEN;
}

const LABEL_LEN: usize = 40;

impl Described for SecretHook {
    const TABLE: &'static str = "secret_hooks";

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut fixed = [0; LABEL_LEN];
        let (kind, label, length) = match &self.label {
            Label::Text(at) => (0u32, Some(at), None),
            Label::Sized(at, length) => (1, Some(at), Some(length)),
            Label::Fixed(text) => {
                fixed.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
                (2, None, None)
            }
            Label::KeyExpansion(at) => (3, Some(at), None),
        };
        let chains = [
            self.object.as_ref(),
            label,
            length,
            Some(&self.client_random),
            Some(&self.secret),
            Some(&self.length),
        ];
        let mut bytes = Vec::with_capacity(Self::LEN);
        for chain in chains {
            bytes.extend(bytes_of(chain)?);
        }
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(fixed);
        Some(bytes)
    }
}

impl ObjectKeys {
    /// Bytes of `struct object_keys`.
    pub(super) const LEN: usize = 4 * Chain::LEN + 8;
}

impl Described for ObjectKeys {
    const TABLE: &'static str = "object_keys";

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let master = self.master.as_ref();
        let (secret, length) = master.map(|master| (&master.secret, &master.length)).unzip();
        let mut bytes = Vec::with_capacity(Self::LEN);
        for chain in [Some(&self.client_random), secret, length, self.exporter.as_ref()] {
            bytes.extend(bytes_of(chain)?);
        }
        bytes.extend(master.map_or(0, |master| u32::from(master.width)).to_ne_bytes());
        // READ_RANDOM, READ_MASTER, READ_WINDOW, ESTABLISHED
        let established = master.is_some_and(|master| master.established);
        let has = [true, master.is_some(), self.exporter.is_some(), established];
        let has = has.into_iter().enumerate().map(|(bit, has)| u32::from(has) << bit).sum::<u32>();
        bytes.extend(has.to_ne_bytes());
        Some(bytes)
    }
}

/// Where a function of Go that moves plaintext has its values: the result at its returns, all else at its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoHook {
    /// The process sends; else it receives.
    pub sent: bool,
    /// The TLS object.
    pub object: Chain,
    /// Address of the bytes.
    pub buffer: Chain,
    /// How many the program has, or has room for.
    pub length: Chain,
    /// How many were moved.
    pub result: Chain,
    /// The goroutine, at both.
    pub goroutine: Chain,
    /// Distances from the probed entry to the `Read` methods of types of sockets; 0: none.
    pub sockets: [u64; 2],
}

impl GoHook {
    /// Bytes of `struct go_hook`.
    pub(super) const LEN: usize = 5 * Chain::LEN + 24;
}

impl Described for GoHook {
    const TABLE: &'static str = "go_hooks";

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        for chain in [&self.object, &self.buffer, &self.length, &self.result, &self.goroutine] {
            bytes.extend(chain.to_bytes()?);
        }
        bytes.extend(self.sockets.iter().flat_map(|distance| distance.to_ne_bytes()));
        bytes.extend(u32::from(self.sent).to_ne_bytes());
        bytes.extend([0; 4]);
        Some(bytes)
    }
}

/// Where a function that gets decrypted bytes has them, at its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenHook {
    /// The TLS object.
    pub object: Chain,
    /// Address of the bytes.
    pub buffer: Chain,
    /// How many.
    pub length: Chain,
}

impl TakenHook {
    /// Bytes of `struct taken_hook`.
    pub(super) const LEN: usize = 3 * Chain::LEN;
}

impl Described for TakenHook {
    const TABLE: &'static str = "taken_hooks";

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        for chain in [&self.object, &self.buffer, &self.length] {
            bytes.extend(chain.to_bytes()?);
        }
        Some(bytes)
    }
}

/// A table in the kernel. Files with equal code share entries; none is ever removed.
pub(super) struct Table {
    map: MapHandle,
    entries: Vec<Vec<u8>>,
}

/// Most entries; index 0 is left free.
const MOST: usize = 1023;

impl Table {
    pub(super) fn new(map: MapHandle) -> Self {
        Self { map, entries: Vec::new() }
    }

    /// The index of a description.
    ///
    /// # Errors
    /// The programs can not follow it, or there are too many.
    pub(super) fn index_of<T: Described>(&mut self, described: &T) -> Result<u64> {
        let Some(entry) = described.to_bytes() else {
            bail!("where the values of a hook are is too complicated")
        };
        if let Some(at) = self.entries.iter().position(|other| *other == entry) {
            return Ok(at as u64 + 1);
        }
        if self.entries.len() >= MOST {
            bail!("more than {MOST} kinds of {}", T::TABLE);
        }
        let index = self.entries.len() as u32 + 1;
        self.map.update(&index.to_ne_bytes(), &entry, MapFlags::ANY)?;
        self.entries.push(entry);
        Ok(index.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(chain: &Chain) -> Vec<i32> {
        let bytes = chain.to_bytes().expect("a chain that can be followed");
        bytes.as_chunks().0.iter().map(|word| i32::from_ne_bytes(*word)).collect()
    }

    #[test]
    fn chains_are_words() {
        let object = Chain { start: Start::Object, loads: vec![0x918, -8], add: 0x50 };
        assert_eq!(words(&object), [-1, 2, 0x918, -8, 0, 0x50]);
        let number = Chain { start: Start::Number(48), loads: Vec::new(), add: 0 };
        assert_eq!(words(&number), [-1, 0, 0, 0, 0, 48]);
        let far = Chain { start: Start::Object, loads: vec![1; MOST_LOADS + 1], add: 0 };
        assert_eq!(far.to_bytes(), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn registers_are_where_the_kernel_has_them() {
        use std::mem::offset_of;

        use libc::user_regs_struct as regs; // laid out as struct pt_regs
        let by_number = [
            offset_of!(regs, rax),
            offset_of!(regs, rcx),
            offset_of!(regs, rdx),
            offset_of!(regs, rbx),
            offset_of!(regs, rsp),
            offset_of!(regs, rbp),
            offset_of!(regs, rsi),
            offset_of!(regs, rdi),
            offset_of!(regs, r8),
            offset_of!(regs, r9),
            offset_of!(regs, r10),
            offset_of!(regs, r11),
            offset_of!(regs, r12),
            offset_of!(regs, r13),
            offset_of!(regs, r14),
            offset_of!(regs, r15),
        ];
        for (number, offset) in by_number.into_iter().enumerate() {
            assert_eq!(Start::Register(number as u8).base(), Some(offset as i32), "{number}");
        }
        assert_eq!(Start::Register(16).base(), None);
        // System V: rdi, rsi, rdx, rcx, r8, r9
        let arguments = [7, 6, 2, 1, 8, 9].map(|number| Start::Register(number).base());
        assert_eq!([1, 2, 3, 4, 5, 6].map(|number| Start::Argument(number).base()), arguments);
        assert_eq!([0, 7].map(|number| Start::Argument(number).base()), [None, None]);
    }
}
