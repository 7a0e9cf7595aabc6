//! What may be typed. Flags that stand for a setting are overrides of the configuration, no more.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

use super::members::Remove;
use super::recover::Recover;
use super::snapshot::Snapshot;
use crate::config::{Flag, Host, OriginUrl, parse_duration, read_host};
use crate::dev::MAX_NODES;
use crate::loadgen::plan::{Arrivals, Distribution};

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
    ///
    /// Example: gcache node --id from-task-metadata --host from-task-metadata --seeds nodes.internal
    /// --data-dir /data --origin postgres://db/app
    Node(Node),
    /// Run a frontend: HTTP in front of the nodes
    Frontend(Frontend),
    /// Run a whole cluster in one process, with sample rows unless told otherwise
    ///
    /// Example: gcache dev --origin postgres://localhost/app --groups groups.toml --data-dir data
    Dev(Dev),
    /// Print the value of a key
    Get(Get),
    /// Delete a key's cached value: it is never served again
    Del(Del),
    /// Ask frontends for keys at a pace, and tell how that went
    Loadgen(Box<Loadgen>),
    /// Look at the cluster: who its members are and who leads
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at the ring: who owns what
    #[command(subcommand)]
    Ring(RingCommand),
    /// Look at the cache groups of a cluster, and change them
    #[command(subcommand)]
    Group(GroupCommand),
    /// Exit 0 if the process on this machine is alive, 1 if not
    ///
    /// Example: gcache healthcheck --ready --host from-task-metadata
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
    /// The address to listen on and to connect from, or from-task-metadata: this container's in the
    /// network of its ECS task
    #[arg(long, value_name = "IP")]
    host: Option<String>,
    /// The availability zone this process runs in, or from-task-metadata; where --id or --host is
    /// from-task-metadata, its default is the ECS task's
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// The port of metrics and health
    #[arg(long, value_name = "PORT")]
    admin_port: Option<String>,
    /// Which log lines are written, for example info or warn,gcache=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Flags that name the cluster.
#[derive(Debug, ClapArgs)]
pub(super) struct Cluster {
    /// Where nodes may be found: the addresses of a few of them, or a DNS name that has them
    #[arg(long, value_name = "HOST[:PORT],…")]
    seeds: Option<String>,
    /// The file that lists the cluster's nodes
    #[arg(long, value_name = "FILE")]
    members: Option<String>,
    /// The file that describes the cache groups
    #[arg(long, value_name = "FILE")]
    groups: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Node {
    /// The directory of the nodes' logs, which all nodes may share
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The port of Raft, between nodes
    #[arg(long, value_name = "PORT")]
    raft_port: Option<String>,
    /// Found the cluster if no seed knows one, though the nodes share no data directory, or though this
    /// is the only node that a DNS seed names: on one node only, and once
    #[arg(long)]
    pub(super) bootstrap: bool,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    cluster: Cluster,
    /// This node's name, or from-hostname, or from-task-metadata: the id of its ECS task
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
    /// The directory of the nodes' logs: the cluster in it goes on, and its groups are kept. Without it
    /// everything is forgotten at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The file that describes the cache groups, in place of the sample
    #[arg(long, value_name = "FILE")]
    pub(super) groups: Option<PathBuf>,
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
pub(super) struct Loadgen {
    /// A frontend's base URL; may be repeated: connections are spread over all
    #[arg(
        long = "url",
        value_name = "URL",
        default_value = "http://127.0.0.1:9999"
    )]
    pub(super) urls: Vec<String>,
    /// The cache group
    #[arg(long, value_name = "NAME")]
    pub(super) group: String,
    /// How many keys there are to ask for
    #[arg(long, value_name = "N")]
    pub(super) keys: u64,
    /// How an index from 1 to N becomes a key, for example 'user-{}'
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    pub(super) key_format: String,
    /// Which keys how often: zipf:EXPONENT (ranks scattered over the keys), uniform, or hot:K (the
    /// first K keys alike)
    #[arg(long, value_name = "WHICH", default_value = "zipf:0.99")]
    pub(super) distribution: Distribution,
    /// Open loop, the default: this many requests per second, whatever became of the earlier ones
    /// [default: 1000]
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    pub(super) rate: Option<f64>,
    /// How an open loop spaces its requests: even or poisson [default: even]
    #[arg(long, value_name = "HOW")]
    pub(super) arrivals: Option<Arrivals>,
    /// How many connections an open loop may open [default: 1024]
    #[arg(long, value_name = "N")]
    pub(super) max_connections: Option<usize>,
    /// Closed loop: this many connections, each asking again when its answer is in
    #[arg(long, value_name = "N")]
    pub(super) connections: Option<usize>,
    /// How long to record
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,
    /// How long to send before that, unrecorded
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(super) warmup: Duration,
    /// How long one request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// Another seed gives another sequence of keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Write the report to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Compare every key's last answer with this origin after the run
    #[arg(long, value_name = "URL", requires = "groups", value_parser = origin_url)]
    pub(super) verify_with: Option<OriginUrl>,
    /// The file that describes the cache groups, for --verify-with
    #[arg(long, value_name = "FILE", requires = "verify_with")]
    pub(super) groups: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 250ms, 10s or 5m".into())
}

fn origin_url(text: &str) -> Result<OriginUrl, String> {
    OriginUrl::parse(text).ok_or_else(|| format!("expected {}", OriginUrl::EXPECTED))
}

#[derive(Debug, ClapArgs)]
pub(super) struct Healthcheck {
    /// The admin port's base URL
    #[arg(long, default_value = "http://127.0.0.1:2112")]
    pub(super) url: String,
    /// Ask whether it is ready to serve, not only whether it is alive
    #[arg(long)]
    pub(super) ready: bool,
    /// What the process was given as --host, in place of --url: an address, or from-task-metadata
    #[arg(long, value_name = "IP", conflicts_with = "url", value_parser = host)]
    pub(super) host: Option<Host>,
}

fn host(text: &str) -> Result<Host, String> {
    read_host(text).map_err(|expects| format!("expected {expects}"))
}

/// Where an operator's command finds the cluster.
#[derive(Debug, ClapArgs)]
pub(super) struct Reach {
    /// Where nodes may be found, one of which must answer; else from GCACHE_SEEDS
    #[arg(long, value_name = "HOST[:PORT],…")]
    pub(super) seeds: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Print the members, who leads and whether there is a quorum
    ///
    /// Example: gcache cluster status --seeds 127.0.1.1
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// Hand the leadership to another voter
    ///
    /// Example: gcache cluster transfer n2 --seeds 127.0.1.1
    Transfer {
        /// The voter
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print all that is known of every member, and with --json of those that were removed
    ///
    /// Example: gcache cluster members --seeds 127.0.1.1
    Members(Reach),
    /// Remove a member for ever, whose node is gone
    ///
    /// What it owned goes to others, and its vote to a member that has caught up. A node that comes
    /// back after that joins anew.
    ///
    /// Example: gcache cluster remove n4 --seeds 127.0.1.1
    Remove(Remove),
    /// Write the cluster's state to a new file, for recover
    ///
    /// Example: gcache cluster snapshot cluster.snapshot --seeds 127.0.1.1
    Snapshot(Snapshot),
    /// Found a new cluster from what is left of one whose majority is gone for good
    ///
    /// All nodes of the data directory are stopped. The groups are kept, under a new cluster that nodes
    /// and frontends follow; what was acknowledged and is in none of the logs is lost.
    ///
    /// Example: gcache cluster recover --data-dir data --dry-run
    Recover(Recover),
}

#[derive(Debug, Subcommand)]
pub(super) enum RingCommand {
    /// Print what every member owns and stands by for, and how even that is
    ///
    /// Example: gcache ring show --seeds 127.0.1.1
    Show {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print who answers for a key, and what its owner and its standby hold of it
    ///
    /// Nothing is loaded, and nothing that is cached is touched.
    ///
    /// Example: gcache ring explain accounts 1 --seeds 127.0.1.1
    Explain {
        /// The cache group
        group: String,
        /// The key, as it is in a URL after percent-decoding
        key: std::ffi::OsString,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Print what applying a groups file would change, and what the nodes' origin finds in it
    ///
    /// The exit code is 1 if the origin cannot load one of the groups.
    ///
    /// Example: gcache group plan groups.toml --seeds 127.0.1.1
    Plan(GroupFile),
    /// Make the groups what a file says, in one revision
    ///
    /// Groups that the file does not name stay, unless --prune is given. If the origin cannot load one
    /// that is new or whose statement changed, nothing is applied, unless --unchecked is given.
    ///
    /// Example: gcache group apply groups.toml --seeds 127.0.1.1
    Apply(GroupFile),
    /// Print the groups
    ///
    /// Example: gcache group list --seeds 127.0.1.1
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print a group as it is
    ///
    /// Example: gcache group show accounts --seeds 127.0.1.1
    Show {
        /// The group
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Make the groups what they were in an earlier revision, as a new one
    ///
    /// Ids and generations never go back: what is cached by another statement is void.
    ///
    /// Example: gcache group rollback 3 --seeds 127.0.1.1
    Rollback {
        /// The revision
        number: u64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Void every cached value of a group
    ///
    /// Example: gcache group reset accounts --seeds 127.0.1.1
    Reset {
        /// The group
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct GroupFile {
    /// The groups file
    pub(super) file: PathBuf,
    /// Remove the groups that the file does not name
    #[arg(long)]
    pub(super) prune: bool,
    /// What the revision is for
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) note: String,
    /// Do not ask the nodes' origin whether it can load the groups
    #[arg(long)]
    pub(super) unchecked: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
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
        [
            flag("--seeds", "cluster.seeds", &self.seeds),
            flag("--members", "cluster.members", &self.members),
            flag("--groups", "cluster.groups", &self.groups),
        ]
        .into_iter()
        .flatten()
    }
}

impl Node {
    /// The settings that flags stand for.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let own = [
            flag("--id", "process.id", &self.id),
            flag("--data-dir", "cluster.data_dir", &self.data_dir),
            flag("--grpc-port", "node.grpc_port", &self.grpc_port),
            flag("--raft-port", "node.raft_port", &self.raft_port),
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
            flag("--data-dir", "cluster.data_dir", &self.data_dir),
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
