//! GnuTLS of this machine, and damaged copies of it.

use std::fs;

use inspect::gnutls::{GnuTls, Refusal, may_be, resolve};
use inspect::{Arg, Binary, Evidence, Purpose, ResultKind};

use crate::openssl::call;
use crate::workshop::{below, unpacked};

const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";

fn system() -> (Vec<u8>, GnuTls) {
    let bytes = fs::read(SYSTEM).unwrap();
    let found = resolve(&Binary::open(&bytes.as_slice()).unwrap()).unwrap();
    (bytes, found)
}

fn purpose(found: &GnuTls, function: &str) -> Option<Purpose> {
    found.hooks.iter().find(|hook| hook.function == function).map(|hook| hook.purpose)
}

#[test]
fn functions_are_hooked_where_they_do_their_work() {
    let (_, found) = system();
    assert_eq!(purpose(&found, "gnutls_record_recv"), Some(Purpose::Read(call(ResultKind::Size))));
    assert_eq!(purpose(&found, "gnutls_record_send2"), Some(Purpose::Write(call(ResultKind::Resumed))));
    assert_eq!(purpose(&found, "gnutls_record_send"), None, "it only calls gnutls_record_send2");
    assert_eq!(purpose(&found, "gnutls_init"), Some(Purpose::NewAt(Arg(1))));
    assert!(found.version.unwrap().starts_with("GnuTLS 3."));
    assert_eq!(found.notes, Vec::<String>::new());
}

#[test]
fn the_function_that_gets_secrets_is_found_by_their_names() {
    let (_, found) = system();
    let hook = found.hooks.iter().find(|hook| matches!(hook.purpose, Purpose::Secret(_))).unwrap();
    let Evidence::Labels { labels, random, .. } = &hook.evidence else { panic!("{:?}", hook.evidence) };
    assert_eq!((labels.len(), random.as_slice()), (8, ["gnutls_session_get_random"].as_slice()));
}

#[test]
fn without_its_names_there_are_no_keys_and_a_reason() {
    let (mut bytes, _) = system();
    for at in memchr::memmem::find_iter(&bytes.clone(), b"CLIENT_RANDOM\0") {
        bytes[at] = b'X';
    }
    let found = resolve(&Binary::open(&bytes.as_slice()).unwrap()).unwrap();
    assert!(!found.hooks.iter().any(|hook| matches!(hook.purpose, Purpose::Secret(_))));
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

#[test]
fn others_are_not_taken_for_it() {
    let bytes = fs::read(crate::openssl::SYSTEM).unwrap();
    let bytes = bytes.as_slice();
    let binary = Binary::open(&bytes).unwrap();
    assert!(!may_be(&binary).unwrap());
    assert!(matches!(resolve(&binary), Err(Refusal::NotGnuTls)));
}

#[test]
#[ignore = "fetches packages"]
fn every_release_has_all_and_both_machines_agree() {
    let releases = [
        ("bullseye", "libgnutls30"),
        ("bookworm", "libgnutls30"),
        ("trixie", "libgnutls30t64"),
        ("sid", "libgnutls30t64"),
    ];
    let mut count = 0;
    for (suite, package) in releases {
        let found = ["x86_64", "aarch64"].map(|machine| {
            let directory = unpacked(suite, package, machine)?;
            count += 1;
            println!("{suite} {machine}");
            let bytes = fs::read(below(&directory, "libgnutls.so.")).unwrap();
            let found = resolve(&Binary::open(&bytes.as_slice()).unwrap()).unwrap();
            assert_eq!(found.notes, Vec::<String>::new());
            // Purposes tell where values are: types have the same sizes and alignments on both.
            Some(found.hooks.iter().map(|hook| (hook.function, hook.purpose)).collect::<Vec<_>>())
        });
        assert_eq!(found[0], found[1]);
    }
    assert!(count > 0, "no package is to be had");
}
