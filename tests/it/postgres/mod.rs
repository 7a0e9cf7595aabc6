//! What PostgreSQL holds and does, and what a client sees of it.

mod bad_groups;
mod changes;
mod failures;
mod group_checks;
mod interruptions;
mod login;
mod overload;
mod silence;
mod values;
