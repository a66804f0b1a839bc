//! Loads the programs, with the settings of this run compiled in.

use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramAttachType};

use super::described::{Described, Table};
use super::event::{Counters, Settings};
use super::features::Features;
use super::foreign::Foreign;

/// The objects that build.rs made.
pub(super) mod objects {
    pub const TLS_MODERN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tls.modern.bpf.o"));
    pub const TLS_NOBTF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tls.nobtf.bpf.o"));
    pub const TLS_LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tls.legacy.bpf.o"));
    pub const PACKETS_MODERN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.modern.bpf.o"));
    pub const PACKETS_NOBTF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.nobtf.bpf.o"));
    pub const PACKETS_LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.legacy.bpf.o"));
    pub const TEXT_MODERN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/text.modern.bpf.o"));
    pub const TEXT_NOBTF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/text.nobtf.bpf.o"));
    pub const TEXT_LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/text.legacy.bpf.o"));
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

impl Scope {
    /// Whether any process is left out.
    pub fn is_restricted(&self) -> bool {
        let Self { pids, uids, comms, not_comms, cgroup } = self;
        let lists_are_empty = pids.is_empty() && uids.is_empty() && comms.is_empty() && not_comms.is_empty();
        !lists_are_empty || cgroup.is_some()
    }
}

/// A cgroup as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// Depth below the root of the hierarchy, 0 for the root.
    pub level: u8,
}

/// Which hooks a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Plaintext calls and secrets of TLS libraries.
    Tls(Subject),
    /// Command text.
    Text,
}

impl Shape {
    /// Whether plaintext of TLS is captured.
    pub fn has_plaintext(self) -> bool {
        self.subject().plaintext
    }

    /// What is captured of TLS.
    fn subject(self) -> Subject {
        match self {
            Self::Tls(subject) => subject,
            Self::Text => Subject::default(),
        }
    }
}

/// What is captured of TLS: one or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subject {
    /// The plaintext of connections.
    pub plaintext: bool,
    /// Their TLS secrets.
    pub secrets: bool,
}

/// Ways to learn which socket a call uses, best first: the programs of each.
const SOCKET_HOOKS: [&[&str]; 3] =
    [&["socket_send", "socket_receive"], &["socket_sendmsg", "socket_recvmsg"], &[]];

/// How the programs of a run are loaded.
pub struct Plan {
    /// What the kernel can do.
    pub features: Features,
    /// What is captured.
    pub shape: Shape,
    /// Of which processes.
    pub scope: Scope,
    /// Size of the ring buffer: a power of two, in whole pages.
    pub ring_bytes: u32,
}

impl Plan {
    /// Constants of the programs that serve a hook.
    pub(super) fn settings(&self, hook: u64) -> Settings {
        let Self { features, shape, scope, ring_bytes } = self;
        let subject = shape.subject();
        Settings {
            hook,
            cgroup: scope.cgroup.map_or(0, |cgroup| cgroup.id),
            cgroup_level: scope.cgroup.map_or(0, |cgroup| cgroup.level),
            own_pid: std::process::id(),
            wake_shift: (*ring_bytes / 16).ilog2(),
            has_cookie: features.cookie,
            by_pid: !scope.pids.is_empty(),
            by_uid: !scope.uids.is_empty(),
            by_comm: !scope.comms.is_empty(),
            by_not_comm: !scope.not_comms.is_empty(),
            plaintext: subject.plaintext,
            secrets: subject.secrets,
        }
    }
}

/// Programs in the kernel, ready to be attached.
pub struct Programs {
    pub(super) plan: Plan,
    tables: Vec<(&'static str, Table)>,
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
    /// Loads everything and, for plaintext, begins to watch sockets.
    ///
    /// # Errors
    /// The kernel refused; the message says what and its log is in debug output.
    pub fn load(plan: Plan) -> Result<Self> {
        let features = &plan.features;
        let mut last = anyhow!("no way to load");
        for socket_programs in SOCKET_HOOKS {
            let tracepoint = socket_programs.first() == Some(&"socket_send");
            let possible = features.btf && (features.socket_tracepoints || !tracepoint);
            let wanted = possible && plan.shape.has_plaintext();
            if !wanted && !socket_programs.is_empty() {
                continue;
            }
            let loaded = load_object(&plan, socket_programs, 0, None)
                .and_then(|object| attach_sockets(&object, socket_programs).map(|links| (object, links)));
            match loaded {
                Ok((main, sockets)) => {
                    let has_foreign = features.uprobe_session && plan.shape != Shape::Text;
                    let foreign = has_foreign.then(|| Foreign::new(&main)).transpose()?;
                    return Ok(Self {
                        tables: Vec::new(),
                        plan,
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

    /// The index of a description in its table in the kernel.
    ///
    /// # Errors
    /// The programs can not follow it, or there are too many.
    pub(super) fn index_of<T: Described>(&mut self, described: &T) -> Result<u64> {
        if !self.tables.iter().any(|(name, _)| *name == T::TABLE) {
            self.tables.push((T::TABLE, Table::new(map_handle(&self.main, T::TABLE)?)));
        }
        let table = self.tables.iter_mut().find(|(name, _)| *name == T::TABLE);
        table.context("a table")?.1.index_of(described)
    }

    /// The object whose programs serve hooks with this cookie.
    pub(super) fn object_for(&mut self, cookie: u64) -> Result<&Object> {
        if self.plan.features.cookie {
            return Ok(&self.main);
        }
        if let Some(index) = self.by_hook.iter().position(|(hook, _)| *hook == cookie) {
            return Ok(&self.by_hook[index].1);
        }
        let object = load_object(&self.plan, &[], cookie, Some(&self.main))
            .context("load the BPF programs for one more kind of hook")?;
        self.by_hook.push((cookie, object));
        Ok(&self.by_hook[self.by_hook.len() - 1].1)
    }

    /// The object whose maps are shared with others.
    pub(super) fn main(&self) -> &Object {
        &self.main
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

fn load_object(plan: &Plan, socket_programs: &[&str], hook: u64, share: Option<&Object>) -> Result<Object> {
    let Plan { features, shape, scope, ring_bytes } = plan;
    let subject = shape.subject();
    let [modern, legacy, nobtf] = match shape {
        Shape::Tls(_) => [objects::TLS_MODERN, objects::TLS_LEGACY, objects::TLS_NOBTF],
        Shape::Text => [objects::TEXT_MODERN, objects::TEXT_LEGACY, objects::TEXT_NOBTF],
    };
    let bytes = match (features.modern, features.btf) {
        (true, _) => modern,
        (false, true) => legacy,
        (false, false) => nobtf,
    };
    let mut object = ObjectBuilder::default().name("ecapture")?.open_memory(bytes)?;
    let settings = plan.settings(hook);
    set_maps(&mut object, &settings, *ring_bytes, share)?;
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        program.set_autoload(match name.as_str() {
            "call_session" | "new_session" | "call_return" => features.uprobe_session,
            "call_enter" | "call_exit" => !features.uprobe_session,
            secret if secret.starts_with("secret") => subject.secrets,
            "bytes_taken" => subject.plaintext,
            go if go.starts_with("go_") => subject.plaintext,
            socket if socket.starts_with("socket_") => socket_programs.contains(&socket),
            _ => true,
        });
        let single = ["call_enter", "call_exit", "call_return", "bytes_taken"];
        let families = ["object_", "secret", "text_", "go_"];
        let is_uprobe =
            families.iter().any(|family| name.starts_with(family)) || single.contains(&name.as_str());
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

pub(super) fn set_maps(
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
