//! PostgreSQL backends. The functions that run statements are static, those of the wire protocol are exported.

use inspect::Binary;

use super::named::Named;
use super::overrides::Given;
use super::{Point, Verdict};
use crate::bpf::{Field, FieldKind, Start, TextHook, Values};

/// What a thread keeps: the type of the message that is handled, and the buffer that it is read into.
const MESSAGE: u8 = 0;
const BUFFER: u8 = 1;

const NEEDED: [&str; 6] =
    ["pq_getbyte", "pq_getmessage", ACTIVITY, "pq_endmessage", "EndCommand", "ReadyForQuery"];
/// `InitPostgres` begins a session. With `GetCommandTagName` (PostgreSQL 13), `EndCommand` gets a struct.
const OTHERS: [&str; 2] = ["InitPostgres", "GetCommandTagName"];

/// Messages that run a statement, or prepare to: Query, Parse, Bind, Execute.
const STATEMENT: Values = Values::characters(b"QPBE");
/// ErrorResponse.
const ERROR: Values = Values::characters(b"E");
/// Bind, which has the parameters, and Execute. Passwords are in messages of another type.
const BIND: Values = Values::characters(b"BE");

/// The function that has the text of every statement that begins.
const ACTIVITY: &str = "pgstat_report_activity";

/// The hooks of a server. `given`: a function whose first argument is the text of a statement; only it is needed then.
pub fn hooks(binary: &Binary<'_>, given: Option<&Given>) -> Verdict {
    let mut names = [&NEEDED[..], &OTHERS].concat();
    names.extend(given.map(|given| given.name));
    let mut named = match Named::new(binary, &names, &["application_name"]) {
        Ok(named) => named,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !named.has(name)).collect();
    if let Some(given) = given {
        if let Err(reason) = named.give(given) {
            return Verdict::Unusable(reason);
        }
    } else if missing.len() > 3 {
        return Verdict::Nothing;
    } else if !missing.is_empty() {
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

    let (name, text) = given.map_or((ACTIVITY, 2), |given| (given.name, 1));
    // Without the function that reads messages, a simple query.
    let message = if named.has("pq_getbyte") { kind() } else { Field::value(Start::Number(b'Q'.into())) };
    let mut activity = vec![message, argument(text, FieldKind::Text)];
    activity.extend(named.pointer("application_name"));
    named.at(name, told(Point::PgActivity, activity).only_if(0, STATEMENT).only_if(1, Values::NOT_ZERO));

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
    if !named.at("ReadyForQuery", told(Point::PgReady, Vec::new())) {
        named.after(name, told(Point::PgReady, Vec::new()));
    }
    named.at(
        "InitPostgres",
        told(Point::PgSession, vec![argument(1, FieldKind::Text), argument(3, FieldKind::Text)]),
    );
    Verdict::Hooks(named.found("postgres"))
}
