//! Mistakes that a driver can be set to make, so that the simulator shows that it would find them.
//!
//! Only with the feature `simulation`; without it [`Mistake`] has the same names and nobody can ask
//! for one.

/// A mistake that others have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// Votes and acknowledgements leave before what they promise is written.
    SendBeforePersist,
    /// Nothing is synced.
    SkippedSync,
    /// The vote is not written.
    VoteNotPersisted,
    /// A snapshot says that it is of the commit index, and holds what was applied (Qdrant).
    SnapshotAtCommit,
    /// Entries that were overwritten by shorter ones stay on the disk (raft-rs#428).
    SuffixNotTruncated,
    /// A removed member's id is given to the next one.
    IdReused,
    /// An entry is applied twice.
    AppliedTwice,
    /// A read is answered without asking a quorum.
    ReadWithoutQuorum,
    /// Reads share one context (etcd#20418).
    ContextReused,
    /// A change of the quorum is proposed while another is pending.
    ConfChangeWhilePending,
    /// The leader removes itself (raft-rs#584).
    LeaderRemovesItself,
    /// Nothing is reported to Raft of what became of a snapshot.
    LostSnapshotReport,
    /// A write or a sync that failed is taken for one that was done.
    DiskErrorIgnored,
    /// A joint configuration is never left.
    JointNeverLeft,
    /// Messages of another cluster are heard.
    OtherClusterHeard,
    /// Messages for another node are heard.
    OtherAddresseeHeard,
    /// Members that were removed are heard.
    RemovedHeard,
    /// Earlier starts of a member are heard.
    OldStartHeard,
    /// What a message says is not checked.
    MalformedHeard,
    /// A node campaigns without asking whether it could win.
    NoPreVote,
    /// A leader does not look whether a quorum hears it.
    NoQuorumCheck,
    /// What a command does depends on the clock of the node that applies it.
    ClockApplied,
    /// A command is proposed, and carried out, before every member knows it.
    UnknownCommandApplied,
    /// A command that a node does not know is skipped.
    UnknownCommandSkipped,
    /// States at the same index are not compared.
    StatesNotCompared,
}

impl Mistake {
    /// Every mistake.
    pub const ALL: [Self; 25] = [
        Self::SendBeforePersist,
        Self::SkippedSync,
        Self::VoteNotPersisted,
        Self::SnapshotAtCommit,
        Self::SuffixNotTruncated,
        Self::IdReused,
        Self::AppliedTwice,
        Self::ReadWithoutQuorum,
        Self::ContextReused,
        Self::ConfChangeWhilePending,
        Self::LeaderRemovesItself,
        Self::LostSnapshotReport,
        Self::DiskErrorIgnored,
        Self::JointNeverLeft,
        Self::OtherClusterHeard,
        Self::OtherAddresseeHeard,
        Self::RemovedHeard,
        Self::OldStartHeard,
        Self::MalformedHeard,
        Self::NoPreVote,
        Self::NoQuorumCheck,
        Self::ClockApplied,
        Self::UnknownCommandApplied,
        Self::UnknownCommandSkipped,
        Self::StatesNotCompared,
    ];
}
