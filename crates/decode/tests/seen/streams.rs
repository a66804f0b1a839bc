//! The same text by the encoders of real programs.
use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// `fox` by `brotli -q 11` 1.0.9.
pub const FOX_BROTLI: &str = "a19805406471c09b86aeecba84d8bd584955869664666c0de23297b741cef0f454d81b6cc08143027923d90d3aad70e6f038514dc1114eb04f8301";
/// `fox` by `zstd -19` 1.5.4, which adds a check sum.
pub const FOX_ZSTD: &str = "28b52ffd24b4b50100d40254686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a7920646f672e20010025404a9501a470900d";
/// `fox` by `gzip -9 -N`: the header has a file name.
pub const FOX_GZIP: &str = "1f8b08081e96016b020374000bc94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b2d5228014ae72456552aa4e4a7eb29840c0ec5001b8dff44b4000000";
/// `fox` by `gzip -9 -n` and then `brotli -q 11`.
pub const FOX_GZIP_BROTLI: &str = "0f21801f8b08000000000002030bc94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b2d5228014ae72456552aa4e4a7eb29840c0ec5001b8dff44b400000003";
/// `fox` by `brotli -q 11` and then `zstd -19`.
pub const FOX_BROTLI_ZSTD: &str = "28b52ffd0468d90100a19805406471c09b86aeecba84d8bd584955869664666c0de23297b741cef0f454d81b6cc08143027923d90d3aad70e6f038514dc1114eb04f83011e7a8cff";
/// A million zeros by `brotli -q 11`.
pub const ZEROS_BROTLI: &str = "5f3f428f7f02201e0b04f2731e00";
/// A million zeros by `zstd -19`: eight blocks.
pub const ZEROS_ZSTD: &str = "28b52ffda440420f004c000008000100fcff39100202001000020010000200100002001000020010000200100003120a00ccaeca39";

pub fn fox() -> Vec<u8> {
    b"The quick brown fox jumps over the lazy dog. ".repeat(4)
}

pub fn hex(digits: &str) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A response with `body` and this Content-Encoding.
pub fn response(coding: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
