//! BPF programs and everything that talks to the kernel about them.

mod attach;
mod described;
mod event;
mod features;
mod foreign;
mod load;
mod packets;
mod ready;
mod ring;
mod text;

pub use attach::{Attachment, Hook, Moved, Moves, Place, Returns};
pub use described::{Chain, GoHook, Label, MasterSecret, ObjectKeys, SecretHook, Start, TakenHook};
pub use event::{Body, Counter, Counters, Data, Event, Object, Peer, Secret, Source, StreamInfo, Window};
pub use features::Features;
pub use foreign::ForeignSite;
pub use libbpf_rs::Link;
pub use load::{Cgroup, Plan, Programs, Scope, Shape, Subject};
pub use packets::{Expression, Interface, LinkType, MOST_SNAPLEN, Packet, PacketChoice, Packets};
pub use ready::KeepReady;
pub use ring::{Block, Ring, events, lend, take_turns};
pub use text::{Field, FieldKind, MOST_FIELDS, TextEvent, TextHook, Values};
