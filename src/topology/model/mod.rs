//! The parts of a topology: members, groups, partitions and the quorum. Pure.
//!
//! Plain data with its own rules; nothing here knows of the log or of placement.

pub mod group;
pub mod member;
pub mod partitions;
pub mod quorum;
pub mod rules;
