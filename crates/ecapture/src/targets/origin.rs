//! Where a process belongs: login user, terminal, container. Read from `/proc` once it has something to say.

use std::fs;

use crate::record::Origin;

/// Reads it. What is not known, or the process is gone, is left out.
pub fn origin(pid: u32) -> Origin {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let login = String::from_utf8_lossy(&read("loginuid")).trim().parse().unwrap_or(NO_LOGIN);
    let container = container(&String::from_utf8_lossy(&read("cgroup")));
    Origin { container, ..origin_of(login, terminal(&read("stat")).unwrap_or(0)) }
}

/// The same where only user id and terminal are known, as the kernel has them.
pub fn origin_of(login: u32, terminal: u32) -> Origin {
    Origin {
        login_uid: (login != NO_LOGIN).then_some(login),
        terminal: terminal_name(terminal),
        container: None,
    }
}

/// Login user id of processes that belong to no login.
const NO_LOGIN: u32 = u32::MAX;

/// The seventh word of `/proc/PID/stat`, a device number. The second is the command name in parentheses, with any
/// character in it.
fn terminal(stat: &[u8]) -> Option<u32> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().nth(4)?.parse().ok()
}

fn terminal_name(device: u32) -> Option<String> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    // Documentation/admin-guide/devices.txt
    match major {
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        4 if minor < 64 => Some(format!("tty{minor}")),
        4 => Some(format!("ttyS{}", minor - 64)),
        0 => None,
        _ => Some(format!("{major}:{minor}")),
    }
}

/// Runtimes name cgroups after their containers: 64 hexadecimal digits, of Docker, containerd, CRI-O and Podman.
fn container(cgroups: &str) -> Option<String> {
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroups.split(|c: char| !c.is_ascii_alphanumeric()).rev().find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_is_found_behind_any_name() {
        let named = |stat| terminal(stat).and_then(terminal_name);
        assert_eq!(named(b"7 (a) b) S 1 7 7 34819 7 0"), Some("pts/3".to_owned()));
        assert_eq!(named(b"7 (sh) S 1 7 7 1025 7 0"), Some("tty1".to_owned()));
        assert_eq!(named(b"7 (sh) S 1 7 7 1088 7 0"), Some("ttyS0".to_owned()));
        assert_eq!(named(b"7 (sh) S 1 7 7 0 -1 0"), None);
        assert_eq!(named(b""), None);
    }

    #[test]
    fn containers_are_named_in_the_cgroup() {
        let id = "0123456789abcdef".repeat(4);
        for cgroup in [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/kubepods/besteffort/pod12/{id}\n"),
            format!("1:name=systemd:/docker/{id}\n0::/\n"),
        ] {
            assert_eq!(container(&cgroup), Some(id.clone()), "{cgroup}");
        }
        assert_eq!(container("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }
}
