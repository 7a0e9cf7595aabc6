//! Integration tests: real `gcache` processes on loopback, driven over real HTTP and gRPC.
//!
//! Each test claims a block of loopback addresses of its own and starts what it needs there, with the
//! standard ports, as ECS tasks have them. Nothing is shared between tests, so they run in parallel.
//! Nothing sleeps to let time pass: [`harness::wait`] waits for a condition, with a deadline.
//!
//! A test that fails shows the log of every process it started.

mod harness;

mod bad_address;
mod bad_input;
mod bodies;
mod client_commands;
mod control_crashes;
mod control_damage;
mod control_disks;
mod control_founding;
mod control_snapshots;
mod control_strangers;
mod copies;
mod deadlines;
mod dev;
mod directories;
mod discovery;
mod failing_origin;
mod frozen_node;
mod greedy_clients;
mod group_checks;
mod grpc;
mod histories;
mod identity;
mod keys;
mod killed_node;
mod leases;
mod leaving;
mod loadgen;
mod lost_nodes;
mod many_keys;
mod moves;
mod operators;
mod overload;
mod partitions;
mod postgres_bad_groups;
mod postgres_changes;
mod postgres_failures;
mod postgres_interruptions;
mod postgres_login;
mod postgres_silence;
mod postgres_values;
mod protocol;
mod refused;
mod restarts;
mod ring_explain;
mod ring_pause;
mod ring_plan;
mod seeds;
mod shutdown;
mod slow_clients;
mod stalled_disk;
mod stampede;
mod stopping_node;
mod upgrade;
mod values;
