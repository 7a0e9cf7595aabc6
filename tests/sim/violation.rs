//! What a run must never show: one kind for each promise, with what was seen.

use std::fmt;

/// The promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// At most one leader in a term.
    OneLeaderPerTerm,
    /// The same committed entry at an index, on every node and for ever.
    SameEntries,
    /// The same state at an index: that of the committed entries, each applied once.
    SameState,
    /// What was synced never goes back: term, vote in a term, commit, applied.
    DiskNeverRegresses,
    /// A vote or an acknowledgement leaves after the sync that it depends on.
    SyncedBeforeSent,
    /// What was acknowledged stays in the log.
    AcknowledgedIsKept,
    /// The epoch grows by one with each change.
    EpochsCount,
    /// A node id names one member ever, and a removed one never returns.
    IdsAreNeverReused,
    /// Two configurations in a row share a majority, there is always a voter, and a leader stays one.
    QuorumIsKept,
    /// A read sees all that was acknowledged or read before it began.
    ReadsAreLinearizable,
    /// A snapshot is the state at its index.
    SnapshotsAreApplied,
    /// A request has one outcome.
    OneOutcome,
    /// No two members with a lease act for one partition, and none that was failed over.
    OneOwner,
    /// Once a reset is acknowledged, no member with a lease has an older generation.
    ResetsAreKnown,
    /// What another cluster, a removed member, an earlier start of a member or nobody says is refused, and its
    /// sender hears so.
    StrangersAreRefused,
    /// A leader that hears no quorum leads no more after three election timeouts.
    LeadersAreHeard,
    /// A node begins a term only if it hears a quorum, or if its leader asks it to: one that was cut off unseats
    /// nobody when it comes back.
    TermsNeedAQuorum,
    /// Nothing is committed that a member does not know.
    CommandsAreKnown,
    /// A state that differs from the others' is reported.
    DivergenceIsReported,
    /// A driver does not start on rows that are not as they were written.
    DamageIsReported,
    /// A driver ends only if its disk fails, and starts on every disk that is as it was written.
    DriversLive,
    /// A process whose log failed ends, once its disk is well.
    ProcessesEnd,
    /// After all is healed, the nodes agree and commit again.
    Progress,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which.
    pub(crate) promise: Promise,
    /// What was seen.
    pub(crate) seen: String,
}

impl Violation {
    /// `promise` is broken: `seen`.
    pub(crate) fn new(promise: Promise, seen: impl fmt::Display) -> Self {
        Self {
            promise,
            seen: seen.to_string(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.seen)
    }
}

/// What a check finds.
pub(crate) type Checked = Result<(), Violation>;

/// Fails with `promise` unless it holds.
pub(crate) fn ensure(holds: bool, promise: Promise, seen: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(promise, seen()))
    }
}
