//! What a protocol does with both directions of a connection.
use crate::held::Held;
use crate::part::{Direction, Lane, Part, Protocol};
use crate::sniff::Verdict;
use crate::websocket::Handshake;

/// Where parts go.
pub(crate) type Out<'o> = dyn FnMut(Lane, Part<'_>) + 'o;

/// A connection, or a part of its life, that speaks one protocol.
pub(crate) trait Session: Send {
    /// Takes `bytes`, which follow what it has `held` itself of this direction and, if it holds text, what
    /// was held while the protocol was not known.
    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], held: &mut Held, out: &mut Out<'_>) -> Flow<'b>;

    /// `lost` bytes are missing. Nothing is held back any more.
    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>);

    /// No more will come in this direction. Nothing is held back any more.
    fn close(&mut self, dir: Direction, out: &mut Out<'_>);

    /// Bytes that it has allocated, besides itself; of decoders an estimate.
    fn memory(&self) -> usize;

    /// What it is.
    fn protocol(&self) -> Protocol;

    /// Whether what it holds back means something to a reader who waits.
    fn holds_text(&self) -> bool {
        false
    }
}

/// What a push leaves to do.
pub(crate) enum Flow<'b> {
    /// Nothing.
    Done,
    /// The connection speaks something else now; these bytes are the first of it.
    Switch(&'b [u8], Next),
}

/// What is spoken after a switch.
pub(crate) enum Next {
    /// Its first bytes will tell.
    Unknown,
    WebSocket(Handshake),
}

/// The only lane of a direction.
pub(crate) fn lane(direction: Direction) -> Lane {
    Lane { direction, stream: 0 }
}

/// Looks at what is `held` and `bytes` behind it. What `test` is sure of is the answer, and nothing was done.
/// Else the bytes are held as well, up to `limit`, or all is given out as `Raw`.
pub(crate) fn recognised<T>(
    dir: Direction,
    bytes: &[u8],
    held: &mut Held,
    limit: usize,
    out: &mut Out<'_>,
    test: impl FnOnce(&[u8]) -> Verdict<T>,
) -> Option<T> {
    let before = held.len();
    let joined = held.joined(bytes, limit + 1);
    let full = joined.len() > limit;
    let verdict = test(joined);
    held.restore(before);
    match verdict {
        Verdict::Sure(what) => return Some(what),
        Verdict::Open if !full => held.hold(bytes, 0),
        Verdict::Open | Verdict::No => {
            release(dir, held, out);
            raw(dir, bytes, out);
        }
    }
    None
}

/// Gives up on what is held.
pub(crate) fn release(dir: Direction, held: &mut Held, out: &mut Out<'_>) {
    raw(dir, held.unseen(), out);
    *held = Held::default();
}

/// `bytes` as `Raw`, unless there are none.
pub(crate) fn raw(dir: Direction, bytes: &[u8], out: &mut Out<'_>) {
    if !bytes.is_empty() {
        out(lane(dir), Part::Raw(bytes));
    }
}

/// So many bytes of framing, unless there are none.
pub(crate) fn framing(dir: Direction, bytes: usize, out: &mut Out<'_>) {
    if bytes != 0 {
        out(lane(dir), Part::Framing(bytes as u64));
    }
}
