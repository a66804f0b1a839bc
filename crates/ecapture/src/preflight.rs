//! Checks of the machine before anything is loaded: each failure is one sentence that says what to do.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::thread::CapabilitySet;

use crate::bpf::{Features, Shape};
use crate::privileges;

/// Oldest kernel that is supported: the first with a BPF ring buffer.
const OLDEST: (u32, u32) = (5, 8);

/// What must be true before the kernel is asked for anything.
///
/// # Errors
/// The first thing that is missing.
pub fn check() -> Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release).is_some_and(|version| version < OLDEST) {
        bail!("Linux {release} is too old: {}.{} or newer is needed", OLDEST.0, OLDEST.1);
    }
    let held = privileges::effective()?;
    let any = |options: &[CapabilitySet]| options.iter().any(|option| held.contains(*option));
    if !any(&[CapabilitySet::BPF, CapabilitySet::SYS_ADMIN]) {
        bail!(
            "not permitted to load BPF programs: run as root, or give CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
        );
    }
    if !any(&[CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN]) {
        bail!("not permitted to attach uprobes: CAP_PERFMON is missing; run as root or give it");
    }
    if !any(&[CapabilitySet::SYS_PTRACE]) {
        tracing::warn!("CAP_SYS_PTRACE is missing: programs of other users may not be found");
    }
    if !Path::new("/proc/self/maps").exists() {
        bail!("/proc is not mounted: mount it with `mount -t proc proc /proc`");
    }
    if !Path::new("/sys/bus/event_source/devices/uprobe").exists() {
        bail!("this kernel has no uprobes (or /sys is not mounted): CONFIG_UPROBE_EVENTS=y is needed");
    }
    Ok(())
}

/// What the kernel must be able to do, once it was asked.
///
/// # Errors
/// No way to capture on this kernel.
pub fn check_features(features: &Features, shape: Shape) -> Result<()> {
    if !features.ring_buffer {
        bail!("this kernel has no BPF ring buffer: Linux 5.8 or newer is needed");
    }
    if !features.uprobe_multi && !privileges::effective()?.contains(CapabilitySet::SYS_ADMIN) {
        bail!("before Linux 6.6 only CAP_SYS_ADMIN may attach uprobes: run as root or give it");
    }
    if !features.btf && shape == Shape::Shells {
        bail!("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): programs of shells can not be seen");
    }
    if !features.btf {
        tracing::warn!("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): connections show no addresses");
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        tracing::warn!(
            "kernel lockdown is \"confidentiality\": BPF may be refused; boot with lockdown=integrity or none"
        );
    }
    Ok(())
}

/// What capturing packets needs besides.
///
/// # Errors
/// The first thing that is missing.
pub fn check_packets(has_filter: bool) -> Result<()> {
    let held = privileges::effective()?;
    if !held.contains(CapabilitySet::NET_ADMIN) {
        bail!(
            "-m pcapng: not permitted to capture packets: CAP_NET_ADMIN is missing; run as root or give it"
        );
    }
    if has_filter && !held.contains(CapabilitySet::NET_RAW) {
        bail!("-m pcapng with a filter: CAP_NET_RAW is missing; run as root or give it");
    }
    Ok(())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("custom"), None);
    }
}
