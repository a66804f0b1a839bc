//! Tests on real files: those of the machine, and small ones that the tests build.
#![allow(clippy::unwrap_used, reason = "all of this is test code; clippy only knows #[test] functions")]

mod given;
mod gnutls;
mod go;
mod hostile;
mod keys;
mod nss;
mod openssl;
mod stripped;
mod workshop;
