//! Messages of HTTP/1.0 and 1.1 on both directions of a connection (RFC 9112).
mod body;
mod chunked;
mod fields;
mod first_line;
mod framing;
mod head;
mod pairing;

use std::mem;

use self::body::{AfterGap, Body, Progress};
use self::fields::{blank_line, line_ends};
use self::framing::Framing;
use self::head::{Parsed, parse};
use self::pairing::Pairing;
use crate::coding::Codings;
use crate::connection::Limits;
use crate::content::{Content, Units};
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, End, Kind, Part, Protocol};
use crate::session::{Flow, Next, Out, Session, lane, raw, release};
use crate::sniff::Verdict;
use crate::websocket::Handshake;

pub use self::fields::Fields;
pub(crate) use self::first_line::first_line;
pub(crate) use self::head::tokens;

/// Both directions of an HTTP/1 connection. Neither has a fixed role: each head tells what it is.
pub(crate) struct Http1 {
    sides: [Side; 2],
    pairing: Pairing,
    limits: Limits,
}

#[derive(Default)]
enum Side {
    /// At the start of a message or inside its head, or out of step: what is here decides at the first byte
    /// of the next message or, out of step, of the next push.
    #[default]
    Head,
    Body(Message),
}

/// A message whose body is on its way.
struct Message {
    body: Body,
    /// A response to a request that we have not seen: if that was HEAD, there is no body.
    doubtful: bool,
}

/// What the bytes are while no body is on its way.
enum Scan<'a> {
    /// A head of this length.
    Whole(Kind<'a>, usize),
    /// The start of one; the search resumes here.
    Open(usize),
    /// Not a head, or too long.
    Not,
}

impl Session for Http1 {
    fn protocol(&self) -> Protocol {
        Protocol::Http1
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], held: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        self.doubt(dir, bytes, out);
        let mut rest = bytes;
        while !rest.is_empty() {
            let step = match &mut self.sides[dir as usize] {
                Side::Head => self.head(dir, rest, held, out),
                Side::Body(message) => match message.body.push(rest, &mut |part| out(lane(dir), part)) {
                    Progress::More => return Flow::Done,
                    Progress::Over(after) => {
                        self.sides[dir as usize] = Side::Head;
                        Ok(after)
                    }
                    Progress::Lost(after) => {
                        self.sides[dir as usize] = Side::Head;
                        self.lose(dir, after, out)
                    }
                },
            };
            rest = match step {
                Ok(after) => after,
                Err(flow) => {
                    if let Flow::Switch(..) = flow {
                        self.cut(dir.other(), out);
                    }
                    return flow;
                }
            };
        }
        Flow::Done
    }

    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        let after = match &mut self.sides[dir as usize] {
            Side::Head => {
                out(lane(dir), Part::Gap(lost));
                AfterGap::Lost
            }
            Side::Body(message) => message.body.gap(lost, &mut |part| out(lane(dir), part)),
        };
        if after != AfterGap::Inside {
            self.sides[dir as usize] = Side::Head;
        }
        if after == AfterGap::Lost {
            self.pairing.forget();
        }
    }

    fn close(&mut self, dir: Direction, out: &mut Out<'_>) {
        if let Side::Body(mut message) = mem::take(&mut self.sides[dir as usize]) {
            message.body.close(&mut |part| out(lane(dir), part));
        }
    }

    fn memory(&self) -> usize {
        let body = |side: &Side| match side {
            Side::Head => 0,
            Side::Body(message) => message.body.memory(),
        };
        self.pairing.memory() + self.sides.iter().map(body).sum::<usize>()
    }

    fn holds_text(&self) -> bool {
        true
    }
}

impl Http1 {
    pub fn new(limits: Limits) -> Self {
        Self { sides: Default::default(), pairing: Pairing::default(), limits }
    }

    /// A message that is still open ends here, whatever it says.
    fn cut(&mut self, dir: Direction, out: &mut Out<'_>) {
        if let Side::Body(mut message) = mem::take(&mut self.sides[dir as usize]) {
            message.body.cut(&mut |part| out(lane(dir), part));
        }
    }

    /// A response that came without its request may have no body after all: if a new response begins where
    /// its body should, and at the start of a push, it was one to HEAD.
    fn doubt(&mut self, dir: Direction, bytes: &[u8], out: &mut Out<'_>) {
        if let Side::Body(message) = &mut self.sides[dir as usize]
            && message.doubtful
            && message.body.is_untouched()
            && matches!(first_line(bytes), Verdict::Sure(Kind::Response { .. }))
        {
            out(lane(dir), Part::End(End { complete: true, ..End::default() }));
            self.sides[dir as usize] = Side::Head;
        }
    }

    /// Looks for a head. `Ok`: it was there, and these bytes follow it.
    fn head<'b>(
        &mut self,
        dir: Direction,
        bytes: &'b [u8],
        held: &mut Held,
        out: &mut Out<'_>,
    ) -> Result<&'b [u8], Flow<'b>> {
        let mut kept = mem::take(held);
        let (before, from, shown) = (kept.len(), kept.scanned(), kept.shown());
        // One byte beyond the limit tells a head that fits from one that does not.
        let joined = kept.joined(bytes, self.limits.head + 1);
        match scan(joined, from, self.limits.head) {
            Scan::Whole(kind, end) => {
                let parsed = parse(kind, &joined[..end], shown);
                let next = parsed.upgrade.map_or(Next::Unknown, |extensions| {
                    Next::WebSocket(Handshake { client: dir.other(), extensions })
                });
                let framing = self.message(dir, parsed, out);
                let after = &bytes[end - before..];
                match framing {
                    Framing::Bad => self.lose(dir, after, out),
                    Framing::Switch => Err(Flow::Switch(after, next)),
                    Framing::Length(_) | Framing::Chunked | Framing::UntilClose => Ok(after),
                }
            }
            Scan::Open(scanned) => {
                kept.restore(before);
                kept.hold(bytes, scanned);
                *held = kept;
                Err(Flow::Done)
            }
            Scan::Not => {
                kept.restore(before);
                release(dir, &mut kept, out);
                self.lose(dir, bytes, out)
            }
        }
    }

    /// Starts a message, and ends it as well if it has no body.
    fn message(&mut self, dir: Direction, parsed: Parsed<'_>, out: &mut Out<'_>) -> Framing {
        let Parsed { mut head, declared, content_type, .. } = parsed;
        let answered = match head.kind {
            Kind::Response { status, .. } => self.pairing.response(dir, status),
            Kind::Request { method, .. } => {
                head.exchange = Some(self.pairing.request(dir, method));
                None
            }
            Kind::Other(_) => None,
        };
        head.exchange = head.exchange.or(answered.map(|(_, exchange)| exchange));
        let asked = answered.map(|(asked, _)| asked);
        let framing = declared.framing(&head.kind, asked);
        let doubtful = asked.is_none() && matches!(head.kind, Kind::Response { .. });
        let content =
            Content::new(head.codings, Units::of(content_type, Codings::default(), self.limits), self.limits);
        out(lane(dir), Part::Start(head));
        match Body::new(framing, content, self.limits) {
            Some(body) => self.sides[dir as usize] = Side::Body(Message { body, doubtful }),
            None => out(lane(dir), Part::End(bodiless(framing))),
        }
        framing
    }

    /// Out of step: the rest of this push is raw, and who answers whom is unknown. If the other direction
    /// has nothing open, perhaps this never was HTTP/1.
    fn lose<'b>(&mut self, dir: Direction, bytes: &'b [u8], out: &mut Out<'_>) -> Result<&'b [u8], Flow<'b>> {
        raw(dir, bytes, out);
        self.pairing.forget();
        match self.sides[dir.other() as usize] {
            Side::Head => Err(Flow::Switch(&[], Next::Unknown)),
            Side::Body(_) => Err(Flow::Done),
        }
    }
}

fn bodiless(framing: Framing) -> End<'static> {
    let mut notes = Notes::default();
    if framing == Framing::Bad {
        notes.add(Note::BadFraming);
    }
    End { complete: framing != Framing::Bad, notes, ..End::default() }
}

/// Finds the head at the start of `bytes`; an earlier search came as far as `from`.
fn scan(bytes: &[u8], from: usize, limit: usize) -> Scan<'_> {
    let full = bytes.len() > limit;
    match first_line(bytes) {
        Verdict::Open if !full => Scan::Open(0),
        Verdict::Open | Verdict::No => Scan::Not,
        Verdict::Sure(kind) => match blank_line(bytes, from.max(line_ends(bytes))) {
            Ok((_, end)) if end <= limit => Scan::Whole(kind, end),
            Err(from) if !full => Scan::Open(from),
            Ok(_) | Err(_) => Scan::Not,
        },
    }
}
