//! Capabilities: each thread keeps only what it needs. They belong to threads, not to the process.

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

use crate::bpf::Features;

/// What the thread that attaches to new programs needs: attach, look into other processes, read their files.
pub fn to_attach(features: &Features) -> CapabilitySet {
    let always = CapabilitySet::BPF
        | CapabilitySet::PERFMON
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::CHECKPOINT_RESTORE;
    // Uprobes by way of perf events want it (kernel/events/core.c, perf_uprobe_event_init).
    if features.uprobe_multi { always } else { always | CapabilitySet::SYS_ADMIN }
}

/// What reading counters needs: before Linux 6.5 bpf(2) refuses everything without it.
pub fn to_count(features: &Features) -> CapabilitySet {
    if features.uprobe_multi { CapabilitySet::empty() } else { CapabilitySet::BPF }
}

/// What capturing packets at new interfaces needs: programs there, and packet sockets.
pub fn to_capture_packets() -> CapabilitySet {
    CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW
}

/// What this thread may do.
///
/// # Errors
/// The kernel does not say; it always does.
pub fn effective() -> Result<CapabilitySet> {
    Ok(capabilities(None).context("read our capabilities")?.effective)
}

/// Gives up everything but `kept` in this thread, for good: also a program that it would run gets no more.
pub fn keep(kept: CapabilitySet) -> Result<()> {
    set_no_new_privs(true).context("set no_new_privs")?;
    let held = capabilities(None).context("read our capabilities")?;
    let rest = CapabilitySets {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, rest).context("give up capabilities")
}

/// Gives up everything in this thread; a failure is not worth stopping for.
pub fn drop_all() {
    if let Err(error) = keep(CapabilitySet::empty()) {
        tracing::warn!("{error:#}");
    }
}

/// Keeps what a thread needs that makes files in the place of others, in directories of any user.
pub fn keep_for_files() {
    if let Err(error) = keep(CapabilitySet::DAC_OVERRIDE) {
        tracing::warn!("{error:#}");
    }
}

/// Puts this thread before others that want the CPU. Without `CAP_SYS_NICE` it stays as it is.
pub fn hurry() {
    let _ = rustix::process::setpriority_process(None, -20);
}
