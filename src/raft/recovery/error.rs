//! Why no cluster can be recovered, and what would help.
//!
//! Made by the survey, the plan and the work of a recovery; shown by the command line.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::ClusterId;
use crate::raft::directory::DirectoryError;
use crate::raft::latch::RootError;
use crate::raft::log::OpenError;
use crate::raft::rocks::RocksError;
use crate::topology::Refusal;

/// No cluster can be recovered here, and what would help.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A node has its log open.
    #[error("{node} runs, its log {} is in use: stop all nodes of this data directory first", .path.display())]
    Running {
        /// The node's name.
        node: String,
        /// Its log.
        path: PathBuf,
    },
    /// There is no such directory, or no node ever wrote to it.
    #[error("{} is no data directory: it has no folder nodes; give the --data-dir that the nodes have", .path.display())]
    NoDirectory {
        /// What was given.
        path: PathBuf,
    },
    /// No log can be read.
    #[error(
        "no log here can be used ({reasons}): give --from with a file of `gcache cluster snapshot`"
    )]
    NoLog {
        /// What each is unfit for.
        reasons: String,
    },
    /// Logs of several clusters, and nothing says which is meant.
    #[error(
        "there are logs of the clusters {}, and no file CLUSTER says which is meant: move those of the others away",
        list(.0)
    )]
    Several(Vec<ClusterId>),
    /// Nobody was named to found the cluster, and there is no log that could.
    #[error("there is no log whose node would found the cluster: give --id with one of {}, or a new name", list(.known))]
    NoFounder {
        /// Members that could.
        known: Vec<Arc<str>>,
    },
    /// An earlier recovery is half done.
    #[error(
        "a recovery with {founder} as the founder was begun and has to be finished first: give --id {founder} or none"
    )]
    Begun {
        /// Its founder.
        founder: String,
    },
    /// Nothing is lost.
    #[error(
        "{}: just start the nodes. If they never can, give --force",
        intact(.voters)
    )]
    Intact {
        /// The last known voters, whose logs are all there.
        voters: Vec<Arc<str>>,
    },
    /// A recovery was finished, and its founder has not started since.
    #[error(
        "the cluster was recovered already, with {founder} as the founder: just start {founder}. If it never can, give \
         --force"
    )]
    NotStarted {
        /// The founder.
        founder: String,
    },
    /// The founder cannot be a member.
    #[error("the cluster cannot be recovered: {0}")]
    Refused(#[from] Refusal),
    /// The data directory cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A node's directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The founder's new log cannot be opened.
    #[error(transparent)]
    Disk(#[from] RocksError),
    /// The founder's new log cannot be written.
    #[error("the new log cannot be written: {0}")]
    Log(#[from] OpenError),
    /// The file system refuses.
    #[error("cannot read {}: {error}", .path.display())]
    Failed {
        /// What was tried to be read.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

fn intact(voters: &[Arc<str>]) -> String {
    match voters {
        [voter] => format!("the log of the only voter, {voter}, is intact and in place"),
        voters => format!(
            "all {} logs of the voters {} are intact and in place",
            voters.len(),
            list(voters)
        ),
    }
}
