//! What a node reports of itself to others, from its configuration.

use std::net::SocketAddr;

use super::failure::Failure;
use super::setup::{bind, name};
use crate::config::Config;
use crate::ids::Incarnation;
use crate::net::BACKLOG;
use crate::node::control::Parts;
use crate::raft::driver::Settings;
use crate::topology::commands::{Agreed, COMMAND_VERSION, Joiner};
use crate::topology::model::member::{MAX_WEIGHT, Zone};
use crate::topology::model::rules::is_name;

/// Fails if a node cannot go by its name or its address.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    let (name, address) = (name(config), config.process.address());
    if !is_name(&name) {
        return Err(Failure::Usage(format!(
            "{name:?} cannot name a node: give --id NAME, 1 to 63 of a-z 0-9 . - with a letter or digit at both ends"
        )));
    }
    if address.is_unspecified() {
        return Err(Failure::Usage(format!(
            "--host {address} is no address that others can connect to"
        )));
    }
    Ok(())
}

/// The part in the control plane of a node whose gRPC listens on `grpc_port`. Its weight is its memory.
///
/// # Errors
/// The Raft port is taken.
///
/// # Panics
/// `cluster.data_dir` is not set, which `require` refuses.
pub(super) fn parts(config: &Config, grpc_port: u16, is_founder: bool) -> Result<Parts, Failure> {
    let address = config.process.address();
    let root = config.cluster.data_dir.clone();
    let listener = bind(config, config.node.raft_port, "Raft (--raft-port)", BACKLOG)?;
    let raft: SocketAddr = listener.local_addr().map_err(anyhow::Error::from)?;
    let mebibytes = u32::try_from(config.node.memory.0 >> 20).unwrap_or(u32::MAX);
    Ok(Parts {
        own: Joiner {
            name: name(config).into(),
            host: address.to_string().into(),
            raft_port: raft.port(),
            grpc_port,
            admin_port: config.process.admin_port,
            zone: Zone::new(config.process.zone()),
            weight: mebibytes.clamp(1, MAX_WEIGHT),
            incarnation: Incarnation(0),
            version: command_version(),
            settings: Agreed::ours(),
            nonce: 0,
            leaves_on_term: config.node.leave_on_term,
        },
        root: root.expect("required before"),
        seeds: config.cluster.seeds.clone(),
        is_founder,
        from: address,
        settings: Settings {
            snapshot_every: config.raft.snapshot_entries,
            keep: config.raft.kept_entries,
            ..Settings::default()
        },
        voters: config.raft.voters,
        is_warm: config.transfer.enabled,
        listener,
        hands_over: true,
    })
}

/// The highest version of a command that this node says it knows.
#[cfg(not(feature = "simulation"))]
fn command_version() -> u32 {
    COMMAND_VERSION
}

/// The same; a test may let it say less, as an older executable would.
#[cfg(feature = "simulation")]
fn command_version() -> u32 {
    let said = std::env::var("GCACHE_SIMULATED_VERSION").ok();
    said.and_then(|said| said.parse().ok())
        .unwrap_or(COMMAND_VERSION)
}
