//! What may wait, and what is refused: bounds for calls and for loads, in all and for each group. Pure.
//!
//! `shares` are places for calls, at both ends of a pipeline and for a frontend's look-ups; `queues` is where misses
//! and refreshes wait for a call to the origin.

pub mod queues;
pub mod shares;
