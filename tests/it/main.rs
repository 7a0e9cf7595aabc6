//! Integration tests: real `gcache` processes on loopback, driven over real HTTP and gRPC.
//!
//! | room | what is tested there |
//! |---|---|
//! | [`http`] | what a client sees: values, keys, bodies, deadlines, slow and greedy clients, gRPC |
//! | [`postgres`] | PostgreSQL as the origin: values, log-in, failures, changes, checks of groups |
//! | [`control`] | the control plane: founding, seeds, moves, the log's disks, operators, upgrades |
//! | [`faults`] | nodes, links and disks that fail under load, and histories with every fault |
//! | [`cli`] | the executable: commands, mistakes, exit codes, `dev`, `loadgen`, SIGTERM |
//! | [`harness`] | what they are driven with, on top of [`testkit`], which benches use too |
//!
//! Each test claims a block of loopback addresses of its own and starts what it needs there, with the
//! standard ports, as ECS tasks have them. Nothing is shared between tests, so they run in parallel.
//! Nothing sleeps to let time pass: [`testkit::wait`] waits for a condition, with a deadline.
//!
//! A test that fails shows the log of every process it started.

mod harness;
#[expect(dead_code, reason = "benches have more to do with it")]
#[path = "../../testkit/mod.rs"]
mod testkit;

// For clippy, which is told so that claims are tests too: a test calls them.
#[cfg(test)]
mod cli;
mod control;
mod faults;
#[cfg(test)]
mod http;
mod postgres;
