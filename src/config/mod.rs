//! Configuration: one struct per section, read from layers, all mistakes reported at once.
//!
//! Compiled-in `config/default.toml` < `--config FILE` < `GCACHE__SECTION__KEY` < `--set` < flags.
//! One schema serves all roles: a section that another role uses is accepted and checked. Pure:
//! `cli` reads the file and the environment and passes their text; consumers get finished types
//! and never parse again. The groups file is read here too.
//!
//! To add a setting: a line in `sections`, and its default with an explanation in `default.toml`.

mod checks;
mod document;
mod groups;
mod layers;
mod names;
mod place;
mod print;
mod redact;
mod report;
mod rule;
mod schema;
mod secret;
mod sections;
mod settings;
mod suggest;
mod value;

#[cfg(test)]
mod tests;

pub use groups::read_groups;
pub use layers::{Flag, Layers, SEEDS_VARIABLE};
pub use names::{
    DEFAULT_ZONE, Host, LogFormat, OriginUrl, PostgresUrl, ProcessId, ProcessZone, Seed, read_host,
    read_seeds,
};
pub use place::{Place, SourceFile};
pub use report::{ConfigError, Mistake};
pub use secret::Secret;
pub use sections::{Cluster, Frontend, Node, Origin, Pipeline, Process, Raft, Transfer};
pub use value::{ByteSize, parse_duration, show_duration};

pub use crate::topology::model::rules::is_name;

use std::net::IpAddr;

use report::Mistakes;
use sections::SCHEMA;
use settings::Settings;

/// Everything that can be set, in the types that the program works with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The process as such, whatever its role.
    pub process: Process,
    /// What the cluster is made of.
    pub cluster: Cluster,
    /// The node.
    pub node: Node,
    /// Raft.
    pub raft: Raft,
    /// What a node sends of partitions that move to another.
    pub transfer: Transfer,
    /// The origin.
    pub origin: Origin,
    /// The frontend.
    pub frontend: Frontend,
    /// The pipeline from a frontend to a node.
    pub pipeline: Pipeline,
}

impl Config {
    /// Reads settings that were checked when they were laid.
    fn read(settings: &Settings) -> Self {
        Self {
            process: Process::read(settings),
            cluster: Cluster::read(settings),
            node: Node::read(settings),
            raft: Raft::read(settings),
            transfer: Transfer::read(settings),
            origin: Origin::read(settings),
            frontend: Frontend::read(settings),
            pipeline: Pipeline::read(settings),
        }
    }
}

/// A configuration, with its own account of where each value came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The same as TOML, each value with where it came from. Credentials are hidden.
    pub printed: String,
}

impl Process {
    /// The address that listeners bind to and that connections leave from.
    ///
    /// # Panics
    /// It comes from the task's metadata, and nobody has asked for that: `cli` does before a role starts.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self.host {
            Host::Literal(address) => address,
            Host::FromTaskMetadata => panic!("the metadata were not read"),
        }
    }

    /// The zone that it runs in.
    ///
    /// # Panics
    /// As [`Process::address`] does.
    #[must_use]
    pub fn zone(&self) -> &str {
        match &self.zone {
            ProcessZone::Literal(zone) => zone,
            ProcessZone::Unset => DEFAULT_ZONE,
            ProcessZone::FromTaskMetadata => panic!("the metadata were not read"),
        }
    }
}

/// Lays `layers` over the defaults.
///
/// # Errors
///
/// Every mistake of every layer, also of values that a stronger layer replaces.
pub fn load(layers: &Layers<'_>) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::new(SCHEMA);
    let mut mistakes = Mistakes::default();
    layers::lay_all(layers, &mut settings, &mut mistakes);
    let config = Config::read(&settings);
    checks::check(&config, &settings, &mut mistakes);
    mistakes.or(())?;
    Ok(Loaded {
        config,
        printed: print::print(&settings),
    })
}
