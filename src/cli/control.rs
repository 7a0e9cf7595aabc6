//! What a node says of itself to others, from its configuration or from the member list.

use std::net::SocketAddr;

use tokio::sync::watch;

use super::Failure;
use super::commands::bind;
use super::setup::{fixed, identify, name};
use crate::config::{Config, Seed, StaticMember};
use crate::ids::Incarnation;
use crate::net::BACKLOG;
use crate::node::Place;
use crate::node::control::Parts;
use crate::raft::driver::Settings;
use crate::topology::command::{Agreed, COMMAND_VERSION, Joiner};
use crate::topology::member::{MAX_WEIGHT, Zone};
use crate::topology::rules::is_name;

/// Who a node is.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) name: String,
    host: String,
    grpc_port: u16,
    pub(super) zone: String,
    weight: u32,
}

impl Node {
    /// As the member list has it.
    fn listed(member: &StaticMember) -> Self {
        Self {
            name: member.name.clone(),
            host: member.host.to_string(),
            grpc_port: member.grpc_port,
            zone: member.zone.clone(),
            weight: member.weight,
        }
    }

    /// As its own settings have it. Its weight is its memory.
    fn named(config: &Config, grpc_port: u16) -> Result<Self, Failure> {
        let name = name(config);
        if !is_name(&name) {
            return Err(Failure::Usage(format!(
                "{name:?} cannot name a node: give --id NAME, 1 to 63 of a-z 0-9 . - with a letter or digit at both ends"
            )));
        }
        if config.process.address().is_unspecified() {
            return Err(Failure::Usage(format!(
                "--host {} is no address that others can connect to",
                config.process.address()
            )));
        }
        let mebibytes = u32::try_from(config.node.memory.0 >> 20).unwrap_or(u32::MAX);
        Ok(Self {
            name,
            host: config.process.address().to_string(),
            grpc_port,
            zone: config.process.zone().to_owned(),
            weight: mebibytes.clamp(1, MAX_WEIGHT),
        })
    }
}

/// A node of the member list: it goes by that, and takes part in the control plane if it has a data
/// directory.
pub(super) fn listed(config: &Config, is_founder: bool) -> Result<(Node, Place), Failure> {
    let (view, members) = fixed(config)?;
    let listed = identify(config, &members)?;
    let node = Node::listed(listed);
    let seed = |member: &StaticMember| Seed {
        host: member.host.to_string(),
        port: member.grpc_port,
    };
    let seeds = members.iter().map(seed).collect();
    let place = Place::Fixed {
        me: listed.id,
        view: watch::channel(view).1,
        control: parts(config, node.clone(), seeds, is_founder)?,
    };
    Ok((node, place))
}

/// A node that goes by what it agrees on with others.
pub(super) fn agreed(
    config: &Config,
    grpc_port: u16,
    is_founder: bool,
) -> Result<(Node, Place), Failure> {
    let node = Node::named(config, grpc_port)?;
    let parts = parts(
        config,
        node.clone(),
        config.cluster.seeds.clone(),
        is_founder,
    )?;
    Ok((node, Place::Agreed(parts.expect("required before"))))
}

/// The node's part in the control plane, if `cluster.data_dir` is set.
fn parts(
    config: &Config,
    node: Node,
    seeds: Vec<Seed>,
    is_founder: bool,
) -> Result<Option<Parts>, Failure> {
    let Some(root) = config.cluster.data_dir.clone() else {
        return Ok(None);
    };
    let listener = bind(config, config.node.raft_port, "Raft (--raft-port)", BACKLOG)?;
    let raft: SocketAddr = listener.local_addr().map_err(anyhow::Error::from)?;
    Ok(Some(Parts {
        own: Joiner {
            name: node.name.into(),
            host: node.host.into(),
            raft_port: raft.port(),
            grpc_port: node.grpc_port,
            admin_port: config.process.admin_port,
            zone: Zone::new(node.zone),
            weight: node.weight,
            incarnation: Incarnation(0),
            version: COMMAND_VERSION,
            settings: Agreed::ours(),
            nonce: 0,
            leaves_on_term: config.node.leave_on_term,
        },
        root,
        seeds,
        is_founder,
        from: config.process.address(),
        settings: Settings {
            snapshot_every: config.raft.snapshot_entries,
            keep: config.raft.kept_entries,
            ..Settings::default()
        },
        voters: config.raft.voters,
        listener,
        hands_over: true,
    }))
}
