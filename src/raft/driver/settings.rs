//! What a driver is given at its start, and every limit that `raft` leaves open.

use raft::{Config, ReadOnlyOption};

use super::mistake::Mistake;
use crate::ids::NodeId;

/// Ticks between two heartbeats of a leader.
pub const HEARTBEAT_TICKS: usize = 1;
/// Ticks without a leader after which a node campaigns at the earliest; at the latest after one less
/// than twice as many.
pub const ELECTION_TICKS: usize = 10;
/// Messages with entries that may be on the way to a peer.
pub const MAX_INFLIGHT_MESSAGES: usize = 256;
/// Bytes of entries in one message.
const MAX_MESSAGE_ENTRIES_BYTES: u64 = 1 << 20;
/// Bytes of entries that a leader holds uncommitted before it refuses more.
const MAX_UNCOMMITTED_BYTES: u64 = 4 << 20;
/// Bytes of committed entries that are applied at once.
const MAX_APPLIED_BYTES: u64 = 1 << 20;
/// Entries between two hashes of the state that nodes compare.
pub const CHECKPOINT_EVERY: u64 = 64;

/// What a driver is given at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where election timeouts are drawn from. Different on every node.
    pub seed: u64,
    /// Entries after which a snapshot is taken and older entries are dropped.
    pub snapshot_every: u64,
    /// Entries before the snapshot that are kept for peers that lag, unless they are too large.
    pub keep: u64,
    /// Bytes of entries after which a snapshot is taken as well, and that the kept ones have at most.
    pub log_bytes: u64,
    /// Proposals that may wait for their outcome, and as many reads.
    pub pending_max: usize,
    /// A mistake to make.
    #[cfg(feature = "simulation")]
    pub mistake: Option<Mistake>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            snapshot_every: 1000,
            keep: 500,
            log_bytes: 8 << 20,
            pending_max: 1024,
            #[cfg(feature = "simulation")]
            mistake: None,
        }
    }
}

impl Settings {
    /// Whether the driver is to make this mistake.
    #[cfg(feature = "simulation")]
    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether the driver is to make this mistake: never.
    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "with the simulation it is used")]
    pub(super) fn makes(&self, _: Mistake) -> bool {
        false
    }

    /// `raft` as we want it: with pre-vote and quorum checks, reads that ask a quorum, and no limit
    /// left open.
    pub(super) fn raft_config(&self, node: NodeId, applied: u64) -> Config {
        let read_only_option = if self.makes(Mistake::ReadWithoutQuorum) {
            ReadOnlyOption::LeaseBased
        } else {
            ReadOnlyOption::Safe
        };
        Config {
            id: node.0,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            min_election_tick: ELECTION_TICKS,
            max_election_tick: 2 * ELECTION_TICKS,
            applied,
            max_size_per_msg: MAX_MESSAGE_ENTRIES_BYTES,
            max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
            check_quorum: !self.makes(Mistake::NoQuorumCheck),
            pre_vote: !self.makes(Mistake::NoPreVote),
            read_only_option,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_APPLIED_BYTES,
            ..Config::default()
        }
    }

    /// Returns the logger that `raft` writes to.
    #[expect(clippy::unused_self, reason = "how much is said may become a setting")]
    pub(super) fn logger(&self) -> slog::Logger {
        crate::raft::logging::logger()
    }
}
