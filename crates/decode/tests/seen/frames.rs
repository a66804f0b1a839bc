//! Frames of HTTP/2, made by hand.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
pub const END_STREAM: u8 = 1;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

pub fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0, flags, stream, payload.as_ref())
}

/// Literals that leave the dynamic table alone.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let string = |s: &str| [&[s.len() as u8], s.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, flags | 4, stream, &block(fields))
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":method", "GET"), (":path", path)])
}
