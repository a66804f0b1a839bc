//! Databases: statements and their outcome, as lines.
pub(crate) mod mysql;
mod packet;
pub(crate) mod postgres;
mod secret;
