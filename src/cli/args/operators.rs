//! The flags and arguments of the operators' commands.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::reach::Reach;
use crate::cli::members::Remove;
use crate::cli::plan::Plan;
use crate::cli::recover::Recover;
use crate::cli::snapshot::Snapshot;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClusterCommand {
    /// Print the members, which of them leads and whether there is a quorum
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
        /// The voter's name
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print all that is known of every member, and with --json also of those that were removed
    ///
    /// Example: gcache cluster members --seeds 127.0.1.1
    Members(Reach),
    /// Remove a member whose node is gone, for ever
    ///
    /// Others take what it owned, and a member that has caught up takes its vote. If its node comes back
    /// after that, it joins as a new member.
    ///
    /// Example: gcache cluster remove n4 --seeds 127.0.1.1
    Remove(Remove),
    /// Take the newest version that every member knows into use
    ///
    /// After an upgrade of all nodes, once you will not go back: until then what is new stays unused, and nodes
    /// may be rolled back one by one. After it older executables are refused.
    ///
    /// Example: gcache cluster finalize --dry-run --seeds 127.0.1.1
    Finalize {
        /// Print what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Write the cluster's state to a new file, for recover
    ///
    /// Example: gcache cluster snapshot cluster.snapshot --seeds 127.0.1.1
    Snapshot(Snapshot),
    /// Found a new cluster from what is left of one whose majority is gone for good
    ///
    /// Stop all nodes of the data directory first. The new cluster keeps the groups, and nodes and frontends
    /// follow it; what was acknowledged and is in none of the logs is lost.
    ///
    /// Example: gcache cluster recover --data-dir data --dry-run
    Recover(Recover),
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RingCommand {
    /// Print what every member owns and is standby for, and how even the shares are
    ///
    /// Example: gcache ring show --seeds 127.0.1.1
    Show {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print what a join, a leave or another weight would move, and what load the origin would see
    ///
    /// Nothing is changed, and the given changes are planned as one. Bytes and rates are what the members
    /// count, read twice within two seconds; a partition counts as an even share of its member.
    ///
    /// Example: gcache ring plan --join n4:b --leave n1 --weight n2=512 --seeds 127.0.1.1
    Plan(Plan),
    /// Stop all moves until resume: partitions stay where they are when members join, leave or come back
    ///
    /// Moves that have begun are finished, and standbys take over what a lost member owned. A node that is
    /// stopped meanwhile hands nothing over, and no member is removed.
    ///
    /// Example: gcache ring pause --seeds 127.0.1.1
    Pause {
        #[command(flatten)]
        reach: Reach,
    },
    /// Let partitions move again, so that every member gets its share
    ///
    /// Example: gcache ring resume --seeds 127.0.1.1
    Resume {
        #[command(flatten)]
        reach: Reach,
    },
    /// Print which members answer for a key, and what its owner and its standby have cached of it
    ///
    /// It loads nothing, and touches nothing that is cached.
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
pub(in crate::cli) enum GroupCommand {
    /// Print what a groups file would change if it were applied, and what the nodes' origin finds wrong in it
    ///
    /// The exit code is 1 if the origin cannot load one of the groups.
    ///
    /// Example: gcache group plan groups.toml --seeds 127.0.1.1
    Plan(GroupFile),
    /// Set the groups to what a file says, in one revision
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
    /// Print the settings of a group
    ///
    /// Example: gcache group show accounts --seeds 127.0.1.1
    Show {
        /// The group
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Set the groups to what they were in an earlier revision, as a new one
    ///
    /// Ids and generations never go back: what another statement has loaded is void.
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
pub(in crate::cli) struct GroupFile {
    /// The groups file
    pub(in crate::cli) file: PathBuf,
    /// Remove the groups that the file does not name
    #[arg(long)]
    pub(in crate::cli) prune: bool,
    /// What the revision is for
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(in crate::cli) note: String,
    /// Do not ask the nodes' origin whether it can load the groups
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
    #[command(flatten)]
    pub(in crate::cli) reach: Reach,
}
