//! BPF programs and everything that talks to the kernel about them.

mod attach;
mod event;
mod features;
mod foreign;
mod load;
mod ready;
mod ring;

pub use attach::{Attachment, Hook, Moved, Moves, Place, Returns};
pub use event::{Body, Counter, Counters, Event, Peer, StreamInfo};
pub use features::Features;
pub use foreign::ForeignSite;
pub use libbpf_rs::Link;
pub use load::{Cgroup, Programs, Scope};
pub use ready::KeepReady;
pub use ring::{Block, Ring, events};
