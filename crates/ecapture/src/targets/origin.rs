//! Where a process belongs: login user and terminal. Read from `/proc` once it has something to say.

use std::fs;

use crate::record::Origin;

/// Reads it. What is not known, or the process is gone, is left out.
pub fn origin(pid: u32) -> Origin {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let login = String::from_utf8_lossy(&read("loginuid")).trim().parse().unwrap_or(NO_LOGIN);
    origin_of(login, terminal(&read("stat")).unwrap_or(0))
}

/// The same where only user id and terminal are known, as the kernel has them.
pub fn origin_of(login: u32, terminal: u32) -> Origin {
    Origin { login_uid: (login != NO_LOGIN).then_some(login), terminal: terminal_name(terminal) }
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
}
