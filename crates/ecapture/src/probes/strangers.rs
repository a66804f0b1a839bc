//! TLS libraries that are known by name and can not be captured: a line about each file instead of silence.

use inspect::Binary;

/// Functions that a file defines, and whose they are.
const STRANGERS: [(&str, &str); 5] = [
    ("JNI_CreateJavaVM", "TLS of Java itself (JSSE), whose code is made while it runs"),
    ("mbedtls_ssl_read", "Mbed TLS"),
    ("wolfSSL_read", "wolfSSL"),
    ("s2n_recv", "s2n-tls"),
    ("br_ssl_engine_recvapp_buf", "BearSSL"),
];

/// What is in a file of theirs.
pub fn strangers(binary: &Binary<'_>) -> Vec<&'static str> {
    let names = STRANGERS.map(|(name, _)| name);
    let defined = binary.symbols(&names).unwrap_or_default();
    STRANGERS.iter().filter(|(name, _)| defined.get(name).is_some()).map(|(_, what)| *what).collect()
}
