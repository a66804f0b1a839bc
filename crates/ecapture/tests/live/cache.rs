//! What is found in a file is kept for the next run, and believed only where nobody else can have written it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::capture::{Capture, ecapture};
use crate::lab::Lab;

/// The one entry of a cache.
#[track_caller]
fn entry(cache: &Path) -> PathBuf {
    let mut entries = fs::read_dir(cache).expect("a cache").map(|entry| entry.expect("an entry").path());
    let entry = entries.next().expect("an entry");
    assert_eq!(entries.next(), None);
    entry
}

/// What a run with that cache says.
fn run(lab: &Lab, cache: &Path, options: &[&str]) -> String {
    let mut command = ecapture();
    command.env("CACHE_DIRECTORY", cache);
    let library = lab.libssl.to_str().expect("UTF-8");
    let captured = Capture::with(command, [&["--libssl", library], options].concat()).stop();
    assert_eq!((captured.code, captured.attached(library)), (0, 1), "{}", captured.stderr);
    captured.stderr
}

#[test]
fn a_file_is_analysed_once() {
    let lab = Lab::new();
    let cache = lab.path("cache");
    run(&lab, &cache, &[]);
    let entry = entry(&cache);
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!((mode(&cache), mode(&entry)), (0o700, 0o600));
    // The description comes from the entry; and only where it may.
    let kept = fs::read_to_string(&entry).expect("an entry");
    fs::write(&entry, kept.replace("ssl_read_internal", "from_the_cache")).expect("written");
    assert!(run(&lab, &cache, &[]).contains("from_the_cache"));
    assert!(!run(&lab, &cache, &["--no-cache"]).contains("from_the_cache"));
    assert!(!run(&lab, &cache, &["-m", "text,keylog", "-k", "/dev/null"]).contains("from_the_cache"));
}

#[test]
fn what_others_can_write_is_not_believed() {
    let lab = Lab::new();
    let cache = lab.path("cache");
    run(&lab, &cache, &[]);
    let entry = entry(&cache);
    let kept = fs::read_to_string(&entry).expect("an entry");
    fs::write(&entry, kept.replace("ssl_read_internal", "from_the_cache")).expect("written");
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("chmod");
    assert!(!run(&lab, &cache, &[]).contains("from_the_cache"));
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("chmod");
    let said = run(&lab, &cache, &[]);
    assert!(!said.contains("from_the_cache") && said.contains("others can write to it"), "{said}");
}

#[test]
fn what_is_found_in_a_file_that_may_change_is_not_kept() {
    let lab = Lab::new();
    let cache = lab.path("cache");
    let writer = fs::OpenOptions::new().append(true).open(&lab.libssl).expect("to write");
    run(&lab, &cache, &[]);
    assert_eq!(fs::read_dir(&cache).expect("a cache").count(), 0);
    drop(writer);
    run(&lab, &cache, &[]);
    entry(&cache);
}

#[test]
fn a_damaged_entry_is_no_entry() {
    let lab = Lab::new();
    let cache = lab.path("cache");
    run(&lab, &cache, &[]);
    fs::write(entry(&cache), "{\"Hooks\":").expect("written");
    assert!(run(&lab, &cache, &[]).contains("ssl_read_internal"));
}

#[test]
fn files_of_earlier_runs_are_hooked_before_they_are_used() {
    let lab = Lab::new();
    let cache = lab.path("cache");
    let run = || {
        let mut command = ecapture();
        command.env("CACHE_DIRECTORY", &cache);
        let captured = Capture::everywhere_with(command).stop();
        assert_eq!(captured.code, 0, "{}", captured.stderr);
        let library = lab.libssl.to_str().expect("UTF-8");
        let line = captured.stderr.lines().find(|line| line.contains(library)).map(str::to_owned);
        line.unwrap_or_default()
    };
    assert_eq!(run(), "");
    let server = lab.server(&[]);
    assert!(run().contains("of process"));
    drop(server);
    assert!(run().contains("(had probes in an earlier run)"));
    let unused = lab.path("unused");
    fs::rename(&lab.libssl, &unused).expect("renamed");
    assert_eq!(run(), "");
    fs::rename(&unused, &lab.libssl).expect("renamed");
    assert_eq!(run(), "", "a file that is gone is forgotten");
}
