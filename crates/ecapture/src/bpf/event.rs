//! Records of the ring buffer and the settings of the programs: the Rust side of `event.h`.
//!
//! Records are read field by field from bytes, never by casting, so nothing here is unsafe.

use std::ffi::CStr;

use super::packets::{PACKET_HEAD, Packet};
use super::text;

/// Bytes of `struct event_head`.
pub(super) const HEAD: usize = 24;

/// One record.
#[derive(Debug)]
pub struct Event<'a> {
    /// Thread that made the call.
    pub tid: u32,
    /// Identity of (process, TLS object, generation).
    pub stream: u64,
    /// `CLOCK_MONOTONIC` in ns; data was sent when the call was entered, received when it returned.
    pub time: u64,
    /// What happened.
    pub body: Body<'a>,
}

/// What a record says.
#[derive(Debug)]
pub enum Body<'a> {
    /// A TLS object is seen for the first time.
    Stream(StreamInfo),
    /// Its socket is known.
    Peer(Peer),
    /// Plaintext.
    Data(Data<'a>),
    /// The object was freed or reused; final positions.
    Close {
        /// Bytes that were received in all.
        received: u64,
        /// Bytes that were sent in all.
        sent: u64,
    },
    /// A library handed over a TLS secret.
    Secret(Secret<'a>),
    /// A connection is open whose secrets were not seen.
    Object(Object<'a>),
    /// A packet.
    Packet(Packet<'a>),
}

/// Who owns a stream.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// Command name of the thread that made the first call.
    pub comm: String,
}

/// A socket, as the kernel describes it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// `AF_*`.
    pub family: u32,
    /// Descriptor; `None` when it could not be told.
    pub fd: Option<i32>,
    /// Ports in host order.
    pub local_port: u16,
    /// See `local_port`.
    pub remote_port: u16,
    /// Address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// See `local`.
    pub remote: [u8; 16],
    /// Name of a Unix socket (a leading NUL means abstract); empty when unnamed.
    pub path: Vec<u8>,
}

/// A piece of plaintext.
#[derive(Debug)]
pub struct Data<'a> {
    /// Bytes of this direction of the stream before this piece.
    pub position: u64,
    /// Whether the process sent them.
    pub sent: bool,
    /// The bytes.
    pub source: Source<'a>,
}

/// Where the bytes of a piece of plaintext are.
#[derive(Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Here.
    Payload(&'a [u8]),
    /// In a file, from which the kernel sent so many (`SSL_sendfile`).
    File(u32),
    /// Here, but the library has not sent all of them yet: so many as it says later count.
    Keep(&'a [u8]),
    /// So many of those that came last as [`Source::Keep`].
    Kept(u32),
}

/// A TLS secret, as the library named it: not checked.
#[derive(Debug)]
pub struct Secret<'a> {
    /// Its name in a key log; or the end of [`computed`](Self::computed).
    pub label: &'a [u8],
    /// The ClientHello's random.
    pub client_random: &'a [u8; 32],
    /// The secret; `None` if it is longer than any.
    pub secret: Option<&'a [u8]>,
    /// The label of the key schedule by which it was computed; empty where the library names it.
    pub computed: &'a [u8],
}

/// What the object of an open connection holds. What could not be read is `None`.
#[derive(Debug)]
pub struct Object<'a> {
    /// The ClientHello's random.
    pub client_random: Option<&'a [u8; 32]>,
    /// The master secret of TLS 1.2 and earlier, if it has the length of one.
    pub master: Option<&'a [u8; 48]>,
    /// Memory around the exporter secret of TLS 1.3.
    pub window: Option<Window<'a>>,
    /// The master secret is of a session that is there only when the handshake is complete.
    pub established: bool,
}

/// A piece of an object's memory.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where in them the exporter secret begins.
    pub exporter: usize,
}

/// A record that does not have the shape it claims: a defect of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Reads little pieces from the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes().copied()
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_ne_bytes)
    }
}

impl<'a> Event<'a> {
    /// Reads one record.
    pub fn parse(record: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(record);
        let kind = fields.u32()?;
        let tid = fields.u32()?;
        let stream = fields.u64()?;
        let time = fields.u64()?;
        let body = match kind {
            1 => Body::Stream(StreamInfo::parse(fields)?),
            2 => Body::Peer(Peer::parse(fields)?),
            DATA => Body::Data(Data::parse(fields)?),
            4 => Body::Close { received: fields.u64()?, sent: fields.u64()? },
            5 => Body::Secret(Secret::parse(fields)?),
            6 => Body::Object(Object::parse(fields)?),
            PACKET => Body::Packet(Packet::parse(fields)?),
            _ => return Err(Malformed),
        };
        Ok(Self { tid, stream, time, body })
    }

    /// Bytes of a record that matter: those with a payload may be longer than it.
    pub fn used(record: &[u8]) -> usize {
        if record.get(..4) == Some(&text::KIND.to_ne_bytes()[..]) {
            return text::used(record);
        }
        let length_at = HEAD + 8;
        let end = match record.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) {
            Some(DATA) => length_at + 8,
            Some(PACKET) => PACKET_HEAD,
            _ => return record.len(),
        };
        let Some(field) = record.get(length_at..length_at + 8) else { return record.len() };
        let length = u32::from_ne_bytes([field[0], field[1], field[2], field[3]]);
        let flags = u32::from_ne_bytes([field[4], field[5], field[6], field[7]]);
        let is_elsewhere = end != PACKET_HEAD && flags & (DATA_FILE | DATA_RESUMED) != 0;
        let payload = if is_elsewhere { 0 } else { length as usize };
        (end + payload).min(record.len())
    }
}

/// Kinds of records with a payload.
const DATA: u32 = 3;
const PACKET: u32 = 7;

const DATA_SENT: u32 = 1;
const DATA_FILE: u32 = 2;
const DATA_KEPT: u32 = 4;
const DATA_RESUMED: u32 = 8;

impl<'a> Data<'a> {
    fn parse(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        let position = fields.u64()?;
        let length = fields.u32()?;
        let flags = fields.u32()?;
        let sent = flags & DATA_SENT != 0;
        let source = if flags & DATA_FILE != 0 {
            Source::File(length)
        } else if flags & DATA_RESUMED != 0 {
            Source::Kept(length)
        } else {
            let payload = fields.0.get(..length as usize).ok_or(Malformed)?;
            if flags & DATA_KEPT == 0 { Source::Payload(payload) } else { Source::Keep(payload) }
        };
        Ok(Self { position, sent, source })
    }
}

impl StreamInfo {
    pub(super) fn parse(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let pid = fields.u32()?;
        let uid = fields.u32()?;
        let comm: [u8; 16] = fields.take()?;
        let comm = CStr::from_bytes_until_nul(&comm).map_or(&comm[..], CStr::to_bytes);
        Ok(Self { pid, uid, comm: String::from_utf8_lossy(comm).into_owned() })
    }
}

impl Peer {
    fn parse(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let family = fields.u32()?;
        let fd = fields.u32()? as i32;
        let local_port = fields.u16()?;
        let remote_port = fields.u16()?;
        fields.u32()?;
        let local = fields.take()?;
        let remote = fields.take()?;
        let path: [u8; 108] = fields.take()?;
        let path_length = fields.u32()? as usize;
        Ok(Self {
            family,
            fd: (fd >= 0).then_some(fd),
            local_port,
            remote_port,
            local,
            remote,
            path: path[..path_length.min(path.len())].to_vec(),
        })
    }
}

impl<'a> Secret<'a> {
    fn parse(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        fields.u32()?; // the process
        let length = fields.u32()? as usize;
        let label: &[u8; 40] = fields.bytes()?;
        let client_random = fields.bytes()?;
        let secret: &[u8; 64] = fields.bytes()?;
        let computed: &[u8; 40] = fields.bytes()?;
        let [label, computed] = [label, computed].map(until_nul);
        Ok(Self { label, client_random, secret: secret.get(..length), computed })
    }
}

fn until_nul(text: &[u8; 40]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

const READ_RANDOM: u32 = 1;
const READ_MASTER: u32 = 2;
const READ_WINDOW: u32 = 4;
const ESTABLISHED: u32 = 8;

/// Bytes of the window behind the start of the exporter secret.
const WINDOW_AFTER: usize = 128;

impl<'a> Object<'a> {
    fn parse(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        let read = fields.u32()?;
        let master_length = fields.u32()? as usize;
        let exporter = fields.u32()? as usize;
        let client_random = fields.bytes()?;
        let master: &[u8; 48] = fields.bytes()?;
        let window: &[u8; 1024 + WINDOW_AFTER] = fields.bytes()?;
        let bytes = window.get(..exporter.saturating_add(WINDOW_AFTER)).ok_or(Malformed)?;
        Ok(Self {
            client_random: (read & READ_RANDOM != 0).then_some(client_random),
            master: (read & READ_MASTER != 0 && master_length == master.len()).then_some(master),
            window: (read & READ_WINDOW != 0).then_some(Window { bytes, exporter }),
            established: read & ESTABLISHED != 0,
        })
    }
}

/// Constants of the programs, in the layout of `struct settings`.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The hook on kernels without attach cookies.
    pub hook: u64,
    /// cgroup id whose subtree is captured; 0 = any.
    pub cgroup: u64,
    /// Depth of that cgroup below the root.
    pub cgroup_level: u8,
    /// Our own process.
    pub own_pid: u32,
    /// The reader is woken each time that `1 << wake_shift` more bytes are unread.
    pub wake_shift: u32,
    /// Whether attach cookies exist.
    pub has_cookie: bool,
    /// Which filters are set.
    pub by_pid: bool,
    /// See `by_pid`.
    pub by_uid: bool,
    /// See `by_pid`.
    pub by_comm: bool,
    /// See `by_pid`.
    pub by_not_comm: bool,
    /// Whether plaintext is captured.
    pub plaintext: bool,
    /// Whether TLS secrets are.
    pub secrets: bool,
}

impl Settings {
    /// The bytes of `struct settings`.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.hook.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.cgroup.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.own_pid.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.wake_shift.to_ne_bytes());
        let flags = [self.has_cookie, self.by_pid, self.by_uid, self.by_comm, self.by_not_comm];
        for (byte, flag) in bytes[24..].iter_mut().zip(flags) {
            *byte = u8::from(flag);
        }
        bytes[29] = self.cgroup_level;
        bytes[30] = u8::from(self.plaintext);
        bytes[31] = u8::from(self.secrets);
        bytes
    }
}

/// The kernel's counters, as in `enum counter`: each has events and, behind them, bytes.
#[derive(Debug, Clone, Copy)]
pub enum Counter {
    /// Chunks that found the ring full.
    RingFull = 2,
    /// Chunks whose memory could not be read.
    Unreadable = 4,
    /// Calls too long for this kernel.
    TooLong = 6,
    /// Calls missed because no state could be kept.
    NoState = 8,
    /// Secrets that could not be read, or found the ring full.
    NoSecret = 10,
    /// Calls on foreign stacks whose end was not seen.
    Foreign = 12,
}

/// What a counter counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Every counter, summed over CPUs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters([u64; 16]);

impl Counters {
    /// From the value of each CPU.
    pub fn sum<'a>(per_cpu: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sum = Self::default();
        for value in per_cpu {
            for (total, number) in sum.0.iter_mut().zip(value.as_chunks().0) {
                *total += u64::from_ne_bytes(*number);
            }
        }
        sum
    }

    /// One counter.
    pub fn get(&self, counter: Counter) -> Count {
        Count { events: self.0[counter as usize], bytes: self.0[counter as usize + 1] }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use libbpf_rs::btf::types::{MemberAttr, Struct};
    use libbpf_rs::btf::{Btf, HasSize};

    use super::*;
    use crate::bpf::described::{Chain, GoHook, ObjectKeys, SecretHook, TakenHook};
    use crate::bpf::load::objects;
    use crate::bpf::text::TextHook;

    /// Name and size of a struct, name and offset of each member.
    pub type Layout<'a> = (&'a str, usize, &'a [(&'a str, usize)]);

    /// Offset in bytes and size of each member, as clang laid them out.
    fn layout(btf: &Btf<'_>, name: &str) -> (usize, Vec<(String, usize)>) {
        let of: Struct<'_> = btf.type_by_name(name).unwrap_or_else(|| panic!("no struct {name}"));
        let members = of.iter().map(|member| {
            let MemberAttr::Normal { offset } = member.attr else { panic!("a bit field in {name}") };
            (member.name.unwrap_or_default().to_string_lossy().into_owned(), offset as usize / 8)
        });
        (of.size(), members.collect())
    }

    pub fn check_layouts(objects: &[&[u8]], expected: &[Layout<'_>]) {
        for object in objects {
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            file.write_all(object).expect("written");
            let btf = Btf::from_path(file.path()).expect("BTF of our object");
            for (name, size, members) in expected {
                let members = members.iter().map(|(member, at)| ((*member).to_owned(), *at)).collect();
                assert_eq!(layout(&btf, name), (*size, members), "struct {name}");
            }
        }
    }

    /// Everything in this file reads or writes at these offsets.
    #[test]
    fn layouts_are_those_of_event_h() {
        let expected: [Layout<'_>; 14] = [
            ("event_head", HEAD, &[("kind", 0), ("tid", 4), ("stream", 8), ("time", 16)]),
            ("data_event", HEAD + 16, &[("head", 0), ("position", 24), ("length", 32), ("flags", 36)]),
            ("stream_event", HEAD + 24, &[("head", 0), ("pid", 24), ("uid", 28), ("comm", 32)]),
            ("close_event", HEAD + 16, &[("head", 0), ("received", 24), ("sent", 32)]),
            ("foreign_site", 16, &[("pid", 0), ("hook", 4), ("to", 8)]),
            (
                "peer",
                160,
                &[
                    ("family", 0),
                    ("fd", 4),
                    ("local_port", 8),
                    ("remote_port", 10),
                    ("pad", 12),
                    ("local", 16),
                    ("remote", 32),
                    ("path", 48),
                    ("path_length", 156),
                ],
            ),
            (
                "settings",
                32,
                &[
                    ("hook", 0),
                    ("cgroup", 8),
                    ("self", 16),
                    ("wake_shift", 20),
                    ("has_cookie", 24),
                    ("by_pid", 25),
                    ("by_uid", 26),
                    ("by_comm", 27),
                    ("by_not_comm", 28),
                    ("cgroup_level", 29),
                    ("plaintext", 30),
                    ("secrets", 31),
                ],
            ),
            (
                "secret_event",
                HEAD + 184,
                &[
                    ("head", 0),
                    ("pid", 24),
                    ("length", 28),
                    ("label", 32),
                    ("client_random", 72),
                    ("secret", 104),
                    ("computed", 168),
                ],
            ),
            (
                "object_event",
                HEAD + 1248,
                &[
                    ("head", 0),
                    ("read", 24),
                    ("master_length", 28),
                    ("exporter", 32),
                    ("client_random", 36),
                    ("master", 68),
                    ("window", 116),
                    ("pad", 1268),
                ],
            ),
            ("chain", Chain::LEN, &[("base", 0), ("loads", 4), ("load", 8), ("add", 20)]),
            (
                "secret_hook",
                SecretHook::LEN,
                &[
                    ("object", 0),
                    ("label", 24),
                    ("label_length", 48),
                    ("client_random", 72),
                    ("secret", 96),
                    ("length", 120),
                    ("label_kind", 144),
                    ("fixed", 148),
                ],
            ),
            (
                "go_hook",
                GoHook::LEN,
                &[
                    ("object", 0),
                    ("buffer", 24),
                    ("length", 48),
                    ("result", 72),
                    ("goroutine", 96),
                    ("sockets", 120),
                    ("sent", 136),
                    ("pad", 140),
                ],
            ),
            ("taken_hook", TakenHook::LEN, &[("object", 0), ("buffer", 24), ("length", 48)]),
            (
                "object_keys",
                ObjectKeys::LEN,
                &[
                    ("client_random", 0),
                    ("master", 24),
                    ("master_length", 48),
                    ("exporter", 72),
                    ("master_width", 96),
                    ("has", 100),
                ],
            ),
        ];
        let text: [Layout<'_>; 4] = [
            (
                "text_event",
                text::EVENT_LEN,
                &[
                    ("head", 0),
                    ("pid", 24),
                    ("uid", 28),
                    ("comm", 32),
                    ("point", 48),
                    ("flags", 52),
                    ("part", 56),
                    ("length", 60),
                    ("value", 64),
                ],
            ),
            ("field", Chain::LEN + 8, &[("at", 0), ("kind", 24), ("keep", 28)]),
            ("guard", 24, &[("first", 0), ("set", 8), ("field", 16), ("pad", 20)]),
            (
                "text_hook",
                TextHook::LEN,
                &[
                    ("field", 0),
                    ("guard", 192),
                    ("fields", 240),
                    ("guards", 244),
                    ("point", 248),
                    ("silent", 252),
                ],
            ),
        ];
        check_layouts(&[objects::TLS_MODERN, objects::TLS_LEGACY, objects::TLS_NOBTF], &expected);
        check_layouts(&[objects::TEXT_MODERN, objects::TEXT_LEGACY, objects::TEXT_NOBTF], &text);
    }

    #[test]
    fn a_short_record_is_malformed() {
        let mut record = [0; 64];
        record[..4].copy_from_slice(&3u32.to_ne_bytes());
        record[32..36].copy_from_slice(&1000u32.to_ne_bytes());
        for length in 0..record.len() {
            assert!(Event::parse(&record[..length]).is_err(), "{length}");
        }
    }
}
