//! Why a file cannot be inspected.

use crate::Machine;

/// Why a file is not one that we can inspect, in words for the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The operating system refused to read it.
    #[error("cannot read the file: {0}")]
    Read(#[source] std::io::Error),
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It ends before something that its own headers promise.
    #[error("the file is cut off: {0} is missing")]
    Truncated(&'static str),
    /// It does not start with the ELF magic.
    #[error("not an ELF file")]
    NotElf,
    /// A 32-bit program; probes for those are not supported.
    #[error("a 32-bit ELF file; only 64-bit programs are supported")]
    ThirtyTwoBit,
    /// A big-endian program.
    #[error("a big-endian ELF file; only little-endian programs are supported")]
    BigEndian,
    /// Built for a processor that we know nothing about.
    #[error("built for {}; only x86_64 and aarch64 are supported", machine_name(*.0))]
    UnknownMachine(u16),
    /// Built for another processor than the one it is asked to run on.
    #[error("built for {file}, but this machine is {host}")]
    ForeignMachine {
        /// What the file was built for.
        file: Machine,
        /// What it would have to run on.
        host: Machine,
    },
    /// An ELF file that no process runs from: an object file, a core dump.
    #[error("{0}, not an executable or shared library")]
    NotLoadable(&'static str),
    /// Its headers contradict themselves.
    #[error("a damaged ELF file: {0}")]
    Damaged(&'static str),
}

/// Names of the `e_machine` values that one may meet.
fn machine_name(machine: u16) -> String {
    const NAMES: &[(u16, &str)] = &[
        (2, "SPARC"),
        (3, "32-bit x86"),
        (8, "MIPS"),
        (20, "PowerPC"),
        (21, "PowerPC64"),
        (22, "S/390"),
        (40, "32-bit ARM"),
        (43, "SPARC v9"),
        (62, "x86_64"),
        (183, "aarch64"),
        (243, "RISC-V"),
        (247, "BPF"),
        (258, "LoongArch"),
    ];
    match NAMES.iter().find(|(number, _)| *number == machine) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("processor number {machine}"),
    }
}
