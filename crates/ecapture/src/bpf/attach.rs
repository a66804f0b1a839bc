//! Puts uprobes on files.

use std::borrow::Cow;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::slice;

use anyhow::{Context, Result};
use libbpf_rs::{Link, Object, ProgramMut, UprobeMultiOpts, UprobeOpts};
use serde::{Deserialize, Serialize};

use super::described::{GoHook, ObjectKeys, SecretHook, TakenHook};
use super::foreign::{Foreign, ForeignSite};
use super::load::Programs;
use super::text::TextHook;

/// How a hooked call moves plaintext: argument numbers are 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// The process sends; else it receives.
    pub sent: bool,
    /// Argument with the TLS object.
    pub object: u8,
    /// Argument with the buffer; 0 for a file, or where the bytes can not be reached.
    pub buffer: u8,
    /// Argument with the size of the buffer; 0 without one.
    pub length: u8,
    /// How many bytes were moved.
    pub result: Moved,
    /// The buffer is an array of `struct iovec`, and `length` has their number.
    pub vectors: bool,
}

/// Where a call says how many bytes it moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moved {
    /// It returns the number.
    Count,
    /// The same, unless this argument has `MSG_PEEK`.
    Unpeeked(u8),
    /// It returns 1 and stores the number where this argument points.
    Out(u8),
    /// It returns the number, and the bytes came from a file.
    File,
    /// It returns the number, as an `ssize_t`.
    Size,
    /// The same; or it keeps the bytes, and a later call returns how many.
    Resumed,
    /// It returns two words: if the first is even, the second is the number.
    Pair,
}

/// What runs at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Around a call that moves plaintext.
    Call(Moves),
    /// At a call that gets decrypted bytes, all of which count.
    Taken(Box<TakenHook>),
    /// Around a call that sends, from the object in argument 1, what was captured when the library took it.
    Flush,
    /// After a call that returns a new TLS object.
    New,
    /// Around a call that returns 0 when it has stored a new TLS object where this argument points.
    NewAt(u8),
    /// At a call that ends the object in argument 1.
    End,
    /// At a call that gives the object in argument 1 another socket.
    Untie,
    /// At a call that hands over a TLS secret.
    Secret(Box<SecretHook>),
    /// At a call that begins to compute a TLS secret; it is not there yet.
    Derive(Box<SecretHook>),
    /// At a call that takes bytes of which a MAC is computed.
    MacInput,
    /// Around a call that gives out a MAC.
    MacOutput,
    /// Around a call that makes the handshake of the object in argument 1, and returns 1 when it is complete.
    Handshake,
    /// At a call that knows a command or a statement.
    Text(TextHook),
    /// After one.
    TextAfter(TextHook),
    /// Around a call of a Go program that moves plaintext; with the offsets in the file of all its returns.
    Go(Box<GoHook>, Vec<u64>),
    /// At a call of a Go program that begins the connection of an object: an earlier one is over.
    GoBegin(Box<GoHook>),
    /// At a call of a Go program that closes the connection of an object.
    GoClose(Box<GoHook>),
}

/// One function of a file to hook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hook {
    /// Its name, for people.
    pub function: Cow<'static, str>,
    /// What to run.
    pub place: Place,
    /// Offset of the probed instruction in the file, bytes.
    pub offset: u64,
    /// Virtual address of its first byte.
    pub address: u64,
    /// Virtual address of the probed instruction.
    pub site: u64,
}

/// Where the end of a call can be seen without a return probe: offsets of instructions in the file.
#[derive(Debug)]
pub enum Returns {
    /// All by which the function returns.
    By(Vec<u64>),
    /// One to which it returns.
    To(u64),
}

impl Returns {
    /// The first offset.
    pub fn first(&self) -> u64 {
        match self {
            Self::By(offsets) => offsets.first().copied().unwrap_or_default(),
            Self::To(offset) => *offset,
        }
    }
}

/// How much a return moves the stack pointer, bytes.
const RETURN_POPS: u64 = if cfg!(target_arch = "x86_64") { 8 } else { 0 };

/// Probes of one file; dropping it removes them.
#[derive(Debug)]
pub struct Attachment {
    _links: Vec<Link>,
    first_number: u32,
    hooks: Vec<Hook>,
}

impl Attachment {
    /// The hook with this number, if it is one of this file.
    pub fn hook(&self, number: u32) -> Option<&Hook> {
        if number >= u32::from(u16::MAX) {
            return None;
        }
        self.hooks.get(number.checked_sub(self.first_number)? as usize)
    }
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
        Moved::Size => (4, 0),
        Moved::Resumed => (5, 0),
        Moved::Pair => (8, 0),
        Moved::Unpeeked(flags) => (9, flags),
    };
    u64::from(moves.object)
        | u64::from(moves.buffer) << 4
        | u64::from(out) << 8
        | result << 12
        | u64::from(moves.sent) << 16
        | u64::from(moves.vectors) << 17
        | u64::from(moves.length) << 20
        | keys << 32
}

/// The same for a handshake.
fn handshake_cookie(keys: u64) -> u64 {
    1 | 3 << 12 | keys << 32
}

/// The same for a call that sends what was captured before.
const FLUSH_COOKIE: u64 = 1 | 6 << 12 | 1 << 16;

/// The same for a call that gives out a MAC: `(context, out, *length, room)`.
const MAC_COOKIE: u64 = 1 | 2 << 4 | 3 << 8 | 10 << 12;

/// The same for a call that makes an object.
fn new_cookie(out: u8) -> u64 {
    u64::from(out) << 8 | 7 << 12
}

/// What tells hooks of a run apart in the cookie; those that come too late for a number share the last one, which stands
/// for none.
fn number_bits(number: u32) -> u64 {
    u64::from(u16::try_from(number).unwrap_or(u16::MAX)) << 48
}

/// Around a call, by one probe or two.
fn around(offset: usize, cookie: u64, number: u32, sessions: bool) -> Vec<Probe> {
    let probe = |program, when, cookie| Probe { program, when, offset, cookie };
    if sessions {
        vec![probe("call_session", When::Both, cookie | number_bits(number))]
    } else {
        // The return first: a call that is entered before its return is probed would leave a frame behind.
        vec![probe("call_exit", When::Return, cookie), probe("call_enter", When::Entry, cookie)]
    }
}

/// Every program of an attached probe. The return of a call before its start, as in [`around`].
const PROGRAMS: [&str; 17] = [
    "call_session",
    "new_session",
    "call_exit",
    "call_enter",
    "object_new",
    "object_end",
    "object_untie",
    "secret",
    "secret_derive",
    "secret_mac",
    "bytes_taken",
    "text_after",
    "text_at",
    "go_return",
    "go_enter",
    "go_begin",
    "go_close",
];

impl Programs {
    /// Attaches hooks to the file at `path`, for every process that maps it. `keys`: where its objects have theirs.
    ///
    /// # Errors
    /// The kernel refused a probe; none of the file's probes stays.
    pub fn attach(&mut self, path: &Path, hooks: &[Hook], keys: Option<&ObjectKeys>) -> Result<Attachment> {
        let keys = keys.map_or(Ok(0), |keys| self.index_of(keys))?;
        let first_number = self.hooks;
        self.hooks += hooks.len() as u32;
        let mut probes = Vec::new();
        for (hook, number) in hooks.iter().zip(first_number..) {
            probes.extend(self.probes(hook, keys, number)?);
        }
        let links = if self.plan.features.uprobe_multi && self.plan.features.cookie {
            self.attach_together(path, &probes)?
        } else {
            self.attach_singly(path, &probes)?
        };
        Ok(Attachment { _links: links, first_number, hooks: hooks.to_vec() })
    }

    /// Becomes readable when a function is called on a foreign stack; `None` where that can not be told.
    pub fn foreign_calls(&self) -> Option<BorrowedFd<'_>> {
        self.foreign.as_ref().map(Foreign::fd)
    }

    /// From where they came that were first seen since the last time.
    pub fn foreign_sites(&self) -> Result<Vec<ForeignSite>> {
        self.foreign.as_ref().map_or(Ok(Vec::new()), Foreign::news)
    }

    /// Probes in one process the instructions by which a function returns, or to which it returns.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn attach_returns(&self, path: &Path, place: Place, returns: &Returns, pid: u32) -> Result<Link> {
        let name = if place == Place::New { "object_new" } else { "call_return" };
        let (offsets, popped) = match returns {
            Returns::By(offsets) => (offsets.as_slice(), 0),
            Returns::To(offset) => (slice::from_ref(offset), RETURN_POPS),
        };
        let options = UprobeMultiOpts {
            offsets: offsets.iter().map(|offset| *offset as usize).collect(),
            cookies: vec![popped; offsets.len()],
            ..Default::default()
        };
        program(&self.main, name)?
            .attach_uprobe_multi_with_opts(pid as i32, path, "", options)
            .context("attach uprobes")
    }

    /// Calls from there are followed from now on.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn follow_foreign(&self, site: ForeignSite) -> Result<()> {
        self.foreign.as_ref().map_or(Ok(()), |foreign| foreign.follow(site))
    }

    /// A process ended: another one may get its id.
    pub fn forget_foreign(&self, pid: u32) {
        if let Some(foreign) = &self.foreign {
            foreign.forget(pid);
        }
    }

    /// `number` tells hooks of a run apart.
    fn probes(&mut self, hook: &Hook, keys: u64, number: u32) -> Result<Vec<Probe>> {
        let sessions = self.plan.features.uprobe_session;
        let offset = hook.offset as usize;
        let one = |program, when, cookie| vec![Probe { program, when, offset, cookie }];
        Ok(match &hook.place {
            Place::Call(moves) => around(offset, cookie(moves, keys), number, sessions),
            Place::Handshake => around(offset, handshake_cookie(keys), number, sessions),
            Place::Flush => around(offset, FLUSH_COOKIE, number, sessions),
            Place::NewAt(out) => around(offset, new_cookie(*out), number, sessions),
            Place::New if sessions => one("new_session", When::Both, number_bits(number)),
            Place::New => one("object_new", When::Return, 0),
            Place::End => one("object_end", When::Entry, 0),
            Place::Untie => one("object_untie", When::Entry, 0),
            Place::Taken(taken) => one("bytes_taken", When::Entry, self.index_of(&**taken)?),
            Place::Text(text) => one("text_at", When::Entry, self.index_of(text)?),
            Place::TextAfter(text) => one("text_after", When::Return, self.index_of(text)?),
            Place::Derive(secret) => one("secret_derive", When::Entry, self.index_of(&**secret)?),
            Place::MacInput => one("secret_mac", When::Entry, 0),
            Place::MacOutput => around(offset, MAC_COOKIE, number, sessions),
            Place::Secret(secret) => one("secret", When::Entry, self.index_of(&**secret)?),
            Place::GoBegin(hook) => one("go_begin", When::Entry, self.index_of(&**hook)?),
            Place::GoClose(hook) => one("go_close", When::Entry, self.index_of(&**hook)?),
            Place::Go(hook, returns) => {
                let cookie = self.index_of(&**hook)?;
                let probe = |program, offset| Probe { program, when: When::Entry, offset, cookie };
                // Instructions, as a return probe would change the stack, which the runtime walks and moves.
                let returns = returns.iter().map(|offset| probe("go_return", *offset as usize));
                returns.chain([probe("go_enter", offset)]).collect()
            }
        })
    }

    /// One link for each program: attaching and detaching cost about the same for one probe or twenty.
    fn attach_together(&mut self, path: &Path, probes: &[Probe]) -> Result<Vec<Link>> {
        let object = self.object_for(0)?;
        PROGRAMS
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
