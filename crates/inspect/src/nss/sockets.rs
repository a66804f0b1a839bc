//! The functions behind a TLS socket, by the tables in which NSS keeps them: `sslSocketOps` of `sslimpl.h`.
//!
//! There are two: `ssl_secure_ops` for sockets with TLS, and `ssl_default_ops` for those that have none, or not yet. The
//! second shows which function is at which position: each calls the one of the same name of the layer below, and where
//! that has them is a public interface (`PRIOMethods` of `prio.h`). So what is hooked never sees a byte without TLS.

use super::Parts;
use crate::Why;
use crate::binary::Binary;
use crate::code::flow::leads_to;
use crate::hook::{Arg, Call, Evidence, Purpose, ResultKind};
use crate::relocation::words;
use crate::site::function_code;
use crate::symbolic::{Event, Explorer, Next, State};

/// Functions of a table.
const LEN: usize = 12;
/// `accept`, which no table has.
const ABSENT: usize = 1;
/// `bind`, `listen`, `getpeername`, `getsockname`: the same in both.
const COMMON: [usize; 4] = [2, 3, 10, 11];
const CLOSE: usize = 5;
const RECEIVE: usize = 6;
const SEND: usize = 7;
const READ: usize = 8;
const WRITE: usize = 9;
/// Positions, and where the layer below has the function that is called: its offset in `PRIOMethods`.
const BELOW: [(usize, i32); 6] = [(RECEIVE, 136), (SEND, 144), (READ, 16), (WRITE, 24), (10, 200), (11, 192)];
/// Offset of the layer below in `PRFileDesc`, and of its functions there.
const LOWER: i32 = 16;
const METHODS: i32 = 0;

/// Most bytes of data that are searched; `libssl3` has 20 KiB.
const MOST_DATA: u64 = 16 << 20;
/// Most tables that are looked at; every version has two or three of the form.
const MOST_TABLES: usize = 64;

type Table = [u64; LEN];

/// The object is the `sslSocket`; `(socket, buffer, length, flags)`, the last of two of them.
const fn call(result: ResultKind) -> Call {
    Call { object: Arg(1), buffer: Arg(2), length: Arg(3), result }
}

const HOOKS: [(&str, usize, Purpose); 5] = [
    ("ssl_SecureRecv", RECEIVE, Purpose::Read(call(ResultKind::Unpeeked(Arg(4))))),
    ("ssl_SecureRead", READ, Purpose::Read(call(ResultKind::Count))),
    ("ssl_SecureSend", SEND, Purpose::Write(call(ResultKind::Count))),
    ("ssl_SecureWrite", WRITE, Purpose::Write(call(ResultKind::Count))),
    ("ssl_SecureClose", CLOSE, Purpose::Free),
];

/// The hooks there.
pub(super) fn find(parts: &mut Parts<'_, '_>) -> Result<Vec<crate::Hook>, Why> {
    let tables = tables(parts.binary)?;
    let defaults: Vec<_> = tables.iter().filter(|table| passes_on(parts, table)).collect();
    let [default] = defaults.as_slice() else { return Err("no one table of functions without TLS") };
    let secure: Vec<_> = tables.iter().filter(|table| is_twin(table, default)).collect();
    let [secure] = secure.as_slice() else { return Err("no one table of functions with TLS") };
    let mut hooks = Vec::new();
    for (name, position, purpose) in HOOKS {
        let size = parts.size(secure[position]).unwrap_or_default();
        let code = function_code(parts.binary, secure[position], size);
        // ssl_SecureRead is ssl_SecureRecv without flags: the bytes are seen there.
        if leads_to(parts.binary, &code, &mut parts.decoder).is_some_and(|to| secure.contains(&to)) {
            continue;
        }
        hooks.push(parts.hook(name, secure[position], purpose, Evidence::SocketTable)?);
    }
    Ok(hooks)
}

/// All that has the form of such a table.
fn tables(binary: &Binary<'_>) -> Result<Vec<Table>, Why> {
    let mut tables = Vec::new();
    let mut left = MOST_DATA / 8;
    for load in binary.headers.loads.iter().filter(|load| load.writable) {
        let Some(start) = load.address.checked_next_multiple_of(8) else { continue };
        let count = (load.file.len.saturating_sub(start - load.address) / 8).min(left);
        left -= count;
        let words = words(binary, start, count).unwrap_or_default();
        let is_table = |table: &&Table| {
            let mut all = table.iter().enumerate();
            all.all(|(at, word)| if at == ABSENT { *word == 0 } else { binary.is_code(*word) })
        };
        tables.extend(words.array_windows().filter(is_table).copied().take(MOST_TABLES));
        if tables.len() >= MOST_TABLES {
            return Err("too many tables of functions");
        }
    }
    Ok(tables)
}

fn is_twin(table: &Table, default: &Table) -> bool {
    (0..LEN).filter(|at| *at != ABSENT).all(|at| (table[at] == default[at]) == COMMON.contains(&at))
}

/// Whether functions of the table call the same ones of the layer below.
fn passes_on(parts: &mut Parts<'_, '_>, table: &Table) -> bool {
    BELOW.iter().all(|(position, offset)| calls_below(parts, table[*position], *offset).unwrap_or(false))
}

/// Whether the function reads that function of the layer below its socket's file: `socket->fd->lower->methods`.
fn calls_below(parts: &mut Parts<'_, '_>, function: u64, offset: i32) -> Option<bool> {
    let size = parts.size(function)?;
    let code = function_code(parts.binary, function, size);
    let mut explorer = Explorer::new(&code, function..function.saturating_add(size), &mut parts.decoder);
    let state = State::new(&mut explorer.pool)?;
    let socket = state.get(code.abi().args[0]);
    let mut found = false;
    explorer.explore(function, state, |pool, _, event| {
        if let Event::Read { from, size: 8 } = event {
            let way = pool.path(socket, from);
            found |= way.is_some_and(|way| matches!(way.loads(), [_, LOWER, METHODS]) && way.add() == offset);
        }
        if found { Next::End } else { Next::Go }
    });
    Some(found)
}
