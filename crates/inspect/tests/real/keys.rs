//! Where keys pass and where they stay, in the system's library and in small ones with the shapes that matter.

use crate::workshop::{Workshop, found_in, hook, names};
use inspect::openssl::OpenSsl;
use inspect::{Evidence, Label, MasterSecret, ObjectKeys, Path, Place, Purpose, Secret};

const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const LIBRARY: &str = "-shared -fPIC -fvisibility=hidden";

fn path(loads: &[i32], add: i32) -> Path {
    Path::new(loads, add).unwrap()
}

fn secret_of(found: &OpenSsl) -> Secret {
    let secret = found.hooks.iter().find_map(|hook| match hook.purpose {
        Purpose::Secret(secret) => Some(secret),
        _ => None,
    });
    secret.unwrap_or_else(|| panic!("no secret: {:?}", found.notes))
}

/// `(object, label, secret, length)`.
fn usual(client_random: Path) -> Secret {
    Secret {
        object: Some(Place::arg(1)),
        label: Label::Text(Place::arg(2)),
        client_random: Place { path: client_random, ..Place::arg(1) },
        secret: Place::arg(3),
        length: Place::arg(4),
    }
}

/// Where tests/fakes/keylog.c has them.
fn object_keys() -> ObjectKeys {
    let master =
        MasterSecret { secret: path(&[16], 16), length: path(&[16], 8), width: 8, established: false };
    ObjectKeys { client_random: path(&[8], 8), master: Some(master), exporter: Some(Path::plus(32)) }
}

/// OpenSSL 3.0 has them there in all its releases: its objects grow at the end only.
#[test]
fn the_system_library_has_its_keys_where_its_headers_say() {
    let found = found_in(SYSTEM).unwrap();
    assert_eq!(secret_of(&found), usual(Path::plus(0x160)));
    let master = MasterSecret {
        secret: path(&[0x918], 0x50),
        length: path(&[0x918], 8),
        width: 8,
        established: false,
    };
    let keys = ObjectKeys {
        client_random: Path::plus(0x160),
        master: Some(master),
        exporter: Some(Path::plus(0x7c4)),
    };
    assert_eq!(found.keys, Some(keys));
    let Evidence::Labels { labels, random, .. } = &hook(&found, "ssl_log_secret").evidence else {
        panic!("{found:?}")
    };
    assert_eq!(labels.len(), 8);
    assert_eq!(random, &["ssl_log_secret", "SSL_get_client_random"]);
}

#[test]
fn the_function_is_found_however_it_is_compiled() {
    let shop = Workshop::new();
    for options in [
        "-O2",
        "-Os",
        "-O3",
        "-O1 -fcf-protection",
        "-O2 -fno-omit-frame-pointer",
        "-O2 -DQUIC",
        "-O2 -DINLINED",
        "-O1 -DINLINED",
    ] {
        let library = shop.gcc("keylog.c", &format!("{LIBRARY} {options}"));
        let found = found_in(&library).unwrap();
        assert_eq!(secret_of(&found), usual(path(&[8], 8)), "{options}");
        assert_eq!(found.keys, Some(object_keys()), "{options}: {:?}", found.notes);
    }
}

#[test]
fn without_functions_that_give_keys_the_calls_tell() {
    let shop = Workshop::new();
    let library = shop.stripped(&shop.gcc("keylog.c", &format!("{LIBRARY} -O2 -DNO_ACCESSORS")));
    let found = found_in(library).unwrap();
    assert_eq!(secret_of(&found), usual(path(&[8], 8)));
    assert_eq!(found.keys, Some(object_keys()));
}

#[test]
fn of_several_sessions_the_established_one_is_the_connections() {
    let shop = Workshop::new();
    let found = found_in(shop.gcc("keylog.c", &format!("{LIBRARY} -O2 -DESTABLISHED"))).unwrap();
    let session = [8, 72];
    let (secret, length) = (path(&session, 16), path(&session, 8));
    let master = MasterSecret { secret, length, width: 8, established: true };
    assert_eq!(found.keys, Some(ObjectKeys { master: Some(master), ..object_keys() }), "{:?}", found.notes);
}

#[test]
fn without_a_logger_the_computation_of_keys_tells() {
    let shop = Workshop::new();
    let (secret, length) = (path(&[16], 8), path(&[16], 4));
    let master = MasterSecret { secret, length, width: 4, established: false };
    let expected = ObjectKeys { client_random: path(&[8], 40), master: Some(master), exporter: None };
    for options in ["-O2", "-Os", "-O2 -DSECRET_FIRST", "-O2 -DHALVES"] {
        let found = found_in(shop.gcc("prf.c", &format!("{LIBRARY} {options}"))).unwrap();
        assert_eq!(found.keys, Some(expected), "{options}: {:?}", found.notes);
    }
}

#[test]
fn arguments_are_told_by_the_calls_where_functions_were_merged() {
    let shop = Workshop::new();
    let found = found_in(shop.gcc("keylog.c", &format!("{LIBRARY} -O2 -DMERGED"))).unwrap();
    let expected = Secret {
        object: Some(Place::arg(2)),
        label: Label::Text(Place::arg(1)),
        client_random: Place::arg(3),
        secret: Place::arg(5),
        length: Place::arg(6),
    };
    assert_eq!(secret_of(&found), expected);
    assert_eq!(hook(&found, "nss_keylog_int").purpose, Purpose::Secret(expected));
    assert_eq!(found.keys, Some(object_keys()));
}

#[test]
fn two_answers_are_refused_and_the_end_of_the_handshake_is_hooked() {
    let shop = Workshop::new();
    for (shape, why) in [
        ("-DASTRAY", "secrets: the names of secrets go to different functions"),
        ("-DDISAGREE", "secrets: two functions disagree about where the client random is"),
    ] {
        let found = found_in(shop.gcc("keylog.c", &format!("{LIBRARY} -O2 {shape}"))).unwrap();
        assert!(found.notes.contains(&why.to_owned()), "{shape}: {:?}", found.notes);
        assert_eq!(names(&found)[2..], ["SSL_do_handshake"], "{shape}");
        assert_eq!(found.keys.unwrap().exporter, None);
    }
    let found = found_in(shop.gcc("keylog.c", &format!("{LIBRARY} -O2 -DASTRAY -DNO_ACCESSORS"))).unwrap();
    assert_eq!((found.keys, names(&found)), (None, vec!["SSL_read", "SSL_write"]));
}
