//! PostgreSQL backends. The functions that run statements are static, those of the wire protocol are exported.

use inspect::Binary;

use super::named::Named;
use super::{Point, Verdict};
use crate::bpf::{Field, FieldKind, Start, TextHook, Values};

/// What a thread keeps: the type of the message that is handled, and the buffer that it is read into.
const MESSAGE: u8 = 0;
const BUFFER: u8 = 1;

const NEEDED: [&str; 6] =
    ["pq_getbyte", "pq_getmessage", "pgstat_report_activity", "pq_endmessage", "EndCommand", "ReadyForQuery"];
/// `InitPostgres` begins a session. With `GetCommandTagName` (PostgreSQL 13), `EndCommand` gets a struct.
const OTHERS: [&str; 2] = ["InitPostgres", "GetCommandTagName"];

/// Messages that run a statement, or prepare to: Query, Parse, Bind, Execute.
const STATEMENT: Values = Values::characters(b"QPBE");
/// ErrorResponse.
const ERROR: Values = Values::characters(b"E");
/// Bind, which has the parameters, and Execute. Passwords are in messages of another type.
const BIND: Values = Values::characters(b"BE");

/// The hooks of a server.
pub fn hooks(binary: &Binary<'_>) -> Verdict {
    let names = [&NEEDED[..], &OTHERS].concat();
    let mut named = match Named::new(binary, &names, &["application_name"]) {
        Ok(named) => named,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !named.has(name)).collect();
    if missing.len() > 3 {
        return Verdict::Nothing;
    }
    if !missing.is_empty() {
        return Verdict::Unusable(format!("a PostgreSQL server without {}", missing.join(", ")));
    }
    let told = |point: Point, fields| TextHook::new(point as u32, fields);
    let kind = || Field::value(Start::Kept(MESSAGE));
    let argument = |number, kind| Field::new(Start::Argument(number), kind);
    let value = |number| argument(number, FieldKind::Value);

    // The message's type, then its body. `silent`: the point does not matter.
    let message = vec![Field::new(Start::Returned, FieldKind::Int).kept_in(MESSAGE)];
    named.after("pq_getbyte", told(Point::PgBind, message).silent());
    named.at(
        "pq_getmessage",
        told(Point::PgBind, vec![kind(), value(1).kept_in(BUFFER)]).only_if(0, BIND).silent(),
    );
    // struct StringInfoData: data at 0, len at 8, cursor at 16
    let of_buffer = |kind| Field::new(Start::Kept(BUFFER), kind);
    let body =
        vec![kind(), of_buffer(FieldKind::U32).over(&[], 8), of_buffer(FieldKind::Sized).over(&[0], 0)];
    named.after("pq_getmessage", told(Point::PgBind, body).only_if(0, BIND));

    let mut activity = vec![kind(), argument(2, FieldKind::Text)];
    activity.extend(named.pointer("application_name"));
    named.at(
        "pgstat_report_activity",
        told(Point::PgActivity, activity).only_if(0, STATEMENT).only_if(1, Values::NOT_ZERO),
    );

    let reply = vec![
        argument(1, FieldKind::U32).over(&[], 16),
        argument(1, FieldKind::U32).over(&[], 8),
        argument(1, FieldKind::Sized).over(&[0], 0),
    ];
    named.at("pq_endmessage", told(Point::PgError, reply).only_if(0, ERROR));
    if named.has("GetCommandTagName") {
        // struct QueryCompletion: commandTag at 0, nprocessed at 8
        named.at("EndCommand", told(Point::PgRows, vec![argument(1, FieldKind::U64).over(&[], 8)]));
    } else {
        named.at("EndCommand", told(Point::PgTag, vec![argument(1, FieldKind::Text)]));
    }
    named.at("ReadyForQuery", told(Point::PgReady, Vec::new()));
    named.at(
        "InitPostgres",
        told(Point::PgSession, vec![argument(1, FieldKind::Text), argument(3, FieldKind::Text)]),
    );
    Verdict::Hooks(named.found("postgres"))
}
