//! Keeps the kernel telling which program a packet belongs to.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libbpf_rs::{Iter, Link, Object};

/// Programs that run when a socket changes hands.
pub struct Owners(Vec<Link>);

/// Programs at tracepoints.
const TRACED: [&str; 3] = ["owner_connects", "owner_sends", "owner_receives"];

impl Owners {
    /// Attaches what the kernel allows, and then looks at the sockets that are open.
    pub fn start(object: &Object) -> Self {
        let mut owners = Self(Vec::new());
        for name in TRACED {
            owners.hold(name, || Ok(program(object, name)?.attach()?));
        }
        owners.hold("owner_created", || {
            let root = cgroup_root().context("no cgroup v2 is mounted")?;
            Ok(program(object, "owner_created")?.attach_cgroup(File::open(root)?.as_raw_fd())?)
        });
        if let Err(error) = read_open_sockets(object) {
            tracing::warn!("programs of connections that are open already are not known: {error:#}");
        }
        owners
    }

    /// Whether anything is told.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn hold(&mut self, name: &str, attach: impl FnOnce() -> Result<Link>) {
        match attach() {
            Ok(link) => self.0.push(link),
            Err(error) => tracing::debug!("{name} is not possible: {error:#}"),
        }
    }
}

fn program<'a>(object: &'a Object, name: &str) -> Result<libbpf_rs::ProgramMut<'a>> {
    object.progs_mut().find(|program| program.name() == name).with_context(|| format!("no program {name}"))
}

/// Reading the iterator runs its program for each open file of each process.
fn read_open_sockets(object: &Object) -> Result<()> {
    let link = program(object, "owner_holds")?.attach()?;
    let mut nothing = Vec::new();
    Iter::new(&link)?.read_to_end(&mut nothing)?;
    Ok(())
}

fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut line| {
        let (_, path, kind) = (line.next()?, line.next()?, line.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}
