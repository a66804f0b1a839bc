//! Functions without symbols: what is found must be what symbols say.

use crate::openssl::{LIBRARY, NODE, SYSTEM, call, fallback, out};
use std::fs::File;

use crate::workshop::{Workshop, found_in, hook, nameless_in, names};
use inspect::openssl::{Flavour, OpenSsl, Refusal, resolve_plaintext};
use inspect::{Binary, Evidence, Purpose, ResultKind};

/// For small sources: functions of their own that keep to the calling convention.
const WHOLE: &str = "-fvisibility=hidden -fno-ipa-cp -fno-ipa-ra";

/// Ways of building a library or program.
const BUILDS: [&str; 6] = [
    "-O2 -shared -fPIC",
    "-O2 -shared -fPIC -fno-plt",
    "-Os -shared -fPIC -fcf-protection -fno-builtin",
    "-O2 -DPROGRAM -static -no-pie",
    "-O2 -DPROGRAM -static -no-pie -fno-omit-frame-pointer",
    "-O2 -DPROGRAM -static-pie -fPIE",
];

const INTERNAL: [&str; 2] = ["ssl_read_internal", "ssl_write_internal"];

fn same_sites(some: &OpenSsl, all: &OpenSsl) {
    for found in &some.hooks {
        let known = hook(all, found.function);
        assert_eq!((found.purpose, found.site), (known.purpose, known.site), "{}", found.function);
    }
}

/// Each hook is where symbols say, and says how it was found.
fn same_functions(nameless: &OpenSsl, symbols: &OpenSsl) {
    same_sites(nameless, symbols);
    for found in &nameless.hooks {
        let source = match &found.evidence {
            Evidence::Strings { source } | Evidence::ErrorCodes { source } => source,
            Evidence::Labels { .. } => continue,
            _ => panic!("{found:?}"),
        };
        assert!(source.contains("ssl/ssl_lib.c"), "{source}");
    }
}

/// What a file of OpenSSL 3 shows without symbols.
const WITHOUT_SYMBOLS: [&str; 5] =
    ["ssl_read_internal", "ssl_write_internal", "SSL_new", "SSL_clear", "ssl_log_secret"];

#[test]
fn real_files_have_the_same_functions_with_and_without_symbols() {
    let (symbols, nameless) = (found_in(SYSTEM).unwrap(), nameless_in(SYSTEM).unwrap());
    assert_eq!(names(&nameless), WITHOUT_SYMBOLS);
    same_functions(&nameless, &symbols);
}

#[test]
fn a_static_program_has_the_same_functions_when_stripped() {
    let shop = Workshop::new();
    let source =
        "\n#include <openssl/ssl.h>\nint main(void) { return SSL_write(SSL_new(0), OpenSSL_version(0), 1); }";
    let path = shop.gcc(source, "-O2 -static -- -lssl -lcrypto -ldl -pthread");
    let (symbols, stripped) = (found_in(&path).unwrap(), found_in(shop.stripped(&path)).unwrap());
    let read = hook(&symbols, "ssl_read_internal");
    assert!(matches!(read.evidence, Evidence::SharedCallee { named: true, .. }));
    assert!(symbols.version.as_deref().unwrap().starts_with("OpenSSL 3."));
    assert_eq!(names(&stripped), WITHOUT_SYMBOLS);
    same_functions(&stripped, &symbols);
    for (path, whole) in [(&path, &symbols), (&shop.stripped(&path), &stripped)] {
        let file = File::open(path).unwrap();
        let plaintext = resolve_plaintext(&Binary::open(&file).unwrap()).unwrap();
        let expected = names(whole).into_iter().filter(|name| *name != "ssl_log_secret").collect::<Vec<_>>();
        assert_eq!((names(&plaintext), plaintext.keys), (expected, None));
        same_sites(&plaintext, whole);
    }
    assert_eq!((stripped.version, stripped.flavour), (symbols.version, Flavour::OpenSsl));
    assert_eq!((stripped.keys.is_some(), stripped.keys), (true, symbols.keys));
}

#[test]
fn where_internal_functions_are_part_of_public_ones_those_are_found() {
    let (symbols, mut nameless) = (found_in(NODE).unwrap(), nameless_in(NODE).unwrap());
    assert_eq!(names(&nameless).len(), 7);
    // Copies of them that only early data uses; the symbols give the functions for early data instead.
    for (name, early) in INTERNAL.into_iter().zip(["SSL_read_early_data", "SSL_write_early_data"]) {
        assert_eq!(hook(&nameless, name).purpose, hook(&symbols, early).purpose);
    }
    nameless.hooks.retain(|hook| !INTERNAL.contains(&hook.function));
    let all = ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "ssl_log_secret"];
    assert_eq!((names(&nameless), nameless.keys), (all.to_vec(), symbols.keys));
    same_functions(&nameless, &symbols);
}

#[test]
fn names_and_numbers_of_errors_tell_functions() {
    let shop = Workshop::new();
    for (build, variant) in BUILDS.iter().flat_map(|build| {
        ["", "-DCOLD", "-DFLAGS", "-DFLAGS -DCOLD", "-DNUMBERS", "-DNUMBERS -DCOLD"]
            .map(|variant| (build, variant))
    }) {
        let options = format!("{WHOLE} -fno-inline {build} {variant}");
        let library = shop.gcc("named.c", &options);
        let (symbols, stripped) = (found_in(&library).unwrap(), found_in(shop.stripped(&library)));
        let stripped = stripped.unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(names(&stripped), ["ssl_read_internal", "ssl_write_internal", "SSL_clear"], "{options}");
        same_functions(&stripped, &symbols);
        let expected = out(if variant.contains("FLAGS") { 5 } else { 4 });
        assert_eq!(hook(&stripped, "ssl_write_internal").purpose, Purpose::Write(expected), "{options}");
        assert_eq!(stripped.notes, ["SSL_new: no function refers to its name and its source file"]);
        let numbers = matches!(stripped.hooks[0].evidence, Evidence::ErrorCodes { .. });
        assert_eq!(numbers, variant.contains("NUMBERS"));
    }
}

#[test]
fn names_and_numbers_in_doubt_are_refused() {
    let shop = Workshop::new();
    let resolve = |options: &str| {
        let library = shop.gcc("named.c", &format!("-fvisibility=hidden {LIBRARY} {options}"));
        found_in(shop.stripped(&library))
    };
    for numbers in ["", "-DNUMBERS"] {
        for (options, why) in [
            ("-DTWICE", "it is part of a function that is not known"),
            ("-DOTHER", "the function that refers to its name is not seen to reach the protocol's own"),
        ] {
            let found = resolve(&format!("{options} {numbers}")).unwrap();
            assert_eq!(fallback(&found), (vec!["ssl_read_internal"], &*format!("ssl_write_internal: {why}")));
        }
    }
    assert!(matches!(resolve("-fno-asynchronous-unwind-tables"), Err(Refusal::Unclear(_))));
}

#[test]
fn inlined_internal_functions_leave_the_public_ones() {
    let shop = Workshop::new();
    for variant in ["", "-DFLAGS", "-DNUMBERS"] {
        let options = format!("{WHOLE} {LIBRARY} -DINLINED {variant}");
        let library = shop.gcc("named.c", &options);
        let (symbols, stripped) = (shop.gcc("named.c", &options.replace(WHOLE, "")), shop.stripped(&library));
        let (symbols, stripped) = (found_in(symbols).unwrap(), found_in(stripped).unwrap());
        let write = if variant == "-DFLAGS" { "SSL_write_ex2" } else { "SSL_write_ex" };
        assert_eq!(names(&stripped), ["SSL_read", "SSL_read_ex", "SSL_write", write], "{variant}");
        for found in &stripped.hooks {
            assert_eq!(found.purpose, hook(&symbols, found.function).purpose);
        }
    }
}

#[test]
fn reasons_and_use_of_arguments_tell_functions_of_boringssl() {
    let shop = Workshop::new();
    for (build, variant) in BUILDS.iter().flat_map(|build| {
        ["", "-DAPART", "-DWHOLE", "-DSHUFFLED", "-DWHOLE -DAPART -DSHUFFLED"].map(|variant| (build, variant))
    }) {
        let options = format!("{WHOLE} {build} {variant}");
        let library = shop.gcc("reasons.c", &options);
        let (symbols, stripped) = (found_in(&library).unwrap(), found_in(shop.stripped(&library)));
        let stripped = stripped.unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(names(&stripped), ["SSL_read", "SSL_write"], "{options}: {:?}", stripped.notes);
        assert_eq!(stripped.flavour, Flavour::BoringSsl);
        same_functions(&stripped, &symbols);
        assert_eq!(stripped.hooks[0].purpose, Purpose::Read(call(ResultKind::Count)));
    }
}

#[test]
fn functions_of_boringssl_in_doubt_are_refused() {
    let shop = Workshop::new();
    let resolve = |options: &str| {
        let library = shop.gcc("reasons.c", &format!("{WHOLE} {LIBRARY} {options}"));
        found_in(shop.stripped(&library)).unwrap()
    };
    let found = resolve("-DTWICE");
    assert_eq!(fallback(&found), (vec!["SSL_write"], "SSL_read: several functions may be it"));
    let found = resolve("-DELSEWHERE");
    let why = "SSL_write: no function has its reasons and passes its arguments on";
    assert_eq!(fallback(&found), (vec!["SSL_read"], why));
}

#[test]
fn without_unwind_information_functions_start_where_calls_go() {
    let shop = Workshop::new();
    let bare = "-O2 -DPROGRAM -no-pie -falign-functions=16 -fno-asynchronous-unwind-tables -fno-exceptions \
                -nostartfiles -Wl,--no-eh-frame-hdr -Wl,-e,main";
    for (source, expected) in [("reasons.c", ["SSL_read", "SSL_write"]), ("named.c", INTERNAL)] {
        let program = shop.gcc(source, &format!("{WHOLE} {bare}"));
        let (symbols, stripped) = (found_in(&program).unwrap(), found_in(shop.stripped(&program)).unwrap());
        assert_eq!(names(&stripped), expected);
        same_functions(&stripped, &symbols);
    }
}
