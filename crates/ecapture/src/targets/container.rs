//! In which container a process runs, by the names of its cgroups.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// Bytes of `/proc/PID/cgroup` that are read.
const READ: u64 = 16 << 10;

/// Hexadecimal digits of an id, as Docker, containerd, CRI-O and Podman make them.
const DIGITS: usize = 64;

/// The id of the container of a process, if it runs in one and is there.
pub fn container(pid: u32) -> Option<Arc<str>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/cgroup")).ok()?.take(READ).read_to_end(&mut text).ok()?;
    id(&String::from_utf8_lossy(&text)).map(Arc::from)
}

/// The id in the innermost cgroup that has one: `docker-ID.scope`, `cri-containerd-ID.scope`, `/kubepods/…/ID`.
fn id(cgroups: &str) -> Option<&str> {
    let is_id = |word: &&str| word.len() == DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroups.lines().find_map(|line| line.rsplit(['/', '-', '.', ':']).find(is_id))
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_in_names_of_cgroups() {
        let [a, b] = ["a1".repeat(32), "b2".repeat(32)];
        for (cgroups, expected) in [
            (format!("0::/system.slice/docker-{a}.scope\n"), Some(&a)),
            (format!("12:pids:/docker/{a}\n0::/system.slice\n"), Some(&a)),
            (format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{a}.scope"), Some(&a)),
            (format!("0::/kubepods/besteffort/pod1/{a}"), Some(&a)),
            (format!("0::/machine.slice/libpod-{a}.scope/container"), Some(&a)),
            (format!("0::/docker/{a}/docker/{b}/init.scope"), Some(&b)),
            ("0::/user.slice/user-1000.slice/session-2.scope\n".to_owned(), None),
            (format!("0::/docker/{}", &a[1..]), None),
        ] {
            assert_eq!(super::id(&cgroups), expected.map(String::as_str), "{cgroups}");
        }
    }
}
