//! Why a Raft thread ended, and after how long a turn ends it.

use std::time::Duration;

use crate::raft::driver::Fatal;

/// How long a turn may take at all.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// Why a Raft thread ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// It was asked to.
    #[error("it was stopped")]
    Stopped,
    /// Its driver failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// It panicked.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// A turn did not return for too long: a disk hangs.
    #[error("a turn took more than {} seconds", STALL_MAX.as_secs())]
    Stalled,
}
