//! Puts uprobes on files.

use std::path::Path;

use anyhow::{Context, Result};
use libbpf_rs::{Link, Object, ProgramMut, UprobeMultiOpts, UprobeOpts};

use super::described::{ObjectKeys, SecretHook};
use super::load::Programs;

/// How a hooked call moves plaintext: argument numbers are 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    /// The process sends; else it receives.
    pub sent: bool,
    /// Argument with the TLS object.
    pub object: u8,
    /// Argument with the buffer; 0 for a file.
    pub buffer: u8,
    /// Argument with the size of the buffer; 0 for a file.
    pub length: u8,
    /// How many bytes were moved.
    pub result: Moved,
}

/// Where a call says how many bytes it moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It returns the number.
    Count,
    /// It returns 1 and stores the number where this argument points.
    Out(u8),
    /// It returns the number, and the bytes came from a file.
    File,
}

/// What runs at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Around a call that moves plaintext.
    Call(Moves),
    /// After a call that returns a new TLS object.
    New,
    /// At a call that ends the object in argument 1.
    End,
    /// At a call that gives the object in argument 1 another socket.
    Untie,
    /// At a call that hands over a TLS secret.
    Secret(Box<SecretHook>),
    /// Around a call that makes the handshake of the object in argument 1, and returns 1 when it is complete.
    Handshake,
}

/// One function of a file to hook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// What to run.
    pub place: Place,
    /// Offset of the probed instruction in the file, bytes.
    pub offset: u64,
}

/// Probes of one file; dropping it removes them.
#[derive(Debug)]
pub struct Attachment {
    _links: Vec<Link>,
}

/// A BPF program at an offset.
struct Probe {
    program: &'static str,
    when: When,
    offset: usize,
    cookie: u64,
}

/// When a probe runs its program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Entry,
    Return,
    /// At both, by one probe.
    Both,
}

/// The attach cookie of `event.h` for a plaintext call.
fn cookie(moves: &Moves, keys: u64) -> u64 {
    let (result, out) = match moves.result {
        Moved::Count => (0, 0),
        Moved::Out(argument) => (1, argument),
        Moved::File => (2, 0),
    };
    u64::from(moves.object)
        | u64::from(moves.buffer) << 4
        | u64::from(out) << 8
        | result << 12
        | u64::from(moves.sent) << 16
        | u64::from(moves.length) << 20
        | keys << 32
}

/// The same for a handshake.
fn handshake_cookie(keys: u64) -> u64 {
    1 | 3 << 12 | keys << 32
}

/// Around a call, by one probe or two.
fn around(offset: usize, cookie: u64, sessions: bool) -> Vec<Probe> {
    let probe = |program, when| Probe { program, when, offset, cookie };
    if sessions {
        vec![probe("call_session", When::Both)]
    } else {
        // The return first: a call that is entered before its return is probed would leave a frame behind.
        vec![probe("call_exit", When::Return), probe("call_enter", When::Entry)]
    }
}

impl Programs {
    /// Attaches hooks to the file at `path`, for every process that maps it. `keys`: where its objects have theirs.
    ///
    /// # Errors
    /// The kernel refused a probe; none of the file's probes stays.
    pub fn attach(&mut self, path: &Path, hooks: &[Hook], keys: Option<&ObjectKeys>) -> Result<Attachment> {
        let keys = keys.map_or(Ok(0), |keys| self.object_keys.index_of(keys))?;
        let mut probes = Vec::new();
        for hook in hooks {
            probes.extend(self.probes(hook, keys)?);
        }
        let links = if self.plan.features.uprobe_multi && self.plan.features.cookie {
            self.attach_together(path, &probes)?
        } else {
            self.attach_singly(path, &probes)?
        };
        Ok(Attachment { _links: links })
    }

    fn probes(&mut self, hook: &Hook, keys: u64) -> Result<Vec<Probe>> {
        let sessions = self.plan.features.uprobe_session;
        let offset = hook.offset as usize;
        let one = |program, when, cookie| vec![Probe { program, when, offset, cookie }];
        Ok(match &hook.place {
            Place::Call(moves) => around(offset, cookie(moves, keys), sessions),
            Place::Handshake => around(offset, handshake_cookie(keys), sessions),
            Place::New => one("object_new", When::Return, 0),
            Place::End => one("object_end", When::Entry, 0),
            Place::Untie => one("object_untie", When::Entry, 0),
            Place::Secret(secret) => one("secret", When::Entry, self.secret_hooks.index_of(&**secret)?),
        })
    }

    /// One link for each program: attaching and detaching cost about the same for one probe or twenty.
    fn attach_together(&mut self, path: &Path, probes: &[Probe]) -> Result<Vec<Link>> {
        let object = self.object_for(0)?;
        ["call_session", "call_exit", "call_enter", "object_new", "object_end", "object_untie", "secret"]
            .into_iter()
            .filter_map(|name| {
                let mine: Vec<&Probe> = probes.iter().filter(|probe| probe.program == name).collect();
                let first = mine.first()?;
                let options = UprobeMultiOpts {
                    offsets: mine.iter().map(|probe| probe.offset).collect(),
                    cookies: mine.iter().map(|probe| probe.cookie).collect(),
                    retprobe: first.when == When::Return,
                    session: first.when == When::Both,
                    ..Default::default()
                };
                Some(program(object, name).and_then(|program| {
                    program.attach_uprobe_multi_with_opts(-1, path, "", options).context("attach uprobes")
                }))
            })
            .collect()
    }

    fn attach_singly(&mut self, path: &Path, probes: &[Probe]) -> Result<Vec<Link>> {
        let has_cookie = self.plan.features.cookie;
        probes
            .iter()
            .map(|probe| {
                let options = UprobeOpts {
                    cookie: if has_cookie { probe.cookie } else { 0 },
                    retprobe: probe.when == When::Return,
                    ..Default::default()
                };
                program(self.object_for(probe.cookie)?, probe.program)?
                    .attach_uprobe_with_opts(-1, path, probe.offset, options)
                    .with_context(|| format!("attach a uprobe at offset {:#x}", probe.offset))
            })
            .collect()
    }
}

fn program<'a>(object: &'a Object, name: &str) -> Result<ProgramMut<'a>> {
    object.progs_mut().find(|program| program.name() == name).with_context(|| format!("no program {name}"))
}
