//! Which files to hook: those that processes run code from, now and later.

mod discovery;
mod endings;
mod foreign;
mod interfaces;
mod likely;
mod procfs;
mod watch;

pub use discovery::Discovery;
pub use endings::Endings;
pub use interfaces::{Interfaces, Selection, names as interface_names};
pub use procfs::exists;
pub use watch::{Change, Watch};
