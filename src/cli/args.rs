//! What may be typed. Flags that stand for a setting are overrides of the configuration, no more.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::config::Flag;
use crate::dev::MAX_NODES;

/// A distributed read-through cache in front of PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "gcache", version, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node: it owns partitions, caches their values and loads what it lacks
    Node(Node),
    /// Run a frontend: HTTP in front of the nodes
    Frontend(Frontend),
    /// Run a whole cluster in one process, with sample rows unless told otherwise
    Dev(Dev),
    /// Print the value of a key
    Get(Get),
    /// Delete a key's cached value: it is never served again
    Del(Del),
    /// Exit 0 if the process on this machine is alive, 1 if not
    Healthcheck(Healthcheck),
}

/// Flags of every long-running command.
#[derive(Debug, ClapArgs)]
pub(super) struct Common {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set one setting, for example --set node.memory=1GiB; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Print the effective settings, with where each comes from, and exit
    #[arg(long)]
    pub(super) print_config: bool,
    /// The address to listen on and to connect from
    #[arg(long, value_name = "IP")]
    host: Option<String>,
    /// The availability zone this process runs in
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// The port of metrics and health
    #[arg(long, value_name = "PORT")]
    admin_port: Option<String>,
    /// Which log lines are written, for example info or warn,gcache=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Flags that name the static cluster.
#[derive(Debug, ClapArgs)]
pub(super) struct Cluster {
    /// The file that lists the cluster's nodes
    #[arg(long, value_name = "FILE")]
    members: Option<String>,
    /// The file that describes the cache groups
    #[arg(long, value_name = "FILE")]
    groups: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Node {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    cluster: Cluster,
    /// This node's name in the member list, or from-hostname
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// The port of gRPC
    #[arg(long, value_name = "PORT")]
    grpc_port: Option<String>,
    /// The cache's budget, for example 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Where values are loaded from, for example memory:config/dev.csv
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Frontend {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    cluster: Cluster,
    /// The port of HTTP
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Dev {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NODES)))]
    pub(super) nodes: u16,
    /// The file that describes the cache groups, in place of the sample
    #[arg(long, value_name = "FILE")]
    groups: Option<String>,
    /// Where values are loaded from, in place of the sample rows
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// The port of HTTP
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
}

/// Where a command finds a frontend.
#[derive(Debug, ClapArgs)]
pub(super) struct Url {
    /// A frontend's base URL
    #[arg(long, default_value = "http://127.0.0.1:9999")]
    pub(super) url: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Get {
    /// The cache group
    pub(super) group: String,
    /// The key
    pub(super) key: std::ffi::OsString,
    #[command(flatten)]
    pub(super) url: Url,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Del {
    /// The cache group
    pub(super) group: String,
    /// The key
    pub(super) key: std::ffi::OsString,
    /// Let the value be served within the group's stale windows while it is refreshed
    #[arg(long)]
    pub(super) expire: bool,
    #[command(flatten)]
    pub(super) url: Url,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Healthcheck {
    /// The admin port's base URL
    #[arg(long, default_value = "http://127.0.0.1:2112")]
    pub(super) url: String,
    /// Ask whether it is ready to serve, not only whether it is alive
    #[arg(long)]
    pub(super) ready: bool,
}

/// A flag that was given.
fn flag(name: &'static str, setting: &'static str, value: &Option<String>) -> Option<Flag> {
    let value = value.clone()?;
    Some(Flag {
        name,
        setting,
        value,
    })
}

impl Common {
    fn flags(&self) -> impl Iterator<Item = Flag> {
        [
            flag("--host", "process.host", &self.host),
            flag("--zone", "process.zone", &self.zone),
            flag("--admin-port", "process.admin_port", &self.admin_port),
            flag("--log", "process.log", &self.log),
        ]
        .into_iter()
        .flatten()
    }
}

impl Cluster {
    fn flags(&self) -> impl Iterator<Item = Flag> {
        let members = flag("--members", "cluster.members", &self.members);
        members
            .into_iter()
            .chain(flag("--groups", "cluster.groups", &self.groups))
    }
}

impl Node {
    /// The settings that flags stand for.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let own = [
            flag("--id", "process.id", &self.id),
            flag("--grpc-port", "node.grpc_port", &self.grpc_port),
            flag("--memory", "node.memory", &self.memory),
            flag("--origin", "origin.url", &self.origin),
        ];
        self.common
            .flags()
            .chain(self.cluster.flags())
            .chain(own.into_iter().flatten())
            .collect()
    }
}

impl Frontend {
    /// The settings that flags stand for.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let own = flag("--port", "frontend.port", &self.port);
        self.common
            .flags()
            .chain(self.cluster.flags())
            .chain(own)
            .collect()
    }
}

impl Dev {
    /// The settings that flags stand for.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let own = [
            flag("--groups", "cluster.groups", &self.groups),
            flag("--origin", "origin.url", &self.origin),
            flag("--port", "frontend.port", &self.port),
        ];
        self.common
            .flags()
            .chain(own.into_iter().flatten())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
