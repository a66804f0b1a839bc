//! Files that are no programs, or were damaged: always an error in words, never a panic.

use std::sync::OnceLock;

use crate::workshop::Workshop;
use inspect::openssl::{Refusal, may_be, resolve};
use inspect::{Binary, ElfError, Kind, Machine};
use proptest::prelude::*;

fn open_error(bytes: &[u8]) -> ElfError {
    Binary::open(&bytes).err().expect("an error")
}

fn with(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(at, value) in changes {
        bytes[at] = value;
    }
    bytes
}

/// A small library with OpenSSL's shape.
fn library() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| std::fs::read(Workshop::new().gcc("v30.c", "-O2 -shared -fPIC")).unwrap())
}

/// The same without symbols.
fn nameless() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let shop = Workshop::new();
        let library = shop.gcc("named.c", "-O2 -shared -fPIC -fvisibility=hidden -DCOLD");
        std::fs::read(shop.stripped(&library)).unwrap()
    })
}

/// The shape of BoringSSL, without symbols; with and without unwind information.
fn reasons() -> &'static [Vec<u8>; 2] {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        ["-fPIC", "-fPIC -fno-asynchronous-unwind-tables"].map(|options| {
            let shop = Workshop::new();
            let library = shop.gcc("reasons.c", &format!("-O2 -shared -fvisibility=hidden {options}"));
            std::fs::read(shop.stripped(&library)).unwrap()
        })
    })
}

/// One that hands over secrets.
fn keylog() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        std::fs::read(Workshop::new().gcc("keylog.c", "-O2 -shared -fPIC -fvisibility=hidden -DINLINED"))
            .unwrap()
    })
}

#[test]
fn what_is_no_program_is_told_apart() {
    let elf = library();
    let cases: &[(&[u8], &str)] = &[
        (b"", "the file is empty"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"x", "not an ELF file"),
        (&elf[..3], "the file is cut off: the ELF header is missing"),
        (&elf[..40], "the file is cut off: the ELF header is missing"),
        (&elf[..64], "the file is cut off: the section table is missing"),
        (&elf[..elf.len() - 1], "the file is cut off: the section table is missing"),
        (&with(elf, &[(4, 1)]), "a 32-bit ELF file; only 64-bit programs are supported"),
        (&with(elf, &[(5, 2)]), "a big-endian ELF file; only little-endian programs are supported"),
        (&with(elf, &[(16, 1)]), "an object file, not an executable or shared library"),
        (&with(elf, &[(16, 4)]), "a core dump, not an executable or shared library"),
        (&with(elf, &[(18, 243)]), "built for RISC-V; only x86_64 and aarch64 are supported"),
        (&with(elf, &[(18, 99)]), "built for processor number 99; only x86_64 and aarch64 are supported"),
    ];
    for (bytes, message) in cases {
        assert_eq!(open_error(bytes).to_string(), *message);
    }
}

#[test]
fn a_foreign_program_is_told_by_the_caller_with_a_nice_error() {
    let foreign = with(library(), &[(18, 183)]);
    let slice = foreign.as_slice();
    let binary = Binary::open(&slice).unwrap();
    assert_eq!(binary.machine(), Machine::Aarch64);
    let error = binary.check_machine(Machine::X86_64).unwrap_err();
    assert_eq!(error.to_string(), "built for aarch64, but this machine is x86_64");
    assert!(binary.check_machine(Machine::Aarch64).is_ok());
}

#[test]
fn kind_build_id_and_offsets_come_from_the_headers() {
    let shop = Workshop::new();
    for (options, kind) in
        [("-no-pie", Kind::Executable), ("-pie", Kind::Executable), ("-shared -fPIC", Kind::SharedObject)]
    {
        let path = shop.gcc("\nint main(void) { return 0; }", &format!("{options} -Wl,--build-id=0xc0ffee"));
        let file = std::fs::File::open(path).unwrap();
        let binary = Binary::open(&file).unwrap();
        assert_eq!((binary.kind(), binary.build_id()), (kind, Some(&[0xc0, 0xff, 0xee][..])));
        assert_eq!(binary.file_offset(u64::MAX), None);
    }
}

#[test]
fn a_cut_file_is_an_error_also_when_it_is_cut_after_opening() {
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, library()).unwrap();
    let binary = Binary::open(&file).unwrap();
    file.set_len(4096).unwrap();
    assert!(matches!(resolve(&binary), Err(Refusal::Elf(ElfError::Truncated(_)))));
}

#[test]
fn without_a_section_table_there_are_no_symbols() {
    let elf = with(library(), &[(60, 0), (61, 0)]);
    let slice = elf.as_slice();
    assert!(!may_be(&Binary::open(&slice).unwrap()).unwrap());
}

fn inspect_all(bytes: &[u8]) {
    if let Ok(binary) = Binary::open(&bytes) {
        let _ = resolve(&binary);
        let _ = (binary.kind(), binary.build_id(), binary.file_offset(0x1000));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_is_survived(len in 0..library().len()) {
        inspect_all(&library()[..len]);
    }

    #[test]
    fn any_damage_is_survived(changes in prop::collection::vec((0..library().len(), any::<u8>()), 1..64)) {
        inspect_all(&with(library(), &changes));
    }

    #[test]
    fn any_damage_without_symbols_is_survived(
        changes in prop::collection::vec((0..nameless().len(), any::<u8>()), 1..16),
    ) {
        inspect_all(&with(nameless(), &changes));
    }

    #[test]
    fn any_damage_is_survived_where_functions_are_told_by_reasons(
        changes in prop::collection::vec((0..0x2000_usize, any::<u8>()), 1..16),
        machine in prop::sample::select(vec![62, 183]),
    ) {
        for file in reasons() {
            let inside = changes.iter().map(|&(at, value)| (at % file.len(), value));
            inspect_all(&with(file, &inside.chain([(18, machine)]).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn any_damage_where_secrets_are_handed_over_is_survived(
        changes in prop::collection::vec((0..keylog().len(), any::<u8>()), 1..64),
    ) {
        inspect_all(&with(keylog(), &changes));
    }

    #[test]
    fn damaged_headers_are_survived(changes in prop::collection::vec((16..1024usize, any::<u8>()), 1..8)) {
        inspect_all(&with(library(), &changes));
    }

    #[test]
    fn a_damaged_end_is_survived(changes in prop::collection::vec((0..4096usize, any::<u8>()), 1..32)) {
        let start = library().len() - 4096;
        let changes: Vec<_> = changes.into_iter().map(|(at, value)| (start + at, value)).collect();
        inspect_all(&with(library(), &changes));
    }
}
