//! Which programs are shells, and which of them run already.

use std::fs;
use std::io;

use rustc_hash::FxHashSet;

use super::procfs;

/// Names of programs that are shells.
pub const SHELLS: [&str; 31] = [
    "ash",
    "bash",
    "bash-static",
    "busybox",
    "busybox-static",
    "csh",
    "dash",
    "elvish",
    "fish",
    "hush",
    "ksh",
    "ksh93",
    "lksh",
    "mksh",
    "mksh-static",
    "nu",
    "oksh",
    "osh",
    "posh",
    "pwsh",
    "rbash",
    "rc",
    "sash",
    "sh",
    "static-sh",
    "tcsh",
    "toybox",
    "xonsh",
    "yash",
    "zsh",
    "zsh-static",
];

/// Bytes of a command name that the kernel keeps.
const COMM: usize = 15;

/// A process as `/proc` shows it.
struct Process {
    pid: u32,
    parent: u32,
    is_shell: bool,
}

/// Shells that run now; with `pids`, these processes and all that descend from them, and whether they are shells.
///
/// # Errors
/// `/proc` is not mounted.
pub fn running_shells(names: &[String], pids: &[u32]) -> io::Result<Vec<(u32, bool)>> {
    let all: Vec<Process> = procfs::processes()?.filter_map(|pid| look(pid, names)).collect();
    if pids.is_empty() {
        return Ok(all.iter().filter(|process| process.is_shell).map(|shell| (shell.pid, true)).collect());
    }
    let mut family: FxHashSet<u32> = pids.iter().copied().collect();
    loop {
        let before = family.len();
        family
            .extend(all.iter().filter(|it| family.contains(&it.parent)).map(|it| it.pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    let members = all.iter().filter(|process| family.contains(&process.pid));
    Ok(members.map(|process| (process.pid, process.is_shell)).collect())
}

/// `None`: it is gone.
fn look(pid: u32, names: &[String]) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (comm, parent) = name_and_parent(&stat)?;
    // A script has its own name, and the file of its shell.
    let file = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let file = file.file_name().unwrap_or_default().as_encoded_bytes();
    let file = file.strip_suffix(b" (deleted)").unwrap_or(file);
    let is_name = |of: &[u8]| names.iter().any(|name| cut(name.as_bytes()) == cut(of));
    Some(Process { pid, parent, is_shell: is_name(comm) || is_name(file) })
}

fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(COMM)]
}

/// The second word of `/proc/PID/stat`, in parentheses and with any character in it, and the fourth.
fn name_and_parent(stat: &[u8]) -> Option<(&[u8], u32)> {
    let start = memchr::memchr(b'(', stat)? + 1;
    let end = memchr::memrchr(b')', stat)?;
    let parent = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace().nth(1)?;
    Some((stat.get(start..end)?, parent.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses() {
        assert_eq!(name_and_parent(b"7 (a) (b) S 12 7 7"), Some((&b"a) (b"[..], 12)));
        assert_eq!(name_and_parent(b"7 )sh( S 1"), None);
        assert_eq!(name_and_parent(b""), None);
    }

    #[test]
    fn families_are_found() {
        let own = std::process::id();
        let parent = std::os::unix::process::parent_id();
        let family = running_shells(&[], &[parent]).expect("processes");
        assert!(family.contains(&(parent, false)) && family.contains(&(own, false)), "{family:?}");
        let name = std::env::current_exe().expect("a path");
        let name = name.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(running_shells(&[name], &[]).expect("processes").contains(&(own, true)));
    }
}
