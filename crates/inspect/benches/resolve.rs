//! What it costs to inspect a file. Limits: libssl 3 ms, 15 ms without its symbols, Node.js 60 ms and 0.7 s, an unrelated library 1 ms.

use std::fs::File;

use inspect::{Binary, openssl};

const FILES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/libssl.so.3",
    "/usr/bin/node",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
];

fn main() {
    divan::main();
}

#[divan::bench(args = FILES)]
fn may_be(path: &str) -> bool {
    let file = File::open(path).expect("a file of the machine");
    openssl::may_be(&Binary::open(&file).expect("an ELF file")).expect("a readable file")
}

#[divan::bench(args = FILES)]
fn resolve(path: &str) -> usize {
    let file = File::open(path).expect("a file of the machine");
    let binary = Binary::open(&file).expect("an ELF file");
    openssl::resolve(&binary).map_or(0, |found| found.hooks.len())
}

#[divan::bench(args = &FILES[..2])]
fn resolve_plaintext(path: &str) -> usize {
    let file = File::open(path).expect("a file of the machine");
    let binary = Binary::open(&file).expect("an ELF file");
    openssl::resolve_plaintext(&binary).map_or(0, |found| found.hooks.len())
}

#[divan::bench(args = &FILES[..2])]
fn resolve_without_symbols(path: &str) -> usize {
    let file = File::open(path).expect("a file of the machine");
    let binary = Binary::open(&file).expect("an ELF file");
    openssl::resolve_without_symbols(&binary).map_or(0, |found| found.hooks.len())
}
