//! The rules that a driver keeps, one by one, with a few drivers and a network that loses nothing
//! unless they say so. What faults do to them is for tests/sim.

mod cluster;
mod order;
mod orphan;
mod quorum;
mod recovery;
mod requests;
