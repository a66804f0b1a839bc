//! What the user says of a file, and whether it may have TLS 1.3.

use std::fs::File;

use inspect::openssl::{functions, hook_at, may_have_tls13};
use inspect::{Binary, Evidence, Path, Purpose};

use crate::workshop::{found_in, hook};

const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const NO_TLS: &str = "/bin/true";

#[test]
fn a_function_is_hooked_where_the_user_says() {
    let file = File::open(SYSTEM).unwrap();
    let binary = Binary::open(&file).unwrap();
    let found = found_in(SYSTEM).unwrap();
    let known = hook(&found, "SSL_free");
    let given = hook_at(&binary, "SSL_free", known.site.address, None).unwrap();
    assert_eq!((given.purpose, given.site, given.evidence), (known.purpose, known.site, Evidence::Given));
    assert!(functions().any(|name| name == "ssl_log_secret"));
    let random = Some(Path::plus(0x160));
    let logger = hook_at(&binary, "ssl_log_secret", known.site.address, random).unwrap();
    assert!(matches!(logger.purpose, Purpose::Secret(secret) if secret.client_random.path.add() == 0x160));
    for (name, address) in
        [("ssl_log_secret", known.site.address), ("SSL_fly", 0x1000), ("SSL_free", 1 << 40)]
    {
        assert_eq!(hook_at(&binary, name, address, None), None, "{name} {address:#x}");
    }
}

#[test]
fn labels_of_tls_1_3_are_seen() {
    for (path, expected) in [(SYSTEM, true), (NO_TLS, false)] {
        let file = File::open(path).unwrap();
        assert_eq!(may_have_tls13(&Binary::open(&file).unwrap()).unwrap(), expected, "{path}");
    }
}
