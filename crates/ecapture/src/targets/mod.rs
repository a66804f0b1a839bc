//! Which files to hook: those that processes run code from, now and later.

mod container;
mod discovery;
mod endings;
mod foreign;
mod interfaces;
mod likely;
mod origin;
mod procfs;
mod shells;
mod watch;

pub use container::container;
pub use discovery::Discovery;
pub use endings::Endings;
pub use interfaces::{Interfaces, Selection, names as interface_names};
pub use origin::{origin, origin_of};
pub use procfs::{command_line, exists};
pub use shells::{SHELLS, running_shells};
pub use watch::{Change, Watch};
