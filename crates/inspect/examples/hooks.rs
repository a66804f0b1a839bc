//! Shows what would be hooked in the files named on the command line; behind `--without-symbols`, as if they had none.

use std::error::Error;
use std::fs::File;
use std::time::Instant;

use inspect::openssl::{OpenSsl, Refusal};
use inspect::{Binary, openssl};

fn main() {
    let mut resolve: fn(&Binary<'_>) -> Result<OpenSsl, Refusal> = openssl::resolve;
    for path in std::env::args().skip(1) {
        if path == "--without-symbols" {
            resolve = openssl::resolve_without_symbols;
            continue;
        }
        println!("{path}");
        if let Err(error) = show(&path, resolve) {
            println!("  {error}");
        }
    }
}

fn show(path: &str, resolve: fn(&Binary<'_>) -> Result<OpenSsl, Refusal>) -> Result<(), Box<dyn Error>> {
    let file = File::open(path)?;
    let start = Instant::now();
    let binary = Binary::open(&file)?;
    let found = resolve(&binary)?;
    let (kind, machine, taken) = (binary.kind(), binary.machine(), start.elapsed());
    println!("  {} ({:?}) {kind:?} {machine} in {taken:?}", found.flavour, found.version);
    for hook in &found.hooks {
        let (site, evidence, purpose) = (&hook.site, &hook.evidence, &hook.purpose);
        println!(
            "  {:21}{:#x}+{} {:?} {purpose:?} {evidence:?}",
            hook.function, site.address, site.skip, site.cost
        );
    }
    for note in &found.notes {
        println!("  note: {note}");
    }
    Ok(())
}
