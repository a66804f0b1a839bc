//! The direction of imports: a room uses only what is below it (ARCHITECTURE.md). Read from `use` lines and paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src`, with the rooms that it may use.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("main", &["cli", "escape", "explain", "extcap", "logging", "run", "server"]),
    (
        "run",
        &[
            "bpf",
            "cli",
            "control",
            "filter",
            "pipeline",
            "preflight",
            "privileges",
            "probes",
            "record",
            "server",
            "sinks",
            "status",
            "targets",
        ],
    ),
    ("extcap", &["bpf", "cli", "targets"]),
    ("control", &["bpf", "cli", "pipeline", "server", "sinks", "status", "targets"]),
    ("logging", &["cli", "privileges", "server", "sinks"]),
    ("cli", &["bpf", "filter", "probes", "server", "sinks", "targets"]),
    // Knows nothing of the capture: it gets records as a sink, and hands on what is asked.
    ("server", &["record", "sinks", "status"]),
    ("preflight", &["bpf", "privileges"]),
    ("privileges", &["bpf"]),
    // A sink reads records and nothing else.
    ("sinks", &["escape", "record"]),
    ("pipeline", &["bpf", "filter", "probes", "record", "sinks", "status", "targets"]),
    // Reads what was decoded, before any sink does.
    ("filter", &["record"]),
    ("targets", &["bpf", "escape", "probes", "record", "status"]),
    ("probes", &["bpf"]),
    ("explain", &["bpf", "escape", "probes"]),
    ("record", &[]),
    ("status", &[]),
    ("escape", &[]),
    // Knows no library and nothing above it.
    ("bpf", &[]),
];

/// Crates of the workspace, with the rooms that may use them.
const CRATES: [(&str, &[&str]); 2] =
    [("decode", &["filter", "pipeline", "record", "sinks"]), ("inspect", &["explain", "probes"])];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room of a file: its directory or, at the top, its name.
fn room(file: &Path) -> String {
    let path = file.strip_prefix(root().join("src")).expect("below src").with_extension("");
    path.components().next().expect("a name").as_os_str().to_string_lossy().into_owned()
}

/// A file without comments, and without its tests at the end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The words that follow `prefix` in a text, also in braces: `crate::{a, b::c}`.
fn names_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let name = |text: &'a str| {
        let text = text.trim_start();
        &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let is_whole =
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        if !is_whole {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => {
                found.insert(name(rest));
            }
            Some(group) => found.extend(group_names(group).into_iter().map(name)),
        }
    }
    found
}

/// The parts of a group up to its closing brace, split at commas of its own level.
fn group_names(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[test]
fn rooms_use_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("src")) {
        let room = room(&file);
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            panic!(
                "{}: a room that tests/layers.rs does not know; say there what it may use",
                file.display()
            );
        };
        let code = code(&file);
        let mut used = names_after(&code, "crate::");
        if room == "main" {
            // The root of the crate names rooms without `crate::`.
            used.extend(
                names_after(&code, "use ")
                    .into_iter()
                    .filter(|name| MAY_USE.iter().any(|(room, _)| room == name)),
            );
        }
        for name in used {
            if name != room && !may.contains(&name) {
                wrong.push(format!("{}: {room} must not use {name}", file.display()));
            }
        }
        for (krate, users) in CRATES {
            let uses = !names_after(&code, &format!("{krate}::")).is_empty();
            if uses && !users.contains(&&*room) {
                wrong.push(format!("{}: {room} must not use the crate {krate}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_order_has_no_cycle() {
    fn reaches(from: &str, to: &str) -> bool {
        let below = MAY_USE.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, below)| below);
        below.iter().any(|name| *name == to || reaches(name, to))
    }
    for (room, _) in MAY_USE {
        assert!(!reaches(room, room), "{room} uses itself");
    }
}

#[test]
fn rooms_do_not_look_into_the_files_of_another() {
    // `bpf::ring::...` from outside: what others may use is what bpf/mod.rs names.
    for file in sources(&root().join("src")) {
        let (room, code) = (room(&file), code(&file));
        for (other, _) in MAY_USE.iter().filter(|(other, _)| *other != room) {
            let folder = root().join("src").join(other);
            for name in names_after(&code, &format!("crate::{other}::")) {
                let inside = folder.join(name).with_extension("rs");
                assert!(!inside.exists(), "{}: use what {other}/mod.rs offers, not {name}", file.display());
            }
        }
    }
}

#[test]
fn the_other_crates_do_no_input_or_output() {
    for krate in ["decode", "inspect"] {
        for file in sources(&root().join("..").join(krate).join("src")) {
            let code = code(&file);
            let allowed_file = krate == "inspect"; // it reads the file that it is given
            for forbidden in ["std::net", "std::process", "std::thread", "std::env", "unsafe "] {
                assert!(!code.contains(forbidden), "{}: {forbidden}", file.display());
            }
            assert!(allowed_file || !code.contains("std::fs"), "{}: std::fs", file.display());
        }
    }
}

#[test]
fn imports_are_found() {
    let code = "use crate::{a::{b, c}, d}; use crate::e::F; let x = crate::g::h(); use super::crate_::z; othercrate::no";
    assert_eq!(names_after(code, "crate::").into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
}
