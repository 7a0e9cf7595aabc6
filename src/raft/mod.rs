//! Raft: agreement on the topology, and on nothing else.

pub mod disk;
pub mod envelope;
pub mod log;
