//! NSS of this machine and of other releases and machines, and damaged copies of it.

use std::fs;
use std::path::Path;

use inspect::nss::{Nss, Refusal, may_be, resolve};
use inspect::{Arg, Binary, Call, Evidence, Label, Purpose, ResultKind};

use crate::workshop::{below, unpacked};

const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu";

fn bytes_of(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

fn found_in(bytes: &[u8]) -> Result<Nss, Refusal> {
    resolve(&Binary::open(&bytes).unwrap())
}

fn purpose(found: &Nss, function: &str) -> Option<Purpose> {
    found.hooks.iter().find(|hook| hook.function == function).map(|hook| hook.purpose)
}

const fn call(result: ResultKind) -> Call {
    Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result }
}

#[test]
fn functions_behind_sockets_are_those_of_the_table() {
    let found = found_in(&bytes_of(format!("{SYSTEM}/libssl3.so"))).unwrap();
    let received = call(ResultKind::Unpeeked(Arg(4)));
    assert_eq!(purpose(&found, "ssl_SecureRecv"), Some(Purpose::Read(received)));
    assert_eq!(purpose(&found, "ssl_SecureSend"), Some(Purpose::Write(call(ResultKind::Count))));
    assert_eq!(purpose(&found, "ssl_SecureRead"), None, "it only calls ssl_SecureRecv");
    assert_eq!(purpose(&found, "ssl_SecureClose"), Some(Purpose::Free));
    assert!(found.version.unwrap().starts_with("NSS 3."));
    assert_eq!((found.has_sockets, found.notes), (true, Vec::new()));
}

#[test]
fn where_secrets_are_computed_is_found_by_labels() {
    let found = found_in(&bytes_of(format!("{SYSTEM}/libssl3.so"))).unwrap();
    let Some(Purpose::Derive(derivation)) = purpose(&found, "tls13_DeriveSecretWrap") else {
        panic!("{found:?}")
    };
    assert_eq!(Some(derivation.client_random.path), found.client_random);
    let evidence = found.hooks.iter().find_map(|hook| match &hook.evidence {
        Evidence::Labels { labels, random, .. } => Some((labels.len(), random.clone())),
        _ => None,
    });
    assert_eq!(evidence, Some((5, vec!["SSL_ExportKeyingMaterial"])));
}

#[test]
fn functions_that_compute_are_those_of_the_other_table() {
    let found = found_in(&bytes_of(format!("{SYSTEM}/libfreeblpriv3.so"))).unwrap();
    let Some(Purpose::Secret(secret)) = purpose(&found, "TLS_P_hash") else { panic!("{found:?}") };
    assert!(matches!(secret.label, Label::KeyExpansion(_)));
    assert_eq!(purpose(&found, "HMAC_Update"), Some(Purpose::MacInput));
    assert_eq!(purpose(&found, "HMAC_Finish"), Some(Purpose::MacOutput));
    assert_eq!((found.has_sockets, found.notes), (false, Vec::new()));
}

/// Adds one to the first word of a file that is this number.
fn damage(bytes: &mut [u8], number: u64) {
    let at = memchr::memmem::find(bytes, &number.to_le_bytes()).expect("the number");
    bytes[at] ^= 0xff;
}

#[test]
fn without_its_twin_a_table_is_not_believed() {
    let path = format!("{SYSTEM}/libssl3.so");
    let mut bytes = bytes_of(&path);
    let found = found_in(&bytes).unwrap();
    let receive = found.hooks.iter().find(|hook| hook.function == "ssl_SecureRecv").unwrap();
    damage(&mut bytes, receive.site.address); // in the relocation that fills the table
    let found = found_in(&bytes).unwrap();
    assert_eq!(purpose(&found, "ssl_SecureSend"), None);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

#[test]
fn without_labels_there_are_no_secrets_and_a_reason() {
    let mut bytes = bytes_of(format!("{SYSTEM}/libssl3.so"));
    for at in memchr::memmem::find_iter(&bytes.clone(), b"hs traffic\0") {
        bytes[at + 3] = b'X';
    }
    for at in memchr::memmem::find_iter(&bytes.clone(), b"ap traffic\0") {
        bytes[at + 3] = b'X';
    }
    for at in memchr::memmem::find_iter(&bytes.clone(), b"exp master\0") {
        bytes[at + 3] = b'X';
    }
    let found = found_in(&bytes).unwrap();
    assert_eq!(purpose(&found, "tls13_DeriveSecretWrap"), None);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(purpose(&found, "ssl_SecureSend").is_some());
}

#[test]
fn damaged_files_end_the_analysis_and_nothing_else() {
    for name in ["libssl3.so", "libfreeblpriv3.so"] {
        let bytes = bytes_of(format!("{SYSTEM}/{name}"));
        for step in [4099, 65_537] {
            let mut damaged = bytes.clone();
            damaged.iter_mut().skip(64).step_by(step).for_each(|byte| *byte ^= 0x55);
            if let Ok(binary) = Binary::open(&damaged.as_slice()) {
                let _ = resolve(&binary);
            }
            if let Ok(binary) = Binary::open(&&bytes[..bytes.len() / 2]) {
                let _ = resolve(&binary);
            }
        }
    }
}

#[test]
fn others_are_not_taken_for_it() {
    let bytes = bytes_of(crate::openssl::SYSTEM);
    let bytes = bytes.as_slice();
    let binary = Binary::open(&bytes).unwrap();
    assert!(!may_be(&binary).unwrap());
    assert!(matches!(resolve(&binary), Err(Refusal::NotNss)));
}

#[test]
#[ignore = "fetches packages"]
fn every_release_has_all_and_both_machines_agree() {
    let mut count = 0;
    for suite in ["bullseye", "bookworm", "trixie", "sid"] {
        let randoms = ["x86_64", "aarch64"].map(|machine| {
            let directory = unpacked(suite, "libnss3", machine)?;
            count += 1;
            println!("{suite} {machine}");
            let sockets = found_in(&bytes_of(below(&directory, "libssl3.so"))).unwrap();
            assert_eq!(sockets.notes, Vec::<String>::new());
            assert_eq!(sockets.hooks.len(), 4, "{sockets:?}");
            let algorithms = found_in(&bytes_of(below(&directory, "libfreeblpriv3.so"))).unwrap();
            assert_eq!(algorithms.notes, Vec::<String>::new());
            assert_eq!(algorithms.hooks.len(), 3, "{algorithms:?}");
            sockets.client_random
        });
        // Types of the same sizes and alignments on both.
        assert_eq!(randoms[0], randoms[1]);
    }
    assert!(count > 0, "no package is to be had");
}
