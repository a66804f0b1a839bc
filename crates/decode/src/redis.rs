//! Redis: RESP2 and RESP3, as lines like those of redis-cli. Passwords are left out.
use std::collections::VecDeque;

use crate::connection::Limits;
use crate::held::Held;
use crate::notes::{Note, Notes};
use crate::part::{Direction, Exchange, Part, Protocol, Whole};
use crate::session::{Flow, Next, Out, Session, lane, raw};
use crate::sniff::Verdict;

/// Nesting of replies that is followed. Real ones have two or three levels.
const DEPTH_MOST: usize = 32;
/// Longest line that is not a bulk string's content.
const LINE_MOST: usize = 4096;
/// Commands that wait for their replies.
const WAITING_MOST: usize = 1024;
const HIDDEN: &[u8] = b"(hidden)";

/// What follows the second word, up to the end of the command, is secret. An empty word: all does.
const SECRETS: [(&str, &str); 9] = [
    ("AUTH", ""),
    ("HELLO", "AUTH"),
    ("MIGRATE", "AUTH"),
    ("MIGRATE", "AUTH2"),
    ("ACL", "SETUSER"),
    ("CONFIG", "requirepass"),
    ("CONFIG", "masterauth"),
    ("CONFIG", "tls-key-file-pass"),
    ("CONFIG", "tls-client-key-file-pass"),
];
/// Commands by which a client is recognised. Replies are arrays as well, but hardly of these words; a connection
/// that begins with another command is recognised by a later one.
#[rustfmt::skip]
const COMMON: [&str; 97] = [
    "ACL", "APPEND", "ASKING", "AUTH", "BGSAVE", "BITCOUNT", "BLMOVE", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZPOPMIN", "CLIENT", "CLUSTER",
    "COMMAND", "CONFIG", "COPY", "DBSIZE", "DECR", "DECRBY", "DEL", "DISCARD", "DUMP", "ECHO", "EVAL", "EVALSHA", "EXEC", "EXISTS",
    "EXPIRE", "EXPIREAT", "FCALL", "FLUSHALL", "FLUSHDB", "GEOADD", "GETDEL", "GETEX", "GETRANGE", "GETSET", "HDEL", "HELLO", "HEXISTS",
    "HGET", "HGETALL", "HINCRBY", "HKEYS", "HLEN", "HMGET", "HMSET", "HSCAN", "HSET", "HSETNX", "HVALS", "INCR", "INCRBY", "INCRBYFLOAT",
    "INFO", "KEYS", "LINDEX", "LLEN", "LPOP", "LPUSH", "LRANGE", "LREM", "LTRIM", "MGET", "MSET", "MULTI", "PEXPIRE", "PFADD", "PING",
    "PSUBSCRIBE", "PTTL", "PUBLISH", "RPOP", "RPUSH", "SADD", "SCAN", "SCARD", "SELECT", "SET", "GET", "SETEX", "SETNX", "SISMEMBER",
    "SMEMBERS", "SREM", "STRLEN", "SUBSCRIBE", "TTL", "UNLINK", "WATCH", "XADD", "XREAD", "XREADGROUP", "ZADD", "ZRANGE", "ZREM", "ZSCORE",
];
/// After these, what the server sends answers no command.
const SUBSCRIBING: [&str; 4] = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"];

/// Whether a client's first bytes are a command: an array whose first bulk string is the name of one.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict<()> {
    let mut rest = bytes;
    let mut number = |sign: u8| -> Verdict<usize> {
        match rest.split_first() {
            None => return Verdict::Open,
            Some((&first, after)) if first == sign => rest = after,
            Some(_) => return Verdict::No,
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        match (digits, &rest[digits..]) {
            (0..=7, [] | [b'\r']) => Verdict::Open,
            (1..=7, [b'\r', b'\n', after @ ..]) => {
                let number = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
                rest = after;
                Verdict::Sure(number)
            }
            _ => Verdict::No,
        }
    };
    let length = match number(b'*') {
        Verdict::Sure(1..) => number(b'$'),
        Verdict::Open => return Verdict::Open,
        Verdict::Sure(0) | Verdict::No => return Verdict::No,
    };
    let Verdict::Sure(length @ 1..=16) = length else {
        return if length == Verdict::Open { Verdict::Open } else { Verdict::No };
    };
    let Some(word) = rest.get(..length) else { return Verdict::Open };
    let is_common = COMMON.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    if is_common { Verdict::Sure(()) } else { Verdict::No }
}

/// Both directions.
pub(crate) struct Redis {
    client: Direction,
    readers: [Reader; 2],
    /// Commands without a reply so far, and whether theirs is secret.
    waiting: VecDeque<(u64, bool)>,
    count: u64,
    subscribed: bool,
    is_lost: bool,
}

/// Reads one direction.
struct Reader {
    limit: usize,
    place: Place,
    /// Values that are still to come at each level, and the sign that ends it.
    levels: Vec<(u64, &'static str)>,
    text: Vec<u8>,
    wire: u64,
    notes: Notes,
    /// Of a command: strings so far, the first of them, whether the rest is secret.
    words: usize,
    command: Vec<u8>,
    is_secret: bool,
    /// The value was sent unasked.
    is_push: bool,
}

enum Place {
    Line(Vec<u8>),
    /// In a bulk string and the line end behind it: bytes to come, bytes so far.
    Bulk(u64, Vec<u8>),
}

/// What came to its end.
enum Done {
    /// All of the value.
    Value,
    /// A bulk string, with its line end.
    String(Vec<u8>),
}

/// How far a reader has come.
enum Step<'b> {
    More,
    /// A value is complete; these bytes follow it.
    Value(&'b [u8]),
    /// These bytes make no sense.
    Bad(&'b [u8]),
}

impl Redis {
    pub fn new(client: Direction, limits: Limits) -> Self {
        Self {
            client,
            readers: [Reader::new(limits.head), Reader::new(limits.head)],
            waiting: VecDeque::new(),
            count: 0,
            subscribed: false,
            is_lost: false,
        }
    }

    /// A value is complete: a command or a reply.
    fn value(&mut self, dir: Direction, out: &mut Out<'_>) {
        let reader = &mut self.readers[dir as usize];
        let (name, exchange, hidden) = if dir == self.client {
            self.count += 1;
            self.subscribed |=
                SUBSCRIBING.iter().any(|word| reader.command.eq_ignore_ascii_case(word.as_bytes()));
            let secret = reader.is_secret && reader.command.eq_ignore_ascii_case(b"CONFIG");
            if self.waiting.len() == WAITING_MOST {
                self.waiting.clear();
                self.subscribed = true;
            }
            self.waiting.push_back((self.count, secret));
            ("Redis command", Some(Exchange::Asks(self.count)), false)
        } else if reader.is_push || self.subscribed {
            ("Redis push", None, false)
        } else {
            let asked = self.waiting.pop_front();
            (
                "Redis reply",
                asked.map(|(number, _)| Exchange::Answers(number)),
                asked.is_some_and(|(_, hide)| hide),
            )
        };
        let text = if hidden { HIDDEN } else { reader.text.as_slice() };
        let whole = Whole { name, text, wire: reader.wire, exchange, notes: reader.notes };
        out(lane(dir), Part::Whole(whole));
        *reader = Reader::new(reader.limit);
    }
}

impl Session for Redis {
    fn protocol(&self) -> Protocol {
        Protocol::Redis
    }

    fn push<'b>(&mut self, dir: Direction, bytes: &'b [u8], _: &mut Held, out: &mut Out<'_>) -> Flow<'b> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_lost {
                return Flow::Switch(rest, Next::Unknown);
            }
            match self.readers[dir as usize].read(rest, dir == self.client) {
                Step::More => break,
                Step::Value(after) => {
                    self.value(dir, out);
                    rest = after;
                }
                Step::Bad(rest) => {
                    self.close(dir, out);
                    raw(dir, rest, out);
                    return Flow::Switch(&[], Next::Unknown);
                }
            }
        }
        Flow::Done
    }

    fn gap(&mut self, dir: Direction, lost: u64, out: &mut Out<'_>) {
        self.close(dir, out);
        out(lane(dir), Part::Gap(lost));
        self.is_lost = true;
    }

    fn close(&mut self, dir: Direction, out: &mut Out<'_>) {
        let reader = &mut self.readers[dir as usize];
        if reader.wire > 0 {
            reader.notes.add(Note::Truncated);
            let name = if dir == self.client { "Redis command" } else { "Redis reply" };
            let Reader { text, wire, notes, .. } = &*reader;
            out(lane(dir), Part::Whole(Whole { name, text, wire: *wire, exchange: None, notes: *notes }));
            *reader = Reader::new(reader.limit);
        }
    }

    fn memory(&self) -> usize {
        let readers: usize = self.readers.iter().map(Reader::memory).sum();
        readers + self.waiting.capacity() * size_of::<(u64, bool)>()
    }
}

impl Reader {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            place: Place::Line(Vec::new()),
            levels: Vec::new(),
            text: Vec::new(),
            wire: 0,
            notes: Notes::default(),
            words: 0,
            command: Vec::new(),
            is_secret: false,
            is_push: false,
        }
    }

    fn memory(&self) -> usize {
        let (Place::Line(kept) | Place::Bulk(_, kept)) = &self.place;
        kept.capacity() + self.text.capacity() + self.command.capacity() + size_of_val(self.levels.as_slice())
    }

    fn read<'b>(&mut self, bytes: &'b [u8], is_command: bool) -> Step<'b> {
        let mut rest = bytes;
        loop {
            let (used, done) = match &mut self.place {
                Place::Line(line) => match memchr::memchr(b'\n', rest) {
                    Some(end) if line.len() + end <= LINE_MOST => {
                        line.extend_from_slice(&rest[..=end]);
                        let line = std::mem::take(line);
                        let Some(is_done) = self.line(&line, is_command) else { return Step::Bad(rest) };
                        (end + 1, is_done.then_some(Done::Value))
                    }
                    None if line.len() + rest.len() <= LINE_MOST => {
                        line.extend_from_slice(rest);
                        (rest.len(), None)
                    }
                    _ => return Step::Bad(rest),
                },
                Place::Bulk(left, kept) => {
                    let used = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    // Two bytes more than are shown: the line end.
                    let room = (self.limit + 2).saturating_sub(kept.len());
                    kept.extend_from_slice(&rest[..used.min(room)]);
                    if used > room {
                        self.notes.add(Note::Cut);
                    }
                    *left -= used as u64;
                    let string = (*left == 0).then(|| std::mem::take(kept));
                    (used, string.map(Done::String))
                }
            };
            self.wire += used as u64;
            rest = &rest[used..];
            let whole = match done {
                None => false,
                Some(Done::Value) => true,
                Some(Done::String(mut string)) => {
                    self.place = Place::Line(Vec::new());
                    string.truncate(string.len().saturating_sub(2));
                    self.string(&string, is_command);
                    self.leave()
                }
            };
            if whole {
                return Step::Value(rest);
            }
            if rest.is_empty() {
                return Step::More;
            }
        }
    }

    /// A complete line. Whether it completes the value; `None` if it makes no sense.
    fn line(&mut self, line: &[u8], is_command: bool) -> Option<bool> {
        let line = line.strip_suffix(b"\r\n")?;
        let (&sign, rest) = line.split_first()?;
        if is_command && !matches!((sign, self.levels.len()), (b'*', 0) | (b'$', 1)) {
            return None;
        }
        let number = || std::str::from_utf8(rest).ok()?.parse::<i64>().ok();
        match sign {
            b'$' | b'=' | b'!' => match number()? {
                -1 => self.show(b"(nil)"),
                length => {
                    let length = u64::try_from(length).ok()?;
                    self.place = Place::Bulk(length.checked_add(2)?, Vec::new());
                    return Some(false);
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let count = match number()? {
                    -1 => {
                        self.show(b"(nil)");
                        return Some(self.leave());
                    }
                    count => u64::try_from(count).ok()?,
                };
                self.is_push |= sign == b'>';
                let count = if matches!(sign, b'%' | b'|') { count.checked_mul(2)? } else { count };
                // Attributes come before the value that they belong to.
                let count = count + u64::from(sign == b'|');
                let (open, close) = if is_command { ("", "") } else { ("[", "]") };
                self.show(open.as_bytes());
                if self.levels.len() == DEPTH_MOST {
                    return None;
                }
                self.levels.push((count, close));
                return Some(count == 0 && self.leave_empty());
            }
            b'+' => self.show(rest),
            b'-' => {
                self.show(b"(error) ");
                self.append(rest);
            }
            b':' => {
                number()?;
                self.show(rest);
            }
            b'_' if rest.is_empty() => self.show(b"(nil)"),
            b'#' if matches!(rest, b"t" | b"f") => self.show(if rest == b"t" { b"true" } else { b"false" }),
            b',' | b'(' => self.show(rest),
            _ => return None,
        }
        Some(self.leave())
    }

    /// A bulk string is complete.
    fn string(&mut self, string: &[u8], is_command: bool) {
        if !is_command {
            let quoted = format!("\"{}\"", Lossy(string));
            return self.show(quoted.as_bytes());
        }
        let is = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
        let word = std::str::from_utf8(string).unwrap_or_default();
        if self.words == 0 {
            self.command = string.to_vec();
            self.show(string);
            self.is_secret = SECRETS.iter().any(|(command, from)| is(command, word) && from.is_empty());
        } else if self.is_secret {
            self.show(HIDDEN);
        } else {
            let plain =
                !string.is_empty() && string.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
            let quoted = if plain { word.to_owned() } else { format!("\"{}\"", Lossy(string)) };
            self.show(quoted.as_bytes());
            let command = std::str::from_utf8(&self.command).unwrap_or_default();
            self.is_secret = SECRETS.iter().any(|(first, from)| is(first, command) && is(from, word));
        }
        self.words += 1;
    }

    /// Shows a value, with what separates it from the one before.
    fn show(&mut self, value: &[u8]) {
        if !matches!(self.text.last(), None | Some(b'[')) && !self.levels.is_empty() {
            let separator: &[u8] = if self.levels[0].1.is_empty() { b" " } else { b", " };
            self.append(separator);
        }
        self.append(value);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.notes.add(Note::Cut);
        }
    }

    /// A value is over; whether it was the last of all levels.
    fn leave(&mut self) -> bool {
        while let Some((left, close)) = self.levels.last_mut() {
            *left = left.saturating_sub(1);
            if *left > 0 {
                return false;
            }
            let close = *close;
            self.levels.pop();
            self.append(close.as_bytes());
        }
        true
    }

    /// The level that was just entered has no values.
    fn leave_empty(&mut self) -> bool {
        if let Some((_, close)) = self.levels.pop() {
            self.append(close.as_bytes());
        }
        self.leave()
    }
}

/// Text as it is, the rest escaped.
struct Lossy<'a>(&'a [u8]);

impl std::fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.contains(['"', '\\']) && !text.chars().any(char::is_control) => {
                f.write_str(text)
            }
            _ => self.0.escape_ascii().fmt(f),
        }
    }
}
