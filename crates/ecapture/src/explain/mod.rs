//! `ecapture inspect`: what a file is to us and why. Reads the file; needs no privileges and runs nothing.

mod commands;
mod report;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use inspect::Binary;

use crate::escape;
use report::Report;

/// Writes what each file is to standard output, or an error to standard error. Whether each file was read and has all
/// that a capture needs.
///
/// # Errors
/// Standard output can not be written.
pub fn explain(files: &[PathBuf], json: bool) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let mut complete = true;
    for file in files {
        match examine(file) {
            Ok(report) => {
                complete &= report.is_complete();
                if json {
                    serde_json::to_writer(&mut out, &report)?;
                    out.write_all(b"\n")?;
                } else {
                    report.write(&mut out)?;
                }
            }
            Err(error) => {
                complete = false;
                eprintln!("ecapture: {}", escape::name(&format!("{error:#}")));
            }
        }
    }
    out.flush()?;
    Ok(complete)
}

fn examine(path: &Path) -> Result<Report> {
    let name = || path.display().to_string();
    // Opening a pipe would wait for somebody.
    ensure!(fs::metadata(path).with_context(name)?.is_file(), "{}: not a regular file", name());
    let file = File::open(path).with_context(name)?;
    let binary = Binary::open(&file).with_context(name)?;
    Report::new(path, &binary).with_context(name)
}
