//! Captures packets at interfaces: by TCX where the kernel has it, by a packet socket that keeps none elsewhere. Both
//! go away with us, whatever way we end, and neither touches a packet.

mod event;
mod expression;
mod owners;
mod tap;
mod translate;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder};
use libbpf_sys as sys;
use rustc_hash::FxHashMap;
use rustix::io::Errno;

use super::event::Settings;
use super::load::{Programs, map_handle, objects, set_maps};
pub(super) use event::PACKET_HEAD;
pub use event::Packet;
use event::{PacketSettings, Traffic};
pub use expression::{Expression, LinkType};
use owners::Owners;
use translate::{Purpose, translate};

/// The longest packet that can be copied whole, bytes.
pub const MOST_SNAPLEN: u32 = 262_144;

/// Which packets are captured, and how much of each.
#[derive(Debug, Clone)]
pub struct PacketChoice {
    /// Most bytes of a packet, up to [`MOST_SNAPLEN`].
    pub snaplen: u32,
    /// Whether packets of no known program are captured.
    pub unowned: bool,
    /// What packets must look like.
    pub filter: Option<Expression>,
}

/// An interface of our network namespace.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name now.
    pub name: String,
    /// What its packets begin with.
    pub link: LinkType,
    /// Most bytes of a packet behind its link header.
    pub mtu: u32,
}

/// The index of the loopback interface in each network namespace.
const LOOPBACK: u32 = 1;

/// `PACKET_OUTGOING` and `PACKET_HOST` of `linux/if_packet.h`.
const OUTGOING: u32 = 4;
const INCOMING: u32 = 0;

/// Where a program looks at packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    In,
    Out,
    Loopback,
    Tap,
}

impl Place {
    /// The program, and its index among those that filters go on to.
    fn program(self) -> (&'static str, i32) {
        match self {
            Self::In => ("packet_in", 0),
            Self::Out | Self::Loopback => ("packet_out", 1),
            Self::Tap => ("packet_tap", 2),
        }
    }

    /// The kernel marks packets as outgoing only for packet sockets. On loopback, each counts as what comes in.
    fn packet_type(self) -> Option<u32> {
        match self {
            Self::In | Self::Tap => None,
            Self::Out => Some(OUTGOING),
            Self::Loopback => Some(INCOMING),
        }
    }

    /// "The next one shall decide", and "keep nothing".
    fn verdict(self) -> i32 {
        if self == Self::Tap { 0 } else { -1 }
    }

    fn program_type(self) -> u32 {
        if self == Self::Tap { sys::BPF_PROG_TYPE_SOCKET_FILTER } else { sys::BPF_PROG_TYPE_SCHED_CLS }
    }
}

/// Programs for packets, and what they are attached to.
pub struct Packets {
    object: Object,
    has_tcx: bool,
    filter: Option<Expression>,
    /// Programs made of the expression.
    filters: Vec<(Place, LinkType, OwnedFd)>,
    /// By index of interface: links, or a packet socket.
    attached: FxHashMap<u32, Vec<OwnedFd>>,
    counts: MapHandle,
    owners: Option<Owners>,
}

impl Packets {
    /// Loads the programs, which share ring and settings with those of `programs`.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn load(programs: &Programs, choice: &PacketChoice) -> Result<Self> {
        let features = programs.plan.features;
        let bytes = match (features.modern, features.btf) {
            (true, _) => objects::PACKETS_MODERN,
            (false, true) => objects::PACKETS_LEGACY,
            (false, false) => objects::PACKETS_NOBTF,
        };
        let has_tcx = features.tcx && features.modern;
        let mut object = ObjectBuilder::default().name("ecapture")?.open_memory(bytes)?;
        let ring_bytes = programs.plan.ring_bytes;
        let settings = Settings { wake_shift: (ring_bytes / 2).ilog2(), ..programs.plan.settings(0) };
        set_maps(&mut object, &settings, ring_bytes, Some(programs.main()))?;
        let settings = PacketSettings { snaplen: choice.snaplen, unowned: choice.unowned };
        for mut map in object.maps_mut().filter(|map| map.name() == ".rodata.packets") {
            map.set_initial_value(&settings.to_bytes()).context("settings of the programs for packets")?;
        }
        for mut program in object.progs_mut() {
            let is_tap = program.name() == "packet_tap";
            program.set_autoload(is_tap != has_tcx);
        }
        let object = object.load().context("load the BPF programs for packets")?;
        let mut packets = Self {
            has_tcx,
            filter: choice.filter.clone(),
            filters: Vec::new(),
            attached: FxHashMap::default(),
            counts: map_handle(&object, "interfaces")?,
            owners: None,
            object,
        };
        if has_tcx {
            packets.owners = Some(Owners::start(&packets.object));
        }
        packets.list_captures()?;
        Ok(packets)
    }

    /// Whether the program is known that a packet belongs to.
    pub fn knows_owners(&self) -> bool {
        self.owners.as_ref().is_some_and(Owners::any)
    }

    /// A handle of what is counted of each interface.
    pub fn counts(&self) -> Result<MapHandle> {
        map_handle(&self.object, "interfaces")
    }

    /// What was counted, by index of interface; `counts` is from [`counts`](Self::counts).
    pub fn traffic(counts: &MapHandle) -> Result<FxHashMap<u32, Traffic>> {
        let mut traffic = FxHashMap::default();
        for key in counts.keys() {
            let entry = counts.lookup(&key, MapFlags::ANY)?;
            if let (Ok(index), Some(counted)) = (key.try_into(), entry.as_deref().and_then(Traffic::parse)) {
                traffic.insert(u32::from_ne_bytes(index), counted);
            }
        }
        Ok(traffic)
    }

    /// Begins to capture at an interface.
    ///
    /// # Errors
    /// The expression does not fit the interface, or the kernel refused.
    pub fn attach(&mut self, interface: &Interface) -> Result<()> {
        let network = match interface.link {
            LinkType::Ethernet => 14,
            LinkType::Raw => 0,
        };
        self.counts.update(&interface.index.to_ne_bytes(), &Traffic::entry(network), MapFlags::ANY)?;
        let places: &[Place] = match (self.has_tcx, interface.index) {
            (false, _) => &[Place::Tap],
            (true, LOOPBACK) => &[Place::Loopback],
            (true, _) => &[Place::In, Place::Out],
        };
        let held = places.iter().map(|place| {
            let program = self.program(*place, interface)?;
            attach(program, *place, interface).with_context(|| format!("capture at {}", interface.name))
        });
        let held = held.collect::<Result<_>>()?;
        self.attached.insert(interface.index, held);
        Ok(())
    }

    /// Forgets an interface that is gone.
    pub fn forget(&mut self, index: u32) {
        self.attached.remove(&index);
    }

    /// The program to attach: the filter in front, if there is one.
    fn program(&mut self, place: Place, interface: &Interface) -> Result<RawFd> {
        let Some(filter) = &self.filter else { return Ok(program(&self.object, place)?.as_raw_fd()) };
        let known = |(at, link, _): &&(Place, LinkType, OwnedFd)| *at == place && *link == interface.link;
        if let Some((.., known)) = self.filters.iter().find(known) {
            return Ok(known.as_raw_fd());
        }
        let classic = filter.compile(interface.link, &interface.name)?;
        let captures = map_handle(&self.object, "captures")?;
        let next = (captures.as_fd().as_raw_fd(), place.program().1);
        let purpose = Purpose { packet_type: place.packet_type(), next, verdict: place.verdict() };
        let loaded = load_filter(&translate(&classic, &purpose)?, place.program_type())
            .with_context(|| format!("load the filter \"{filter}\""))?;
        let fd = loaded.as_raw_fd();
        self.filters.push((place, interface.link, loaded));
        Ok(fd)
    }

    fn list_captures(&self) -> Result<()> {
        let captures = map_handle(&self.object, "captures")?;
        let places: &[Place] = if self.has_tcx { &[Place::In, Place::Out] } else { &[Place::Tap] };
        for place in places {
            let fd = program(&self.object, *place)?.as_raw_fd();
            captures.update(&place.program().1.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)?;
        }
        Ok(())
    }
}

fn program(object: &Object, place: Place) -> Result<BorrowedFd<'_>> {
    let (name, _) = place.program();
    let program = object.progs().find(|program| program.name() == name);
    let program = program.with_context(|| format!("no program {name}"))?;
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: the object keeps the program open for as long as it is borrowed.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn load_filter(instructions: &[sys::bpf_insn], program_type: u32) -> Result<OwnedFd> {
    let mut log = vec![0u8; 1 << 16];
    let mut options = sys::bpf_prog_load_opts {
        sz: size_of::<sys::bpf_prog_load_opts>() as sys::size_t,
        log_level: 1,
        log_buf: log.as_mut_ptr().cast(),
        log_size: log.len() as u32,
        ..Default::default()
    };
    // SAFETY: pointers are valid for the call, and the count is that of the slice.
    let fd = unsafe {
        sys::bpf_prog_load(
            program_type,
            c"ecapture_filter".as_ptr(),
            c"Dual MIT/GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as sys::size_t,
            &raw mut options,
        )
    };
    if fd < 0 {
        tracing::debug!("filter: {}", String::from_utf8_lossy(&log).trim_end_matches('\0'));
        return Err(Errno::from_raw_os_error(-fd).into());
    }
    // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a program at an interface. In front of others, as their verdict may end the packet's way.
fn attach(program: RawFd, place: Place, interface: &Interface) -> Result<OwnedFd> {
    let attach_type = match place {
        Place::Tap => return tap::open(program, interface.index),
        Place::In => sys::BPF_TCX_INGRESS,
        Place::Out | Place::Loopback => sys::BPF_TCX_EGRESS,
    };
    let options = sys::bpf_link_create_opts {
        sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
        flags: sys::BPF_F_BEFORE,
        ..Default::default()
    };
    // SAFETY: descriptors and numbers; the options outlive the call.
    let fd =
        unsafe { sys::bpf_link_create(program, interface.index as i32, attach_type, &raw const options) };
    if fd < 0 {
        return Err(Errno::from_raw_os_error(-fd).into());
    }
    // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
