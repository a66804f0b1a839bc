//! Loads the programs, with the settings of this run compiled in.

use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramAttachType};

use super::event::{Counters, Settings};
use super::features::Features;
use super::foreign::Foreign;

/// The objects that build.rs made.
pub(super) mod objects {
    pub const CALLS_MODERN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/calls.modern.bpf.o"));
    pub const CALLS_NOBTF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/calls.nobtf.bpf.o"));
    pub const CALLS_LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/calls.legacy.bpf.o"));
}

/// Which processes are captured. An empty list does not restrict; lists combine.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Process ids.
    pub pids: Vec<u32>,
    /// User ids, 0 included.
    pub uids: Vec<u32>,
    /// Command names.
    pub comms: Vec<String>,
    /// Command names that are left out.
    pub not_comms: Vec<String>,
    /// A cgroup v2 directory: it and all below it.
    pub cgroup: Option<Cgroup>,
}

/// A cgroup as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// Depth below the root of the hierarchy, 0 for the root.
    pub level: u8,
}

/// Ways to learn which socket a call uses, best first: the programs of each.
const SOCKET_HOOKS: [&[&str]; 3] =
    [&["socket_send", "socket_receive"], &["socket_sendmsg", "socket_recvmsg"], &[]];

/// Programs in the kernel, ready to be attached.
pub struct Programs {
    pub(super) features: Features,
    scope: Scope,
    ring_bytes: u32,
    socket_programs: &'static [&'static str],
    pub(super) main: Object,
    /// Kernels without attach cookies: one object for each kind of hook.
    pub(super) by_hook: Vec<(u64, Object)>,
    /// Held for as long as sockets are watched.
    _sockets: Vec<libbpf_rs::Link>,
    pub(super) foreign: Option<Foreign>,
    /// Hooks that were attached so far.
    pub(super) hooks: u32,
}

impl Programs {
    /// Loads everything and begins to watch sockets. `ring_bytes`: a power of two, in whole pages.
    ///
    /// # Errors
    /// The kernel refused; the message says what and its log is in debug output.
    pub fn load(features: Features, scope: Scope, ring_bytes: u32) -> Result<Self> {
        let mut last = anyhow!("no way to load");
        for socket_programs in SOCKET_HOOKS {
            let tracepoint = socket_programs.first() == Some(&"socket_send");
            if tracepoint && !features.socket_tracepoints || !socket_programs.is_empty() && !features.btf {
                continue;
            }
            let loaded = load_object(&features, &scope, ring_bytes, socket_programs, 0, None)
                .and_then(|object| attach_sockets(&object, socket_programs).map(|links| (object, links)));
            match loaded {
                Ok((main, sockets)) => {
                    let foreign = features.uprobe_session.then(|| Foreign::new(&main)).transpose()?;
                    return Ok(Self {
                        features,
                        scope,
                        ring_bytes,
                        socket_programs,
                        main,
                        by_hook: Vec::new(),
                        _sockets: sockets,
                        foreign,
                        hooks: 0,
                    });
                }
                Err(error) => {
                    tracing::debug!("socket hooks {socket_programs:?} are not possible: {error:#}");
                    last = error;
                }
            }
        }
        Err(last.context("load the BPF programs"))
    }

    /// Whether connections can be told.
    pub fn knows_sockets(&self) -> bool {
        !self.socket_programs.is_empty()
    }

    /// The object whose programs serve hooks with this cookie.
    pub(super) fn object_for(&mut self, cookie: u64) -> Result<&Object> {
        if self.features.cookie {
            return Ok(&self.main);
        }
        if let Some(index) = self.by_hook.iter().position(|(hook, _)| *hook == cookie) {
            return Ok(&self.by_hook[index].1);
        }
        let object = load_object(&self.features, &self.scope, self.ring_bytes, &[], cookie, Some(&self.main))
            .context("load the BPF programs for one more kind of hook")?;
        self.by_hook.push((cookie, object));
        Ok(&self.by_hook[self.by_hook.len() - 1].1)
    }

    /// A handle of the ring buffer.
    pub fn ring(&self) -> Result<MapHandle> {
        map_handle(&self.main, "events")
    }

    /// A handle of the counters, for [`read_counters`](Self::read_counters).
    pub fn counters(&self) -> Result<MapHandle> {
        map_handle(&self.main, "counters")
    }

    /// The kernel's counters.
    pub fn read_counters(counters: &MapHandle) -> Result<Counters> {
        let per_cpu = counters.lookup_percpu(&[0; 4], MapFlags::ANY)?.unwrap_or_default();
        Ok(Counters::sum(per_cpu.iter().map(Vec::as_slice)))
    }
}

pub(super) fn map_handle(object: &Object, name: &str) -> Result<MapHandle> {
    let map = object.maps().find(|map| map.name() == name).with_context(|| format!("no map {name}"))?;
    Ok(MapHandle::try_from(&map)?)
}

fn load_object(
    features: &Features,
    scope: &Scope,
    ring_bytes: u32,
    socket_programs: &[&str],
    hook: u64,
    share: Option<&Object>,
) -> Result<Object> {
    let bytes = match (features.modern, features.btf) {
        (true, _) => objects::CALLS_MODERN,
        (false, true) => objects::CALLS_LEGACY,
        (false, false) => objects::CALLS_NOBTF,
    };
    let mut object = ObjectBuilder::default().name("ecapture")?.open_memory(bytes)?;
    let settings = Settings {
        hook,
        cgroup: scope.cgroup.map_or(0, |cgroup| cgroup.id),
        cgroup_level: scope.cgroup.map_or(0, |cgroup| cgroup.level),
        own_pid: std::process::id(),
        wake_shift: (ring_bytes / 16).ilog2(),
        has_cookie: features.cookie,
        by_pid: !scope.pids.is_empty(),
        by_uid: !scope.uids.is_empty(),
        by_comm: !scope.comms.is_empty(),
        by_not_comm: !scope.not_comms.is_empty(),
    };
    set_maps(&mut object, &settings, ring_bytes, share)?;
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        program.set_autoload(match name.as_str() {
            "call_session" | "new_session" | "call_return" => features.uprobe_session,
            "call_enter" | "call_exit" => !features.uprobe_session,
            socket if socket.starts_with("socket_") => socket_programs.contains(&socket),
            _ => true,
        });
        let is_uprobe = name.starts_with("object_") || name.starts_with("call_") && name != "call_session";
        if features.uprobe_multi && is_uprobe {
            program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
        }
    }
    let object = object.load()?;
    if share.is_none() {
        fill_scope(&object, scope)?;
    }
    Ok(object)
}

fn set_maps(
    object: &mut OpenObject,
    settings: &Settings,
    ring_bytes: u32,
    share: Option<&Object>,
) -> Result<()> {
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if name.ends_with(".settings") {
            map.set_initial_value(&settings.to_bytes()).context("settings of the programs")?;
        } else if let Some(shared) =
            share.and_then(|from| from.maps().find(|other| other.name() == name.as_str()))
        {
            if !name.contains(".rodata") {
                map.reuse_fd(shared.as_fd())?;
            }
        } else if name == "events" {
            map.set_max_entries(ring_bytes)?;
        }
    }
    Ok(())
}

fn fill_scope(object: &Object, scope: &Scope) -> Result<()> {
    let comm = |name: &String| {
        let mut key = [0; 16];
        let length = name.len().min(15); // the kernel cuts names
        key[..length].copy_from_slice(&name.as_bytes()[..length]);
        key.to_vec()
    };
    let number = |number: &u32| number.to_ne_bytes().to_vec();
    let selections: [(&str, Vec<Vec<u8>>); 4] = [
        ("pids", scope.pids.iter().map(number).collect()),
        ("uids", scope.uids.iter().map(number).collect()),
        ("comms", scope.comms.iter().map(comm).collect()),
        ("not_comms", scope.not_comms.iter().map(comm).collect()),
    ];
    for (name, keys) in selections {
        let map = map_handle(object, name)?;
        for key in keys {
            map.update(&key, &[1], MapFlags::ANY)?;
        }
    }
    Ok(())
}

fn attach_sockets(object: &Object, names: &[&str]) -> Result<Vec<libbpf_rs::Link>> {
    let programs = object.progs_mut().filter(|program| names.iter().any(|name| program.name() == *name));
    programs.map(|program| program.attach().map_err(Into::into)).collect()
}
