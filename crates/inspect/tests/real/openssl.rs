//! Hooks in real libraries and programs, and in small ones with the shapes that matter.

use crate::workshop::{Workshop, found_in, hook, names};
use inspect::openssl::{Flavour, OpenSsl, Refusal};
use inspect::{Arg, Call, Cost, Evidence, Purpose, ResultKind};

pub const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
pub const NODE: &str = "/usr/bin/node";
pub const LIBRARY: &str = "-O2 -shared -fPIC";

pub const fn call(result: ResultKind) -> Call {
    Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result }
}

pub const fn out(arg: u8) -> Call {
    call(ResultKind::Out(Arg(arg)))
}

fn is_push(path: &str, offset: u64) -> bool {
    let bytes = std::fs::read(path).unwrap();
    let at = &bytes[offset as usize..];
    matches!(at, [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..])
}

#[test]
fn the_system_library_is_hooked_at_its_internal_functions() {
    let found = found_in(SYSTEM).unwrap();
    let (read, write) = (hook(&found, "ssl_read_internal"), hook(&found, "ssl_write_internal"));
    assert_eq!((read.purpose, write.purpose), (Purpose::Read(out(4)), Purpose::Write(out(4))));
    for hook in [read, write] {
        assert_eq!(hook.site.cost, Cost::Emulated);
        assert!(is_push(SYSTEM, hook.site.file_offset));
    }
    let callers = vec!["SSL_read", "SSL_read_ex"];
    assert_eq!(read.evidence, Evidence::SharedCallee { callers, named: false });
    let rest = ["SSL_sendfile", "SSL_new", "SSL_free", "SSL_clear"];
    assert_eq!(names(&found)[2..6], rest, "early data goes through the internal functions");
    assert_eq!((found.flavour, found.version, found.notes.len()), (Flavour::OpenSsl, None, 0));
}

#[test]
fn node_is_hooked_at_its_public_functions_because_the_internal_ones_are_inlined() {
    let found = found_in(NODE).unwrap();
    assert!(found.version.as_deref().unwrap().starts_with("OpenSSL 3."));
    assert_eq!(hook(&found, "SSL_read").purpose, Purpose::Read(call(ResultKind::Count)));
    assert_eq!(hook(&found, "SSL_write_ex").purpose, Purpose::Write(out(4)));
    assert!(found.hooks.iter().all(|hook| hook.site.cost == Cost::Emulated));
    assert_eq!(found.notes.len(), 2);
}

#[test]
fn a_shared_internal_function_is_found_with_and_without_frame_pointers_and_symbols() {
    let shop = Workshop::new();
    for options in ["", "-fno-omit-frame-pointer -fcf-protection", "-fstack-protector-all", "-Os", "-fno-plt"]
    {
        let library = shop.gcc("v30.c", &format!("{LIBRARY} {options}"));
        for file in [shop.stripped(&library), library] {
            let found = found_in(&file).unwrap();
            assert_eq!(names(&found), ["ssl_read_internal", "ssl_write_internal"], "{options}");
            assert_eq!(hook(&found, "ssl_read_internal").purpose, Purpose::Read(out(4)), "{options}");
        }
    }
}

#[test]
fn flags_move_the_out_argument_and_the_detour_through_the_linkage_table_is_followed() {
    let shop = Workshop::new();
    for options in [LIBRARY, "-O2 -shared -fPIC -Wl,-Bsymbolic -fno-semantic-interposition"] {
        let library = shop.stripped(&shop.gcc("v33.c", options));
        let found = found_in(library).unwrap();
        assert_eq!(names(&found), ["ssl_write_internal"]);
        assert_eq!(found.hooks[0].purpose, Purpose::Write(out(5)));
        assert_eq!(found.notes, ["no function that reads is defined here"]);
    }
}

/// The functions to be hooked and the only note.
pub fn fallback(found: &OpenSsl) -> (Vec<&'static str>, &str) {
    (names(found), found.notes[0].as_str())
}

#[test]
fn a_call_that_only_quic_takes_is_not_taken_for_the_internal_function() {
    let shop = Workshop::new();
    let library = shop.stripped(&shop.gcc("v33.c", &format!("{LIBRARY} -DINLINED")));
    let found = found_in(library).unwrap();
    let why = "ssl_write_internal: the shared call is not seen to reach the protocol's own function; \
               using the public functions";
    assert_eq!(fallback(&found), (vec!["SSL_write", "SSL_write_ex", "SSL_write_ex2"], why));
    assert_eq!(hook(&found, "SSL_write_ex2").purpose, Purpose::Write(out(5)));
}

#[test]
fn callers_that_call_different_functions_are_hooked_themselves() {
    let shop = Workshop::new();
    let found = found_in(shop.gcc("v30.c", &format!("{LIBRARY} -DSPLIT"))).unwrap();
    let why = "ssl_read_internal: its callers share no call that passes their arguments on; \
               using the public functions";
    let functions = vec!["SSL_read", "SSL_read_ex", "SSL_read_early_data", "ssl_write_internal"];
    assert_eq!(fallback(&found), (functions, why));
}

#[test]
fn unoptimised_code_is_right_or_refused() {
    let shop = Workshop::new();
    let library = shop.gcc("v30.c", "-O0 -shared -fPIC");
    for file in [shop.stripped(&library), library] {
        let found = found_in(file).unwrap();
        for hook in found.hooks {
            match hook.purpose {
                Purpose::Read(call) | Purpose::Write(call) if hook.function.contains("internal") => {
                    assert_eq!(call, out(4));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn an_exported_function_wins_over_local_ones_and_two_equal_ones_are_refused() {
    let shop = Workshop::new();
    let local = "\n__attribute__((used,noinline)) static int SSL_write(void *s) { return s != 0; }\n";
    let first = shop.gcc(&format!("{local}int a;"), "-c");
    let second = shop.gcc(&format!("{local}int b;"), "-c");
    let objects = format!("{} {}", first.display(), second.display());
    let exported = "\nint SSL_read(void *s) { return !s; }\nint SSL_write(void *s) { return s == 0; }";
    let found = found_in(shop.gcc(exported, &format!("{LIBRARY} -- {objects}"))).unwrap();
    assert!(matches!(hook(&found, "SSL_write").evidence, Evidence::Symbol(inspect::SymbolTable::Dynamic)));

    let program = shop.gcc("\nint main(void) { return 0; }", &format!("-O2 -- {objects}"));
    let Err(Refusal::Unclear(why)) = found_in(program) else { panic!("not refused") };
    assert!(why[0].starts_with("SSL_write: two functions of that name, at 0x"), "{why:?}");
}

#[test]
fn choosers_and_imports_are_no_functions() {
    let shop = Workshop::new();
    let chooser = "\nstatic int f(void) { return 1; }\nstatic void *choose(void) { return f; }\n\
                   int SSL_read(void) __attribute__((ifunc(\"choose\")));";
    assert!(matches!(found_in(shop.gcc(chooser, LIBRARY)), Err(Refusal::NotOpenSsl)));
    let user = "\nint SSL_read(void);\nint user(void) { return SSL_read() + 1; }";
    assert!(matches!(found_in(shop.gcc(user, LIBRARY)), Err(Refusal::NotOpenSsl)));
}

#[test]
fn folded_functions_are_refused() {
    let shop = Workshop::new();
    let folded = "\nint SSL_peek(void *s) { return s == 0; }\n\
                  int SSL_read(void *s) __attribute__((alias(\"SSL_peek\")));\n\
                  int SSL_write(void *s) { return s != 0; }";
    let found = found_in(shop.gcc(folded, LIBRARY)).unwrap();
    assert_eq!(names(&found), ["SSL_write"]);
    assert!(found.notes.contains(&"SSL_read: same code as SSL_peek".to_owned()), "{:?}", found.notes);
}

#[test]
fn symbol_versions_do_not_hide_a_name() {
    let shop = Workshop::new();
    let versioned = "\n__asm__(\".symver old,SSL_read@OLD_1\");\nint old(void) { return 1; }\n\
                     int SSL_write(void) { return 2; }";
    let script = shop.gcc("\nOLD_1 { global: SSL_read; };\nNEW_1 { global: SSL_write; };", "-E -P -x c");
    let library = shop.gcc(versioned, &format!("{LIBRARY} -Wl,--version-script={}", script.display()));
    assert_eq!(names(&found_in(library).unwrap()), ["SSL_read", "SSL_write"]);
}
