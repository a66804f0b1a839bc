//! Command line: arguments and the configuration that they make.

mod args;
mod config;
mod manual;

pub use args::{Cli, Command};
pub use config::{Config, Format, KeyLogTarget, colours};
pub use manual::write as write_manual;
