//! Command line: arguments and the configuration that they make.

mod args;
mod body;
mod config;
mod manual;
mod memory;
mod packets;

pub use args::{Cli, Command, Extcap};
pub use body::{Original, Settings};
pub use config::{Config, Destination, Format, Target, colours, network, queue};
pub use manual::write as write_manual;
pub use packets::PacketConfig;
