//! Any bytes as a program or library: `inspect` answers or refuses, in bounded time, and never panics.
#![no_main]

use inspect::{Binary, gnutls, go, nss, openssl, rustls};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(binary) = Binary::open(&bytes) else { return };
    let _ = (binary.kind(), binary.build_id(), openssl::may_be(&binary));
    let _ = go::may_be(&binary);
    for function in go::resolve(&binary).map(|found| found.functions).unwrap_or_default() {
        for offset in function.returns.into_iter().chain([function.file_offset]) {
            assert!(offset < bytes.len() as u64, "a probe behind the end of the file");
        }
    }
    let found = [openssl::resolve(&binary), openssl::resolve_without_symbols(&binary)].into_iter().flatten();
    let hooks = found.flat_map(|found| found.hooks);
    let hooks = hooks.chain(gnutls::resolve(&binary).into_iter().flat_map(|found| found.hooks));
    let hooks = hooks.chain(nss::resolve(&binary).into_iter().flat_map(|found| found.hooks));
    let _ = rustls::may_be(&binary);
    for hook in hooks.chain(rustls::resolve(&binary).into_iter().flat_map(|found| found.hooks)) {
        assert!(hook.site.file_offset < bytes.len() as u64, "a probe behind the end of the file");
    }
});
