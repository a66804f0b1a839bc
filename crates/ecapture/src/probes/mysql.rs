//! MySQL and MariaDB servers. Their functions are exported with C++ names, from which the order of arguments is known.

use inspect::Binary;

use super::named::Named;
use super::overrides::Given;
use super::{Point, Verdict};
use crate::bpf::{Field, FieldKind, Start, TextHook, Values};

/// A function in one of its forms: its name, and the arguments that are read.
type Form = (&'static str, &'static [u8]);

/// `dispatch_command`: command, session, text, length; or session, a struct that begins with text and length, command.
const DISPATCH: [&str; 4] = [
    "_Z16dispatch_command19enum_server_commandP3THDPcj",
    "_Z16dispatch_command19enum_server_commandP3THDPcjb",
    "_Z16dispatch_command19enum_server_commandP3THDPcjbb",
    "_Z16dispatch_commandP3THDPK8COM_DATA19enum_server_command",
];
/// In the names of those with the struct.
const COM_DATA: &str = "COM_DATA";

/// `general_log_write`, which is called whether or not there is a log: command, text, length.
const STATEMENT: [Form; 3] = [
    ("_Z17general_log_writeP3THD19enum_server_commandPKcm", &[2, 3, 4]),
    ("_Z17general_log_writeP3THD19enum_server_commandPKcj", &[2, 3, 4]),
    ("_ZN12Query_logger17general_log_writeEP3THD19enum_server_commandPKcm", &[3, 4, 5]),
];

/// `general_log_print`: command, format, the three values that it formats first, session.
const CONNECT: [Form; 2] = [
    ("_Z17general_log_printP3THD19enum_server_commandPKcz", &[2, 3, 4, 5, 6, 1]),
    ("_ZN12Query_logger17general_log_printEP3THD19enum_server_commandPKcz", &[3, 4, 5, 6, 7, 2]),
];

/// Sends an error to the client: number, message, SQLSTATE.
const ERROR: [Form; 3] = [
    ("_ZN8Protocol21net_send_error_packetEP3THDjPKcS3_", &[3, 4, 5]),
    ("_Z21net_send_error_packetP3THDjPKcS2_", &[2, 3, 4]),
    ("_ZN16Protocol_classic10send_errorEjPKcS1_", &[2, 3, 4]),
];

/// Sends success: changed rows and, where there is one, whether it only ends rows.
const OK: [Form; 7] = [
    ("_ZN8Protocol11net_send_okEP3THDjjyyPKcbb", &[5, 8]),
    ("_ZN8Protocol11net_send_okEP3THDjjyyPKcb", &[5, 8]),
    ("_ZN8Protocol11net_send_okEP3THDjjyyPKc", &[5]),
    ("_Z11net_send_okP3THDjjyyPKcbb", &[4, 7]),
    ("_Z11net_send_okP3THDjjyyPKcb", &[4, 7]),
    ("_Z11net_send_okP3THDjjyyPKc", &[4]),
    ("_ZN16Protocol_classic7send_okEjjyyPKc", &[4]),
];

/// Tells how many rows were sent.
const ROWS: [Form; 1] = [("_Z30pfs_set_statement_rows_sent_vcP20PSI_statement_lockery", &[2])];

/// `enum enum_server_command`: COM_INIT_DB, COM_QUERY, COM_STMT_PREPARE, COM_STMT_EXECUTE. Others have no statement;
/// that of COM_CHANGE_USER is about a password.
const WITH_TEXT: Values = Values::numbers(&[2, 3, 22, 23]);
/// Those of them whose `COM_DATA` begins with text and length.
const COM_DATA_TEXT: Values = Values::numbers(&[2, 3, 22]);
const COM_STMT_EXECUTE: Values = Values::numbers(&[23]);
const COM_CONNECT: Values = Values::numbers(&[11]);

/// The hooks of a server. `given`: its `dispatch_command`; the name tells the arguments.
pub fn hooks(binary: &Binary<'_>, given: Option<&Given>) -> Verdict {
    let forms = [&STATEMENT[..], &CONNECT, &ERROR, &OK, &ROWS].concat();
    let names = forms.iter().map(|form| form.0).chain(DISPATCH).chain(given.map(|given| given.name));
    let names: Vec<&str> = names.collect();
    let mut named = match Named::new(binary, &names, &[]) {
        Ok(named) => named,
        Err(error) => return Verdict::Unusable(error.to_string()),
    };
    if let Some(given) = given
        && let Err(reason) = named.give(given)
    {
        return Verdict::Unusable(reason);
    }
    let known = DISPATCH.into_iter().find(|name| named.has(name));
    let Some(name) = given.map(|given| given.name).or(known) else { return Verdict::Nothing };
    dispatch(&mut named, name);
    let told = |point: Point, fields| TextHook::new(point as u32, fields);
    if let Some((name, [command, text, length])) = form(&named, &STATEMENT) {
        let fields = vec![int(*command), int(*length), sized(*text)];
        named.at(name, told(Point::MySqlStatement, fields).only_if(0, WITH_TEXT));
    }
    if let Some((name, [command, format, first, second, third, session])) = form(&named, &CONNECT) {
        let mut fields = vec![int(*command)];
        fields.extend([format, first, second, third].map(|argument| text(*argument)));
        fields.push(value(*session));
        named.at(name, told(Point::MySqlConnect, fields).only_if(0, COM_CONNECT));
    }
    if let Some((name, [number, message, state])) = form(&named, &ERROR) {
        named.at(name, told(Point::MySqlError, vec![int(*number), text(*message), text(*state)]));
    }
    for (point, forms) in [(Point::MySqlOk, &OK[..]), (Point::MySqlRows, &ROWS)] {
        if let Some((name, arguments)) = form(&named, forms) {
            named.at(name, told(point, arguments.iter().map(|argument| value(*argument)).collect()));
        }
    }
    Verdict::Hooks(named.found("mysqld"))
}

/// Begin and end of every command of a client.
fn dispatch(named: &mut Named<'_>, name: &'static str) {
    let told = |fields| TextHook::new(Point::MySqlCommand as u32, fields);
    if name.contains(COM_DATA) {
        let length = Field::new(Start::Argument(2), FieldKind::U32).over(&[], 8);
        let fields = vec![int(3), length, sized(2).over(&[0], 0), value(1)];
        named.at(name, told(fields).only_if(0, COM_DATA_TEXT));
        let nothing = || Field::value(Start::Number(0));
        let fields = vec![int(3), nothing(), nothing(), value(1)];
        named.at(name, told(fields).only_if(0, COM_STMT_EXECUTE));
    } else {
        let fields = vec![int(1), int(4), sized(3), value(2)];
        named.at(name, told(fields).only_if(0, WITH_TEXT));
    }
    named.after(name, TextHook::new(Point::MySqlDone as u32, Vec::new()));
}

/// The first form that the file has.
fn form(named: &Named<'_>, forms: &[Form]) -> Option<Form> {
    forms.iter().copied().find(|(name, _)| named.has(name))
}

fn value(argument: u8) -> Field {
    Field::value(Start::Argument(argument))
}

fn int(argument: u8) -> Field {
    Field::new(Start::Argument(argument), FieldKind::Int)
}

fn text(argument: u8) -> Field {
    Field::new(Start::Argument(argument), FieldKind::Text)
}

fn sized(argument: u8) -> Field {
    Field::new(Start::Argument(argument), FieldKind::Sized)
}
