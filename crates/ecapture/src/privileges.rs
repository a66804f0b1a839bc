//! Capabilities: each thread keeps only what it needs. They belong to threads, not to the process.

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What the thread that attaches to new programs needs: load and attach, look into other processes,
/// read their files.
pub const TO_ATTACH: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// What this thread may do.
///
/// # Errors
/// The kernel does not say; it always does.
pub fn effective() -> Result<CapabilitySet> {
    Ok(capabilities(None).context("read our capabilities")?.effective)
}

/// Gives up everything but `kept` in this thread, for good.
pub fn keep(kept: CapabilitySet) -> Result<()> {
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

/// Puts this thread before others that want the CPU. Without `CAP_SYS_NICE` it stays as it is.
pub fn hurry() {
    let _ = rustix::process::setpriority_process(None, -10);
}
