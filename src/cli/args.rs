//! What may be typed. Flags that stand for a setting are overrides of the configuration, no more.

mod operators;
mod reach;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

pub(super) use self::operators::{ClusterCommand, GroupCommand, GroupFile, RingCommand};
pub(super) use self::reach::Reach;
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
    ///
    /// Example: gcache frontend --seeds nodes.internal --port 9999
    Frontend(Frontend),
    /// Run a whole cluster in one process, with sample rows unless it is given an origin
    ///
    /// Example: gcache dev --origin postgres://localhost/app --groups groups.toml --data-dir data
    Dev(Dev),
    /// Print the value of a key
    ///
    /// Example: gcache get scores Tom
    Get(Get),
    /// Delete a key's cached value: it is never served again
    ///
    /// Example: gcache del scores Tom
    Del(Del),
    /// Ask frontends for keys at a set pace, and report how they answered
    ///
    /// Example: gcache loadgen --group accounts --keys 100000 --rate 2000 --duration 10s
    Loadgen(Box<Loadgen>),
    /// Look at the members of a cluster, and change or recover the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at the ring: which member owns what
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
    /// Where to find nodes: the addresses of a few of them, or a DNS name that resolves to them; by default what
    /// GCACHE_SEEDS says
    #[arg(long, value_name = "HOST[:PORT],…")]
    seeds: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Node {
    /// The directory of the nodes' logs, which all nodes may share
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The port of Raft, between nodes
    #[arg(long, value_name = "PORT")]
    raft_port: Option<String>,
    /// Found the cluster if no seed belongs to one, even if the nodes share no data directory or a DNS seed
    /// names this node alone: give it to one node only, and once
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
    /// How many nodes to run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NODES)))]
    pub(super) nodes: u16,
    /// The directory of the nodes' logs: a cluster that is in it continues, with its groups. Without it
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
    /// How an index from 1 to N is written as a key, for example 'user-{}'
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    pub(super) key_format: String,
    /// Which keys are asked for how often: zipf:EXPONENT (ranks scattered over the keys), uniform, or hot:K
    /// (the first K keys alike)
    #[arg(long, value_name = "WHICH", default_value = "zipf:0.99")]
    pub(super) distribution: Distribution,
    /// Open loop, the default: this many requests per second, whether or not earlier ones are answered
    /// [default: 1000]
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    pub(super) rate: Option<f64>,
    /// How an open loop spaces its requests: even or poisson [default: even]
    #[arg(long, value_name = "HOW")]
    pub(super) arrivals: Option<Arrivals>,
    /// How many connections an open loop may open [default: 1024]
    #[arg(long, value_name = "N")]
    pub(super) max_connections: Option<usize>,
    /// Closed loop: this many connections, each of which sends a request when its last one is answered
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
    /// The seed of the sequence of keys: another seed gives another sequence
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Write the report to this file as JSON as well
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the figures of each second to this file during the run, a line of JSON per second
    #[arg(long, value_name = "FILE")]
    pub(super) timeline: Option<PathBuf>,
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
    /// Ask whether the process is ready to serve, not only whether it is alive
    #[arg(long)]
    pub(super) ready: bool,
    /// The --host of the process, in place of --url: an address, or from-task-metadata
    #[arg(long, value_name = "IP", conflicts_with = "url", value_parser = host)]
    pub(super) host: Option<Host>,
}

fn host(text: &str) -> Result<Host, String> {
    read_host(text).map_err(|expects| format!("expected {expects}"))
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
        flag("--seeds", "cluster.seeds", &self.seeds).into_iter()
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

    #[test]
    fn the_help_of_every_command_has_an_example() {
        let mut commands = vec![Args::command()];
        while let Some(command) = commands.pop() {
            let is_leaf = command.get_subcommands().next().is_none();
            let about = command.get_long_about().or(command.get_about());
            let about = about.map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(!is_leaf || about.contains("Example: gcache "), "{name}");
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
