//! What this kernel can do: probed, not guessed from its version.

use std::ffi::CStr;
use std::fs;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::bail;
use libbpf_sys as sys;
use rustix::io::Errno;

/// Kernel features that select between ways of doing the same thing.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Type information of the kernel (`CONFIG_DEBUG_INFO_BTF`).
    pub btf: bool,
    /// Task storage, `bpf_loop` and attach cookies: what the modern objects need (Linux 5.17).
    pub modern: bool,
    /// Attach cookies (Linux 5.15).
    pub cookie: bool,
    /// Many probes by one link (Linux 6.6).
    pub uprobe_multi: bool,
    /// One probe for the entry and the return of a function (Linux 6.13).
    pub uprobe_session: bool,
    /// Tracepoints in send and receive of every socket (Linux 6.3).
    pub socket_tracepoints: bool,
    /// Programs at interfaces that go away with us (Linux 6.6).
    pub tcx: bool,
    /// The ring buffer (Linux 5.8).
    pub ring_buffer: bool,
}

/// Turns features off by name, comma separated: to run the paths of older kernels on a new one.
const DISABLE: &str = "ECAPTURE_DISABLE_FEATURES";

const NAMES: [&str; 8] =
    ["btf", "modern", "cookie", "uprobe_multi", "uprobe_session", "socket_tracepoints", "tcx", "ring_buffer"];

impl Features {
    /// Asks the kernel. Needs the capabilities that loading programs needs.
    ///
    /// # Errors
    /// An unknown name in `ECAPTURE_DISABLE_FEATURES`.
    pub fn probe() -> anyhow::Result<Self> {
        let btf = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let cookie = has_helper(sys::BPF_FUNC_get_attach_cookie);
        let mut features = Self {
            btf: !btf.is_empty(),
            modern: !btf.is_empty()
                && cookie
                && has_helper(sys::BPF_FUNC_loop)
                && has_map(sys::BPF_MAP_TYPE_TASK_STORAGE),
            cookie,
            uprobe_multi: has_link(sys::BPF_TRACE_UPROBE_MULTI),
            uprobe_session: has_link(sys::BPF_TRACE_UPROBE_SESSION),
            socket_tracepoints: memchr::memmem::find(&btf, b"btf_trace_sock_send_length\0").is_some(),
            tcx: has_tcx(),
            ring_buffer: has_map(sys::BPF_MAP_TYPE_RINGBUF),
        };
        if let Ok(names) = std::env::var(DISABLE) {
            features.disable(&names)?;
        }
        features.uprobe_session &= features.modern; // only the modern object has the program for it
        Ok(features)
    }

    /// Goes on as if the kernel had no BTF.
    pub fn forget_btf(&mut self) {
        (self.btf, self.modern, self.socket_tracepoints, self.uprobe_session) = (false, false, false, false);
    }

    fn disable(&mut self, names: &str) -> anyhow::Result<()> {
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "btf" => self.forget_btf(),
                "modern" => self.modern = false,
                "cookie" => (self.cookie, self.modern, self.uprobe_multi) = (false, false, false),
                "uprobe_multi" => (self.uprobe_multi, self.uprobe_session) = (false, false),
                "uprobe_session" => self.uprobe_session = false,
                "socket_tracepoints" => self.socket_tracepoints = false,
                "tcx" => self.tcx = false,
                "ring_buffer" => self.ring_buffer = false,
                _ => bail!("{DISABLE}: unknown feature {name:?}; known: {}", NAMES.join(", ")),
            }
        }
        Ok(())
    }
}

fn has_helper(helper: u32) -> bool {
    // SAFETY: a query by numbers; the last argument may be null.
    unsafe { sys::libbpf_probe_bpf_helper(sys::BPF_PROG_TYPE_KPROBE, helper, std::ptr::null()) == 1 }
}

fn has_map(kind: u32) -> bool {
    // SAFETY: as above.
    unsafe { sys::libbpf_probe_bpf_map_type(kind, std::ptr::null()) == 1 }
}

/// A link on `/` can not be made, but a kernel that knows the kind of link says so with EBADF.
fn has_link(kind: u32) -> bool {
    load_empty(sys::BPF_PROG_TYPE_KPROBE, kind)
        .is_some_and(|program| link_uprobe(&program, c"/", kind).is_err_and(|error| error == Errno::BADF))
}

/// Puts a probe at offset 0 of a file.
pub(super) fn link_uprobe(program: &OwnedFd, path: &CStr, kind: u32) -> Result<OwnedFd, Errno> {
    let offset: std::ffi::c_ulong = 0;
    let mut options = sys::bpf_link_create_opts {
        sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
        ..Default::default()
    };
    options.__bindgen_anon_1.uprobe_multi.path = path.as_ptr();
    options.__bindgen_anon_1.uprobe_multi.offsets = &raw const offset;
    options.__bindgen_anon_1.uprobe_multi.cnt = 1;
    // SAFETY: the options and what they point to outlive the call.
    let fd = unsafe { sys::bpf_link_create(program.as_raw_fd(), -1, kind, &raw const options) };
    if fd < 0 {
        return Err(Errno::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// No interface has this index, but a kernel that knows the kind of link looks for it.
fn has_tcx() -> bool {
    let Some(program) = load_empty(sys::BPF_PROG_TYPE_SCHED_CLS, 0) else { return false };
    // SAFETY: descriptors and numbers; the options may be null.
    let fd = unsafe {
        sys::bpf_link_create(program.as_raw_fd(), i32::MAX, sys::BPF_TCX_INGRESS, std::ptr::null())
    };
    fd == -Errno::NODEV.raw_os_error()
}

/// A program that returns 0, for questions about attaching.
pub(super) fn load_empty(kind: u32, attach_type: u32) -> Option<OwnedFd> {
    let instructions = [
        sys::bpf_insn { code: 0xb7, ..Default::default() }, // r0 = 0
        sys::bpf_insn { code: 0x95, ..Default::default() }, // exit
    ];
    let mut options = sys::bpf_prog_load_opts {
        sz: size_of::<sys::bpf_prog_load_opts>() as sys::size_t,
        expected_attach_type: attach_type,
        ..Default::default()
    };
    // SAFETY: pointers are valid for the call, and the count is that of the array.
    let fd = unsafe {
        sys::bpf_prog_load(
            kind,
            std::ptr::null(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as sys::size_t,
            &raw mut options,
        )
    };
    // SAFETY: a positive result is a descriptor that nothing else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
