//! The functions of the library, as its documentation describes them.

use crate::hook::{Arg, Call, Purpose, ResultKind};

/// What `gnutls_record_send` calls, since 3.6.3.
pub(super) const INNER_SEND: &str = "gnutls_record_send2";
/// `(session, client, server)` tells both random values.
pub(super) const RANDOM: &str = "gnutls_session_get_random";

/// All that move plaintext take `(session, buffer, size, …)`.
const fn call(result: ResultKind) -> Call {
    Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result }
}

const fn reads(result: ResultKind) -> Purpose {
    Purpose::Read(call(result))
}

const fn writes(result: ResultKind) -> Purpose {
    Purpose::Write(call(result))
}

/// Everything that is hooked by name.
///
/// `gnutls_record_send_range` tries again by itself. `gnutls_record_send_file` sends by `gnutls_record_send`, unless
/// the kernel encrypts. What `gnutls_record_send_early_data` takes the handshake sends by `gnutls_record_send`, if at all.
pub(super) const FUNCTIONS: [(&str, Purpose); 14] = [
    ("gnutls_record_recv", reads(ResultKind::Size)),
    ("gnutls_record_recv_seq", reads(ResultKind::Size)),
    ("gnutls_record_recv_early_data", reads(ResultKind::Size)),
    ("gnutls_record_recv_packet", Purpose::ReadElsewhere),
    (INNER_SEND, writes(ResultKind::Resumed)),
    ("gnutls_record_send", writes(ResultKind::Resumed)),
    ("gnutls_record_send_range", writes(ResultKind::Size)),
    ("gnutls_record_send_file", Purpose::SendFile),
    ("gnutls_record_uncork", Purpose::Flush),
    ("gnutls_init", Purpose::NewAt(Arg(1))),
    ("gnutls_deinit", Purpose::Free),
    ("gnutls_transport_set_ptr", Purpose::SetFd),
    ("gnutls_transport_set_ptr2", Purpose::SetBio),
    ("gnutls_transport_set_int2", Purpose::SetBio),
];

/// Functions whose presence makes a file a GnuTLS.
pub(super) fn plaintext_names() -> Vec<&'static str> {
    let moving = FUNCTIONS.iter().filter(|(_, purpose)| purpose.moves_plaintext());
    moving.map(|(name, _)| *name).collect()
}

/// All that is looked for.
pub(super) fn all_names() -> Vec<&'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name).chain([RANDOM]).collect()
}
