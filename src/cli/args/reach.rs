//! The flags of every operator's command.

use clap::Args as ClapArgs;

/// Where an operator's command finds the cluster.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Reach {
    /// Where to find nodes, one of which must answer; by default what GCACHE_SEEDS says
    #[arg(long, value_name = "HOST[:PORT],…")]
    pub(in crate::cli) seeds: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
