//! Which request a response answers: only that tells whether it has a body.
use std::collections::VecDeque;

use crate::part::Direction;

/// Requests remembered per direction. No real client has so many unanswered ones; a connection of which
/// only one direction can be seen has.
const MOST: usize = 256;

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
    waiting: [VecDeque<Asked>; 2],
}

impl Pairing {
    pub fn request(&mut self, dir: Direction, method: &str) {
        let queue = &mut self.waiting[dir as usize];
        if queue.len() == MOST {
            // The responses are not seen or not in step: an answer picked from this queue would be a guess.
            queue.clear();
        }
        queue.push_back(match method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other,
        });
    }

    /// The request that a response in `dir` answers, if it was seen. Interim responses leave it waiting.
    pub fn response(&mut self, dir: Direction, status: u16) -> Option<Asked> {
        let queue = &mut self.waiting[dir.other() as usize];
        match status {
            100 | 102..200 => queue.front().copied(),
            _ => queue.pop_front(),
        }
    }

    /// Something was lost: which response belongs to which request cannot be known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
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
        assert_eq!(pairing.response(Direction::Received, 100), Some(Asked::Head));
        assert_eq!(pairing.response(Direction::Received, 200), Some(Asked::Head));
        assert_eq!(pairing.response(Direction::Received, 200), Some(Asked::Other));
        assert_eq!(pairing.response(Direction::Received, 200), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut pairing = Pairing::default();
        (0..10_000).for_each(|_| pairing.request(Direction::Sent, "GET"));
        assert!(pairing.waiting[0].len() <= MOST);
    }
}
