//! A Go program for both machines, built by the installed Go; nothing is tested where there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use inspect::Binary;
use inspect::go::{Convention, Go, Purpose, resolve};

const PROGRAM: &str = r#"
package main

import "crypto/tls"

func main() {
	connection, err := tls.Dial("tcp", "localhost:443", nil)
	if err == nil {
		connection.Write([]byte("hello"))
		connection.Read(make([]byte, 5))
		connection.Close()
	}
}
"#;

/// Ways to link: at any address, with symbols and without; at a fixed one.
const WAYS: [&[&str]; 3] = [&["-buildmode=pie"], &["-buildmode=pie", "-ldflags=-s -w"], &[]];
/// `ret` of aarch64 and x86_64.
const RETURNS: [&[u8]; 2] = [&[0xc0, 0x03, 0x5f, 0xd6], &[0xc3]];

fn build(directory: &Path, machine: &str, flags: &[&str]) -> Option<PathBuf> {
    let output = directory.join("program");
    fs::write(directory.join("main.go"), PROGRAM).unwrap();
    let mut go = Command::new(env::var_os("GO").unwrap_or_else(|| "go".into()));
    go.current_dir(directory).env("CGO_ENABLED", "0").env("GOARCH", machine).env("GO111MODULE", "off");
    let built = go.arg("build").args(flags).arg("-o").arg(&output).arg("main.go").output().ok()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(output)
}

/// Addresses of functions, by the tool that comes with Go.
fn addresses(program: &Path) -> BTreeMap<String, u64> {
    let listed = Command::new("go").args(["tool", "nm"]).arg(program).output().unwrap();
    let lines = String::from_utf8(listed.stdout).unwrap();
    let words = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let functions = words.filter_map(|words| match words[..] {
        [address, _, name] => Some((name.to_owned(), u64::from_str_radix(address, 16).ok()?)),
        _ => None,
    });
    functions.collect()
}

fn found_in(program: &[u8]) -> Go {
    resolve(&Binary::open(&program).unwrap()).unwrap()
}

#[test]
fn functions_are_found_on_both_machines_with_symbols_and_without() {
    let directory = tempfile::tempdir().unwrap();
    for (machine, convention, ret) in
        [("arm64", Convention::RegistersArm, RETURNS[0]), ("amd64", Convention::RegistersX86, RETURNS[1])]
    {
        let mut named = BTreeMap::new();
        for flags in WAYS {
            let Some(program) = build(directory.path(), machine, flags) else { return };
            let bytes = fs::read(&program).unwrap();
            let found = found_in(&bytes);
            let case = format!("{machine} {flags:?}: {found:#x?}");
            assert_eq!((found.convention, found.notes.len()), (convention, 0), "{case}");
            // A client has no serverHandshake.
            assert_eq!((found.functions.len(), found.sockets.len()), (5, 2), "{case}");
            // A stripped program has its functions where the one before it has them.
            let listed = addresses(&program);
            if !listed.is_empty() {
                named = listed;
            }
            for function in &found.functions {
                assert_eq!(named.get(function.name), Some(&function.address), "{case}");
                let moves = matches!(function.purpose, Purpose::Read | Purpose::Write);
                assert_eq!(function.returns.is_empty(), !moves, "{case}");
                for at in &function.returns {
                    assert!(bytes[*at as usize..].starts_with(ret), "{case}");
                }
            }
        }
    }
}

#[test]
fn damaged_programs_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = build(directory.path(), "arm64", WAYS[1]) else { return };
    let bytes = fs::read(program).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 20) {
        let _ = Binary::open(&&bytes[..length]).map(|binary| resolve(&binary));
    }
    for start in (0..bytes.len()).step_by(bytes.len() / 20) {
        let mut damaged = bytes.clone();
        let end = bytes.len().min(start + bytes.len() / 100);
        damaged[start..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        let _ = Binary::open(&damaged.as_slice()).map(|binary| resolve(&binary));
    }
}
