//! Shows what would be hooked in the files named on the command line; behind `--without-symbols`, as if they had none.

use std::error::Error;
use std::fs::File;
use std::time::Instant;

use inspect::openssl::{OpenSsl, Refusal};
use inspect::{Binary, Label, Purpose, openssl};

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
        let (site, evidence, purpose) = (&hook.site, &hook.evidence, in_words(&hook.purpose));
        println!(
            "  {:21}{:#x}+{} file {:#x} {:?} {purpose} {evidence:?}",
            hook.function, site.address, site.skip, site.file_offset, site.cost
        );
    }
    if let Some(keys) = &found.keys {
        println!("  object: client random {}", keys.client_random.from("object"));
        if let Some(master) = keys.master {
            let (secret, length) = (master.secret.from("object"), master.length.from("object"));
            println!("  object: master secret {secret}, {}-byte length {length}", master.width);
        }
        if let Some(exporter) = keys.exporter {
            println!("  object: exporter secret {}", exporter.from("object"));
        }
    }
    for note in &found.notes {
        println!("  note: {note}");
    }
    Ok(())
}

fn in_words(purpose: &Purpose) -> String {
    let Purpose::Secret(secret) = purpose else { return format!("{purpose:?}") };
    let label = match secret.label {
        Label::Text(at) => at.to_string(),
        Label::Sized(at, length) => format!("{at} ({length} bytes)"),
        Label::Fixed(label) => label.to_owned(),
        Label::KeyExpansion(at) => format!("CLIENT_RANDOM of a key expansion ({at})"),
    };
    let object = secret.object.map_or("unknown".to_owned(), |object| object.to_string());
    let (random, bytes, length) = (secret.client_random, secret.secret, secret.length);
    format!("object {object}, label {label}, client random {random}, secret {bytes}, length {length};")
}
