//! Filter expressions, compiled by libpcap: its language, to the letter.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use anyhow::{Result, bail};

/// What a packet of an interface begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header.
    Raw,
}

/// An expression that libpcap understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(CString);

/// An instruction of classic BPF, `struct bpf_insn` of libpcap and `struct sock_filter` of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Classic {
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// And when it does not.
    pub jf: u8,
    pub k: u32,
}

impl Expression {
    /// Checks an expression.
    ///
    /// # Errors
    /// What libpcap says of it.
    pub fn new(text: &str) -> Result<Self> {
        let Ok(text) = CString::new(text) else { bail!("filter expression: it has a NUL character") };
        let expression = Self(text);
        Handle::dead(LinkType::Ethernet)?.compile(&expression, NO_NETMASK)?;
        Ok(expression)
    }

    /// Compiles it for an interface. The handle is a live one where that counts: only for those libpcap knows that the
    /// kernel takes VLAN tags out of Ethernet packets.
    pub(super) fn compile(&self, link: LinkType, interface: &str) -> Result<Vec<Classic>> {
        let Ok(device) = CString::new(interface) else { bail!("{interface:?} is not an interface") };
        let handle = match link {
            // libpcap wants an interface that is up; what it compiles is the same for all of them.
            LinkType::Ethernet => {
                Handle::live(&device).or_else(|error| Handle::live(c"lo").map_err(|_| error))?
            }
            LinkType::Raw => Handle::dead(link)?,
        };
        handle.compile(self, netmask(&device))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

#[repr(C)]
struct Program {
    length: u32,
    instructions: *mut Classic,
}

/// `PCAP_ERRBUF_SIZE`
const MESSAGE: usize = 256;

/// What tcpdump takes where an interface has no IPv4 address.
const NO_NETMASK: u32 = 0;

/// `DLT_EN10MB`, and `DLT_RAW` as it is on Linux.
const DLT_ETHERNET: c_int = 1;
const DLT_RAW: c_int = 12;

#[link(name = "pcap")]
unsafe extern "C" {
    fn pcap_open_dead(link: c_int, snaplen: c_int) -> *mut c_void;
    fn pcap_create(device: *const c_char, message: *mut c_char) -> *mut c_void;
    fn pcap_set_buffer_size(handle: *mut c_void, bytes: c_int) -> c_int;
    fn pcap_activate(handle: *mut c_void) -> c_int;
    fn pcap_compile(
        handle: *mut c_void,
        program: *mut Program,
        text: *const c_char,
        optimize: c_int,
        netmask: u32,
    ) -> c_int;
    fn pcap_lookupnet(
        device: *const c_char,
        network: *mut u32,
        netmask: *mut u32,
        message: *mut c_char,
    ) -> c_int;
    fn pcap_geterr(handle: *mut c_void) -> *const c_char;
    fn pcap_freecode(program: *mut Program);
    fn pcap_close(handle: *mut c_void);
}

/// The entries of libpcap's modules for D-Bus and RDMA. Defined here, the linker leaves those modules out of a static
/// program, which would need libdbus and libibverbs for captures that we do not make.
mod left_out {
    use super::{c_char, c_int, c_void, ptr};

    #[unsafe(no_mangle)]
    extern "C" fn dbus_findalldevs(_list: *mut c_void, _message: *mut c_char) -> c_int {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn rdmasniff_findalldevs(_list: *mut c_void, _message: *mut c_char) -> c_int {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn dbus_create(
        _device: *const c_char,
        _message: *mut c_char,
        is_ours: &mut c_int,
    ) -> *mut c_void {
        *is_ours = 0;
        ptr::null_mut()
    }

    #[unsafe(no_mangle)]
    extern "C" fn rdmasniff_create(
        _device: *const c_char,
        _message: *mut c_char,
        is_ours: &mut c_int,
    ) -> *mut c_void {
        *is_ours = 0;
        ptr::null_mut()
    }
}

/// The netmask of an interface, for `ip broadcast`.
fn netmask(device: &CStr) -> u32 {
    let (mut network, mut netmask, mut message) = (0, 0, [0; MESSAGE]);
    // SAFETY: all pointers are valid for the call, and the buffer has the size that libpcap wants.
    let failed =
        unsafe { pcap_lookupnet(device.as_ptr(), &raw mut network, &raw mut netmask, message.as_mut_ptr()) };
    if failed == 0 { netmask } else { NO_NETMASK }
}

/// An open `pcap_t`.
struct Handle(*mut c_void);

impl Handle {
    fn dead(link: LinkType) -> Result<Self> {
        let link = match link {
            LinkType::Ethernet => DLT_ETHERNET,
            LinkType::Raw => DLT_RAW,
        };
        // SAFETY: plain numbers.
        let handle = unsafe { pcap_open_dead(link, super::MOST_SNAPLEN as c_int) };
        if handle.is_null() {
            bail!("filter expression: libpcap is out of memory");
        }
        Ok(Self(handle))
    }

    /// Of an interface; it captures with a buffer of its own, which nobody reads, until it is dropped.
    fn live(device: &CStr) -> Result<Self> {
        let mut message = [0; MESSAGE];
        // SAFETY: the buffer has the size that libpcap wants.
        let handle = unsafe { pcap_create(device.as_ptr(), message.as_mut_ptr()) };
        if handle.is_null() {
            let message = message.map(|byte| byte as u8);
            let message = CStr::from_bytes_until_nul(&message).unwrap_or_default();
            bail!("filter expression: {}", message.to_string_lossy());
        }
        let handle = Self(handle);
        // SAFETY: the handle is open.
        let activated = unsafe {
            pcap_set_buffer_size(handle.0, 1 << 16);
            pcap_activate(handle.0)
        };
        if activated < 0 {
            bail!("filter expression: {}: {}", device.to_string_lossy(), handle.message());
        }
        Ok(handle)
    }

    fn compile(&self, expression: &Expression, netmask: u32) -> Result<Vec<Classic>> {
        let mut program = Program { length: 0, instructions: ptr::null_mut() };
        let text = expression.0.as_ptr();
        // SAFETY: the handle is open; the pointers are valid for the call.
        if unsafe { pcap_compile(self.0, &raw mut program, text, 1, netmask) } != 0 {
            bail!("filter expression \"{expression}\": {}", self.message());
        }
        // SAFETY: libpcap says how many instructions there are; they are copied before they are freed.
        let instructions = unsafe {
            let compiled = std::slice::from_raw_parts(program.instructions, program.length as usize).to_vec();
            pcap_freecode(&raw mut program);
            compiled
        };
        Ok(instructions)
    }

    fn message(&self) -> String {
        // SAFETY: the handle is open, and its message ends with a NUL.
        unsafe { CStr::from_ptr(pcap_geterr(self.0)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: nothing else has the handle.
        unsafe { pcap_close(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::Expression;

    #[test]
    fn expressions_are_those_of_libpcap() {
        for text in ["", "tcp port 443", "ip6 and not (udp or icmp6)", "vlan 5 and host 10.0.0.1", "inbound"]
        {
            assert_eq!(Expression::new(text).expect("an expression").to_string(), text);
        }
        let message = |text| Expression::new(text).expect_err("no expression").to_string();
        assert_eq!(
            message("tcp prt 443"),
            "filter expression \"tcp prt 443\": can't parse filter expression: syntax error"
        );
        assert_eq!(message("a\0b"), "filter expression: it has a NUL character");
    }
}
