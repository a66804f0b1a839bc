//! Tests on real files: those of the machine, and small ones that the tests build.

mod hostile;
mod openssl;
mod workshop;
