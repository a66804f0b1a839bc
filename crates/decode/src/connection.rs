//! One connection: which protocol it speaks, and what is held back until that is known.
use std::mem;

use crate::held::Held;
use crate::notes::Note;
use crate::part::{Direction, Part, Protocol};
use crate::session::{Flow, Next, Out, Session, lane, raw, recognised, release};
use crate::sniff::{INSIDE, TESTS, Test, sniff};
use crate::websocket::WebSocket;

/// What one connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, trailer section, command or reply that is kept; a longer one is `Raw` or cut. In bytes.
    pub head: usize,
    /// Most bytes that one encoded body is decoded to.
    pub decoded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 64 << 10, decoded: 16 << 20 }
    }
}

/// Both directions of one connection.
pub struct Connection {
    limits: Limits,
    /// What it speaks, at this time: that changes with CONNECT and Upgrade. `None` if it is not known: at the
    /// start, after a switch, or because we joined in the middle. Bytes are `Raw` then, until one call of the
    /// process begins with a sure start of a known protocol.
    session: Option<Box<dyn Session>>,
    held: [Held; 2],
    /// What it may turn out to speak.
    tests: &'static [Test],
}

impl Connection {
    /// A connection of which nothing has been seen.
    pub fn new(limits: Limits) -> Self {
        Self { limits, session: None, held: Default::default(), tests: TESTS }
    }

    /// One inside a stream of another, which begins with `next`.
    pub(crate) fn inside(next: Next, limits: Limits) -> Self {
        Self { session: session(next, limits), tests: INSIDE, ..Self::new(limits) }
    }

    /// The process sent or received `bytes` in one call. How a stream is cut into calls does not change
    /// what comes out, except where the stream is out of step: there, a call's first byte is the only
    /// place where a message is looked for.
    pub fn push(&mut self, dir: Direction, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let held = &mut self.held[dir as usize];
            let Some(session) = &mut self.session else {
                let test = |bytes: &[u8]| sniff(self.tests, bytes);
                let Some(make) = recognised(dir, rest, held, self.limits.head, out, test) else { return };
                let session = make(dir, self.limits);
                if !session.holds_text() && self.held.iter().any(|held| held.shown() > 0) {
                    // A reader has seen its beginning already, and would see it again.
                    for dir in Direction::BOTH {
                        release(dir, &mut self.held[dir as usize], out);
                    }
                    return raw(dir, rest, out);
                }
                let session = self.session.insert(session);
                if !session.holds_text() {
                    for dir in [dir, dir.other()] {
                        let start = mem::take(&mut self.held[dir as usize]);
                        self.push(dir, start.bytes(), out);
                    }
                }
                continue;
            };
            match session.push(dir, rest, held, out) {
                Flow::Done => return,
                Flow::Switch(after, next) => {
                    session.close(dir, out);
                    session.close(dir.other(), out);
                    self.session = self::session(next, self.limits);
                    rest = after;
                }
            }
        }
    }

    /// `lost` bytes are missing here in this direction; [`u64::MAX`] when nobody knows how many.
    pub fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        if lost == 0 {
            return;
        }
        release(dir, &mut self.held[dir as usize], out);
        match &mut self.session {
            None => out(lane(dir), Part::Gap(lost)),
            Some(session) => session.gap(dir, lost, out),
        }
    }

    /// No more bytes will come: ends what is open and gives out what is held back. A body that lasts until
    /// the connection closes is complete now.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        for dir in Direction::BOTH {
            release(dir, &mut self.held[dir as usize], out);
            if let Some(session) = &mut self.session {
                session.close(dir, out);
            }
        }
        self.session = None;
    }

    /// Bytes that it has allocated; of decoders an estimate. Looks at everything that is open.
    pub fn memory(&self) -> usize {
        let held: usize = self.held.iter().map(Held::memory).sum();
        held + self.session.as_deref().map_or(0, |session| size_of_val(session) + session.memory())
    }

    /// Gives out and forgets everything, to make room: messages that are open end here, marked as [`Note::Crowded`].
    /// What comes next is looked at as if we joined in the middle.
    pub fn give_up(&mut self, out: &mut Out<'_>) {
        self.finish(&mut |lane, part| match part {
            Part::End(mut end) => {
                end.complete = false;
                end.notes.add(Note::Crowded);
                out(lane, Part::End(end));
            }
            Part::Whole(mut whole) => {
                whole.notes.add(Note::Crowded);
                out(lane, Part::Whole(whole));
            }
            part => out(lane, part),
        });
    }

    /// Gives out as `Raw` what has been held back too long for a reader who waits. It is still remembered:
    /// when the rest of the head arrives, its `Start` says how much of it was already shown.
    pub fn flush(&mut self, out: &mut Out<'_>) {
        if self.holds_back() {
            for dir in Direction::BOTH {
                self.show(dir, out);
            }
        }
    }

    /// Bytes of `dir` follow. Gives out as [`Connection::flush`] does what is held of the other direction while the
    /// protocol is not known: it may be all there is of a message, and it came before.
    pub fn keep_order(&mut self, dir: Direction, out: &mut Out<'_>) {
        if self.session.is_none() {
            self.show(dir.other(), out);
        }
    }

    fn show(&mut self, dir: Direction, out: &mut Out<'_>) {
        let held = &mut self.held[dir as usize];
        raw(dir, held.unseen(), out);
        held.mark_shown();
    }

    /// What it speaks, if that is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.session.as_ref().map(|session| session.protocol())
    }

    /// Whether [`Connection::flush`] would give out anything.
    pub fn holds_back(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.holds_text())
            && self.held.iter().any(|held| !held.unseen().is_empty())
    }
}

fn session(next: Next, limits: Limits) -> Option<Box<dyn Session>> {
    match next {
        Next::Unknown => None,
        Next::WebSocket(handshake) => Some(Box::new(WebSocket::new(handshake, limits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Http1;
    use crate::http2::Http2;
    use crate::redis::Redis;

    #[test]
    fn a_connection_can_move_to_another_thread() {
        fn check<T: Send>() {}
        check::<Connection>();
    }

    #[test]
    fn an_idle_connection_is_small() {
        let sessions = [size_of::<Http1>(), size_of::<Http2>(), size_of::<WebSocket>(), size_of::<Redis>()];
        let whole = size_of::<Connection>() + sessions.into_iter().max().unwrap_or_default();
        assert!(whole <= 1024, "{whole} bytes");
    }
}
