//! The lanes of a connection: the message that each of them is in, and how long responses took.

use decode::{Direction, Exchange, Lane, Part};
use rustc_hash::FxHashMap;

use super::FilteredSinks;
use super::message::{Assembly, Context, Extent, Paired};
use crate::filter::Facts;
use crate::record::Kind;

/// Requests whose time is remembered. A connection of which only requests are seen has more.
const WAITING_MOST: usize = 4096;

/// What goes on in both directions.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Everything but the streams of HTTP/2.
    main: [Assembly; 2],
    /// Streams that are in the middle of a message.
    streams: FxHashMap<Lane, Assembly>,
    /// Requests that wait for their response.
    asked: FxHashMap<u64, Asked>,
    /// Messages that ended.
    pub messages: u64,
}

/// A request, for its responses.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Wall time, ns.
    time: i64,
    /// What selects its responses.
    facts: Facts,
}

impl Lanes {
    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.main.iter().chain(self.streams.values()).map(Assembly::memory).sum::<usize>()
            + self.streams.capacity() * size_of::<(Lane, Assembly)>()
            + self.asked.capacity() * size_of::<(u64, Asked)>()
    }

    /// Forgets everything but what was counted.
    pub fn forget(&mut self) {
        *self = Self { messages: self.messages, ..Self::default() };
    }

    /// Takes one part.
    pub fn accept(&mut self, context: &Context<'_>, lane: Lane, part: Part<'_>, sinks: &mut FilteredSinks) {
        self.messages += u64::from(matches!(part, Part::End(_) | Part::Whole(_)));
        if matches!(part, Part::Start(_) | Part::Unit(_) | Part::Whole(_)) {
            self.show_other(context, lane, sinks);
        }
        let (exchange, facts) = self.judge(context, &part, sinks);
        let matched =
            self.in_lane(lane, |assembly| assembly.accept(context, lane, part, (exchange, facts), sinks));
        self.note_match(matched);
    }

    /// Shows what the other direction holds: it came before what begins now.
    fn show_other(&mut self, context: &Context<'_>, lane: Lane, sinks: &mut FilteredSinks) {
        let other = Lane { direction: lane.direction.other(), ..lane };
        let assembly = match lane.stream {
            0 => Some(&mut self.main[other.direction as usize]),
            _ => self.streams.get_mut(&other),
        };
        let matched = assembly.and_then(|assembly| assembly.show(context, other, Extent::Safe, sinks));
        self.note_match(matched);
    }

    /// Takes bytes that the kernel sent from a file.
    pub fn accept_file(&mut self, context: &Context<'_>, lane: Lane, bytes: u64, sinks: &mut FilteredSinks) {
        let facts = sinks.filter().selection.of_rest(context.connection, None, None);
        self.in_lane(lane, |assembly| {
            assembly.interrupt(context, lane, Kind::File(bytes), facts, sinks);
        });
    }

    fn in_lane<T>(&mut self, lane: Lane, run: impl FnOnce(&mut Assembly) -> T) -> T {
        if lane.stream == 0 {
            return run(&mut self.main[lane.direction as usize]);
        }
        let assembly = self.streams.entry(lane).or_default();
        let result = run(assembly);
        if assembly.is_idle() {
            self.streams.remove(&lane);
        }
        result
    }

    /// Pairs and selects what begins with a part.
    fn judge(&mut self, context: &Context<'_>, part: &Part<'_>, sinks: &FilteredSinks) -> (Paired, Facts) {
        let selection = &sinks.filter().selection;
        let exchange = match part {
            Part::Start(head) => head.exchange,
            Part::Whole(whole) => whole.exchange,
            _ => None,
        };
        let fits = matches!(part, Part::Start(head) if selection.of_request(head));
        let (paired, asked) = self.pair(exchange, context.time, Facts { fits, matches: false });
        let facts = match part {
            Part::Start(head) => selection.of_head(head, context.connection, asked),
            _ => selection.of_rest(context.connection, exchange, asked),
        };
        (paired, facts)
    }

    /// What a request contains selects its responses, too.
    fn note_match(&mut self, exchange: Option<u64>) {
        if let Some(asked) = exchange.and_then(|number| self.asked.get_mut(&number)) {
            asked.facts.matches = true;
        }
    }

    /// Whether no message goes on in a direction, but for streams of HTTP/2.
    pub fn is_between_messages(&self, direction: Direction) -> bool {
        self.main[direction as usize].is_idle()
    }

    /// Shows what is held of unfinished messages.
    pub fn show(&mut self, context: &Context<'_>, extent: Extent, sinks: &mut FilteredSinks) {
        for direction in Direction::BOTH {
            let lane = Lane { direction, stream: 0 };
            let assembly = &mut self.main[direction as usize];
            let matched = assembly.show(context, lane, extent, sinks);
            assembly.shrink();
            self.note_match(matched);
        }
        let mut matched = Vec::new();
        for (lane, assembly) in &mut self.streams {
            matched.extend(assembly.show(context, *lane, extent, sinks));
            assembly.shrink();
        }
        matched.into_iter().for_each(|number| self.note_match(Some(number)));
    }

    fn pair(&mut self, exchange: Option<Exchange>, now: i64, facts: Facts) -> (Paired, Option<Facts>) {
        let (number, asked) = match exchange {
            None => return (Paired::default(), None),
            Some(Exchange::Asks(number)) => {
                if self.asked.len() == WAITING_MOST {
                    self.asked.clear();
                }
                self.asked.insert(number, Asked { time: now, facts });
                (number, None)
            }
            Some(Exchange::Interim(number)) => (number, self.asked.get(&number).copied()),
            Some(Exchange::Answers(number)) => (number, self.asked.remove(&number)),
        };
        let latency = asked.and_then(|asked| u64::try_from(now - asked.time).ok());
        (Paired { number: Some(number), latency }, asked.map(|asked| asked.facts))
    }
}
