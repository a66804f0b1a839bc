//! First bytes to protocol.
use crate::connection::Limits;
use crate::part::Direction;
use crate::session::Session;
use crate::sql::{mysql, postgres};
use crate::{http1, http2, redis};

/// What the first bytes of a direction tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// Enough to be sure.
    Sure(T),
    /// More bytes could make it sure.
    Open,
    /// No continuation makes sense.
    No,
}

impl<T> Verdict<T> {
    pub fn map<U>(self, sure: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Sure(what) => Verdict::Sure(sure(what)),
            Self::Open => Verdict::Open,
            Self::No => Verdict::No,
        }
    }
}

/// Makes the session; the first bytes went in this direction.
pub(crate) type Make = fn(Direction, Limits) -> Box<dyn Session>;

/// A protocol: what its first bytes tell, and how it is followed.
pub(crate) type Test = (fn(&[u8]) -> Verdict<()>, Make);

/// Every protocol. The first that is sure wins; one that is open holds the bytes back.
pub(crate) const TESTS: &[Test] = &[
    (http2::sniff, |_, limits| Box::new(http2::Http2::new(limits))),
    (|bytes| http1::first_line(bytes).map(drop), |_, limits| Box::new(http1::Http1::new(limits))),
    (redis::sniff, |client, limits| Box::new(redis::Redis::new(client, limits))),
    (postgres::sniff, |client, limits| Box::new(postgres::Postgres::new(client, limits))),
    (mysql::sniff, |client, limits| Box::new(mysql::MySql::new(client, limits))),
];

/// Those that may be in a tunnel through HTTP/2: not HTTP/2 again, as each level would cost stack.
pub(crate) const INSIDE: &[Test] = TESTS.split_at(1).1;

pub(crate) fn sniff(tests: &[Test], bytes: &[u8]) -> Verdict<Make> {
    let mut verdict = Verdict::No;
    for (test, make) in tests {
        match test(bytes) {
            Verdict::Sure(()) => return Verdict::Sure(*make),
            Verdict::Open => verdict = Verdict::Open,
            Verdict::No => {}
        }
    }
    verdict
}
