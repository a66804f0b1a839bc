//! Symbolic execution: what code computes, as expressions over the registers and the memory that it starts with.
//!
//! Paths are followed forward within bounds. Memory is told apart by base expression and offset: what is stored
//! through one base is taken not to change what another one reaches.

mod explore;
mod expression;
mod flat;
mod state;

pub(crate) use explore::{Event, Explorer, Next};
pub(crate) use expression::{Id, Node, Pool};
pub(crate) use state::State;
