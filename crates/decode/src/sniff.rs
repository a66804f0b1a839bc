//! First bytes to protocol.
use crate::http1;

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

/// A protocol that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
}

type Test = fn(&[u8]) -> Verdict<Spoken>;

/// Each protocol's own test. The first that is sure wins; one that is open holds the bytes back.
const TESTS: [Test; 1] = [http1];

pub(crate) fn sniff(bytes: &[u8]) -> Verdict<Spoken> {
    let mut verdict = Verdict::No;
    for test in TESTS {
        match test(bytes) {
            Verdict::Sure(spoken) => return Verdict::Sure(spoken),
            Verdict::Open => verdict = Verdict::Open,
            Verdict::No => {}
        }
    }
    verdict
}

fn http1(bytes: &[u8]) -> Verdict<Spoken> {
    match http1::first_line(bytes) {
        Verdict::Sure(_) => Verdict::Sure(Spoken::Http1),
        Verdict::Open => Verdict::Open,
        Verdict::No => Verdict::No,
    }
}
