//! What a leader decides about its members, from the facts that it knows. Pure.
//!
//! `decide` chooses the next step; `facts`, `vote` and `removal` are its parts.

pub mod decide;
pub mod facts;
pub mod removal;
mod vote;
