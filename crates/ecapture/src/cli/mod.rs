//! Command line: arguments and the configuration that they make.

mod args;
mod config;

pub use args::Cli;
pub use config::{Config, Format, colours};
