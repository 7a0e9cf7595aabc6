//! Bounds on what may wait before it is refused: for calls and for loads, in total and for each group. Pure.
//!
//! `shares` has places for calls, at both ends of a pipeline and for a frontend's look-ups. In `queues`,
//! misses and refreshes wait for a call to the origin.

pub mod queues;
pub mod shares;
