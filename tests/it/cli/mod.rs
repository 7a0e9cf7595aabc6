//! The executable: its commands, its mistakes on the command line, its exit codes.

mod bad_address;
mod bad_input;
mod client_commands;
mod dev;
mod loadgen;
mod shutdown;
