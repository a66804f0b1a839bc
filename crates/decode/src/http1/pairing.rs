//! Which request a response answers: only that tells whether it has a body.
use std::collections::VecDeque;

use crate::part::{Direction, Exchange};

/// Requests remembered per direction. Hardly a client has so many unanswered ones; a connection of which only one
/// direction can be seen has.
const MOST: usize = 1024;

/// What matters of a request's method for its response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
}

/// Requests that wait for their response, by the direction in which they went.
#[derive(Default)]
pub(super) struct Pairing {
    waiting: [VecDeque<(Asked, u64)>; 2],
    /// Requests so far: each has its number.
    count: u64,
}

impl Pairing {
    pub fn request(&mut self, dir: Direction, method: &str) -> Exchange {
        let queue = &mut self.waiting[dir as usize];
        if queue.len() == MOST {
            // The responses are not seen or not in step: an answer picked from this queue would be a guess.
            queue.clear();
        }
        let asked = match method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other,
        };
        self.count += 1;
        queue.push_back((asked, self.count));
        Exchange::Asks(self.count)
    }

    /// The request that a response in `dir` answers, if it was seen. Interim responses leave it waiting.
    pub fn response(&mut self, dir: Direction, status: u16) -> Option<(Asked, Exchange)> {
        let queue = &mut self.waiting[dir.other() as usize];
        match status {
            100 | 102..200 => queue.front().map(|&(asked, number)| (asked, Exchange::Interim(number))),
            _ => queue.pop_front().map(|(asked, number)| (asked, Exchange::Answers(number))),
        }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.waiting.iter().map(|queue| queue.capacity() * size_of::<(Asked, u64)>()).sum()
    }

    /// Something was lost: which response belongs to which request cannot be known any more.
    pub fn forget(&mut self) {
        self.waiting = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_order_and_not_by_interim_responses() {
        let mut pairing = Pairing::default();
        pairing.request(Direction::Sent, "HEAD");
        pairing.request(Direction::Sent, "get");
        assert_eq!(pairing.response(Direction::Sent, 200), None);
        let mut response = |status| pairing.response(Direction::Received, status);
        assert_eq!(response(100), Some((Asked::Head, Exchange::Interim(1))));
        assert_eq!(response(200), Some((Asked::Head, Exchange::Answers(1))));
        assert_eq!(response(200), Some((Asked::Other, Exchange::Answers(2))));
        assert_eq!(pairing.response(Direction::Received, 200), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut pairing = Pairing::default();
        for _ in 0..10_000 {
            pairing.request(Direction::Sent, "GET");
        }
        assert!(pairing.waiting[0].len() <= MOST);
    }
}
