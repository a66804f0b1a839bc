//! Calls that report an error, `ERR_put_error(library, function, reason, file, line)`, by the path that they pass.
//! Where the library is linked as one program, unused arguments may be gone.

use std::collections::BTreeSet;

use crate::code::body::{Body, Constants};

/// What a function's errors say.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// Numbers of functions: OpenSSL before 3.0.
    pub(super) functions: BTreeSet<u64>,
    /// Numbers of reasons.
    pub(super) reasons: BTreeSet<u64>,
}

impl Errors {
    /// Of the calls that get what the instructions `paths` load, those by a library of that number.
    pub(super) fn of(body: &Body, paths: impl Iterator<Item = u64>, library: u64) -> Self {
        let reached = paths.filter(|at| body.reaches(*at));
        let calls: BTreeSet<_> = reached.flat_map(|at| body.calls_with(at)).collect();
        let mut errors = Self::default();
        for (at, path) in calls {
            // At least the library and the reason come before the path.
            if path < 2 || !body.argument(at, 0).is(library) {
                continue;
            }
            let Constants { values, .. } = body.argument(at, path - 1);
            errors.reasons.extend(values);
            if path == 3 {
                errors.functions.extend(body.argument(at, 1).values);
            }
        }
        errors
    }
}
