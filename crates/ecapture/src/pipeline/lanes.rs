//! The lanes of a connection: the message that each of them is in, and how long responses took.

use decode::{Direction, Exchange, Lane, Part};
use rustc_hash::FxHashMap;

use super::message::{Assembly, Context, Paired};
use crate::sinks::Sinks;

/// Requests whose time is remembered. A connection of which only requests are seen has more.
const WAITING_MOST: usize = 4096;

/// What goes on in both directions.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Everything but the streams of HTTP/2.
    main: [Assembly; 2],
    /// Streams that are in the middle of a message.
    streams: FxHashMap<Lane, Assembly>,
    /// Wall time of requests that wait for their response, ns.
    asked: FxHashMap<u64, i64>,
    /// Messages that ended.
    pub messages: u64,
}

impl Lanes {
    /// Takes one part.
    pub fn accept(&mut self, context: &Context<'_>, lane: Lane, part: Part<'_>, sinks: &mut Sinks) {
        self.messages += u64::from(matches!(part, Part::End(_) | Part::Whole(_)));
        let exchange = match part {
            Part::Start(head) => self.pair(head.exchange, context.time),
            Part::Whole(whole) => self.pair(whole.exchange, context.time),
            _ => Paired::default(),
        };
        if lane.stream == 0 {
            return self.main[lane.direction as usize].accept(context, lane, part, exchange, sinks);
        }
        let assembly = self.streams.entry(lane).or_default();
        assembly.accept(context, lane, part, exchange, sinks);
        if assembly.is_idle() {
            self.streams.remove(&lane);
        }
    }

    /// Shows what is held of unfinished messages.
    pub fn show(&mut self, context: &Context<'_>, sinks: &mut Sinks) {
        for direction in Direction::BOTH {
            let lane = Lane { direction, stream: 0 };
            self.main[direction as usize].show(context, lane, false, "", sinks);
        }
        for (lane, assembly) in &mut self.streams {
            assembly.show(context, *lane, false, "", sinks);
        }
    }

    /// The same of one lane.
    pub fn show_lane(&mut self, context: &Context<'_>, lane: Lane, sinks: &mut Sinks) {
        let assembly = match lane.stream {
            0 => Some(&mut self.main[lane.direction as usize]),
            _ => self.streams.get_mut(&lane),
        };
        if let Some(assembly) = assembly {
            assembly.show(context, lane, false, "", sinks);
        }
    }

    fn pair(&mut self, exchange: Option<Exchange>, now: i64) -> Paired {
        let (number, asked) = match exchange {
            None => return Paired::default(),
            Some(Exchange::Asks(number)) => {
                if self.asked.len() == WAITING_MOST {
                    self.asked.clear();
                }
                self.asked.insert(number, now);
                (number, None)
            }
            Some(Exchange::Interim(number)) => (number, self.asked.get(&number).copied()),
            Some(Exchange::Answers(number)) => (number, self.asked.remove(&number)),
        };
        let latency = asked.and_then(|asked| u64::try_from(now - asked).ok());
        Paired { number: Some(number), latency }
    }
}
