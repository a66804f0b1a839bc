//! One connection: which protocol it speaks, and what is held back until that is known.
use crate::held::Held;
use crate::http1::{Flow, Http1};
use crate::part::{Direction, Part};
use crate::sniff::{Spoken, Verdict, sniff};

/// What one connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, or trailer section, that is kept; a longer one is `Raw`. In bytes.
    pub head: usize,
    /// Most bytes that one encoded body is decoded to.
    pub decoded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 64 << 10, decoded: 16 << 20 }
    }
}

/// Where parts go.
pub(crate) type Out<'o> = dyn FnMut(Direction, Part<'_>) + 'o;

/// Both directions of one connection.
pub struct Connection {
    limits: Limits,
    protocol: Protocol,
    held: [Held; 2],
}

/// What a connection speaks, at this time: it changes with CONNECT and Upgrade.
enum Protocol {
    /// Not known: at the start, after a switch, or because we joined in the middle. Bytes are `Raw` until
    /// one call of the process begins with a sure start of a known protocol.
    Unknown,
    Http1(Box<Http1>),
}

impl Connection {
    /// A connection of which nothing has been seen.
    pub fn new(limits: Limits) -> Self {
        Self { limits, protocol: Protocol::Unknown, held: Default::default() }
    }

    /// The process sent or received `bytes` in one call. How a stream is cut into calls does not change
    /// what comes out, except where the stream is out of step: there, a call's first byte is the only
    /// place where a message is looked for.
    pub fn push(&mut self, dir: Direction, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let held = &mut self.held[dir as usize];
            rest = match &mut self.protocol {
                Protocol::Unknown => match Self::recognise(dir, rest, held, self.limits, out) {
                    Some(Spoken::Http1) => {
                        self.protocol = Protocol::Http1(Box::new(Http1::new(self.limits)));
                        rest
                    }
                    None => return,
                },
                Protocol::Http1(http) => match http.push(dir, rest, held, out) {
                    Flow::Done => return,
                    Flow::Left(rest) => {
                        http.cut(dir.other(), out);
                        self.protocol = Protocol::Unknown;
                        rest
                    }
                },
            };
        }
    }

    /// `lost` bytes are missing here in this direction; [`u64::MAX`] when nobody knows how many.
    pub fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        if lost == 0 {
            return;
        }
        release(dir, &mut self.held[dir as usize], out);
        match &mut self.protocol {
            Protocol::Unknown => out(dir, Part::Gap(lost)),
            Protocol::Http1(http) => http.gap(dir, lost, out),
        }
    }

    /// No more bytes will come: ends what is open and gives out what is held back. A body that lasts until
    /// the connection closes is complete now.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        for dir in Direction::BOTH {
            release(dir, &mut self.held[dir as usize], out);
            match &mut self.protocol {
                Protocol::Unknown => {}
                Protocol::Http1(http) => http.close(dir, out),
            }
        }
        self.protocol = Protocol::Unknown;
    }

    /// Gives out as `Raw` what has been held back too long for a reader who waits. It is still remembered:
    /// when the rest of the head arrives, its `Start` says how much of it was already shown.
    pub fn flush(&mut self, out: &mut Out<'_>) {
        for dir in Direction::BOTH {
            let held = &mut self.held[dir as usize];
            raw(dir, held.unseen(), out);
            held.mark_shown();
        }
    }

    /// Whether [`Connection::flush`] would give out anything.
    pub fn holds_back(&self) -> bool {
        self.held.iter().any(|held| !held.unseen().is_empty())
    }

    /// Finds out what is spoken, else holds the bytes back or gives them out as `Raw`.
    fn recognise(
        dir: Direction,
        bytes: &[u8],
        held: &mut Held,
        limits: Limits,
        out: &mut Out<'_>,
    ) -> Option<Spoken> {
        let before = held.len();
        let joined = held.joined(bytes, limits.head + 1);
        let full = joined.len() > limits.head;
        let verdict = sniff(joined);
        held.restore(before);
        match verdict {
            Verdict::Sure(spoken) => return Some(spoken),
            Verdict::Open if !full => held.hold(bytes, 0),
            Verdict::Open | Verdict::No => {
                release(dir, held, out);
                raw(dir, bytes, out);
            }
        }
        None
    }
}

/// Gives up on what is held.
pub(crate) fn release(dir: Direction, held: &mut Held, out: &mut Out<'_>) {
    raw(dir, held.unseen(), out);
    *held = Held::default();
}

/// `bytes` as `Raw`, unless there are none.
pub(crate) fn raw(dir: Direction, bytes: &[u8], out: &mut Out<'_>) {
    if !bytes.is_empty() {
        out(dir, Part::Raw(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_can_move_to_another_thread() {
        fn check<T: Send>() {}
        check::<Connection>();
    }

    #[test]
    fn an_idle_connection_is_small() {
        let whole = size_of::<Connection>() + size_of::<Http1>();
        assert!(whole <= 640, "{whole} bytes");
    }
}
