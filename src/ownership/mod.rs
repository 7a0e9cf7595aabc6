//! What a member may answer, and what it may acknowledge: the rules of ownership, as decisions without effects.
//!
//! Pure: the view, the lease and the time are arguments. `node/read` asks here and then answers, loads or waits;
//! `node/lease` keeps the lease that is asked about. The simulator in `tests/sim/ownership` asks here too and
//! has no rule of its own, so that a mistake in one of these is found there. `docs/ownership.md` has the argument.
//!
//! - `duty`: what a member may do for a partition, by its lease.
//! - `answer`: in which role it answers a read, and how.
//! - `settle`: when a delete is done.
//! - `streams`: which entries members send each other, and which of them they keep.

pub mod answer;
pub mod duty;
pub mod settle;
pub mod streams;

pub use self::duty::{Duty, LeaseState};
