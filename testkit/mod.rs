//! Test equipment: how tests and benches start processes, and what is asked of them.
//!
//! `tests/it`, `bench/cluster` and `bench/rivals` each compile it as a module of their own (`#[path]`). As a crate
//! it would need the library, and the unit tests of the library would wait until both are compiled.

pub(crate) mod address;
pub(crate) mod asked;
pub(crate) mod disk;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod processes;
pub(crate) mod wait;
