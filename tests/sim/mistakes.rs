//! Every mistake that a driver can be told to make is found, by a check that watches what it breaks.

use gcache::raft::driver::mistake::Mistake;

use crate::run::{self, Flaw};
use crate::violation::Promise;

/// Seeds within which a mistake is found.
const SEEDS: u64 = 300;

/// One of the seeds finds the mistake. Without it they pass, as another test says.
fn is_caught(mistake: Mistake, promises: &[Promise]) {
    let batch = run::run_many(0, SEEDS, Some(Flaw::Driver(mistake)));
    let Some(seed) = batch.broken else {
        panic!("{SEEDS} seeds do not find {mistake:?}");
    };
    let violation = run::run(seed, Some(Flaw::Driver(mistake)))
        .violation
        .expect("the seed broke a promise before");
    assert!(
        promises.contains(&violation.promise),
        "{mistake:?} breaks {violation}, by seed {seed}"
    );
}

/// One test for each mistake.
macro_rules! caught {
    ($($name:ident: $mistake:ident breaks $($promise:ident)|+,)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Mistake::$mistake, &[$(Promise::$promise),+]);
            }
        )*

        #[test]
        fn every_mistake_is_tried() {
            assert_eq!([$(Mistake::$mistake),*], Mistake::ALL);
        }
    };
}

caught! {
    the_checker_catches_a_send_before_the_write: SendBeforePersist breaks SyncedBeforeSent,
    the_checker_catches_a_skipped_sync: SkippedSync breaks AcknowledgedIsKept | SyncedBeforeSent,
    the_checker_catches_a_vote_that_is_not_written: VoteNotPersisted breaks SyncedBeforeSent,
    the_checker_catches_a_snapshot_at_the_commit_index: SnapshotAtCommit breaks SnapshotsAreApplied,
    the_checker_catches_a_suffix_that_is_not_truncated: SuffixNotTruncated breaks DriversLive | SameEntries,
    the_checker_catches_a_reused_id: IdReused breaks SameState | IdsAreNeverReused,
    the_checker_catches_an_entry_that_is_applied_twice: AppliedTwice breaks SameState | EpochsCount,
    the_checker_catches_a_read_without_a_quorum: ReadWithoutQuorum breaks ReadsAreLinearizable,
    the_checker_catches_a_reused_context: ContextReused breaks ReadsAreLinearizable,
    the_checker_catches_two_changes_of_the_quorum_at_once: ConfChangeWhilePending breaks QuorumIsKept,
    the_checker_catches_a_leader_that_removes_itself: LeaderRemovesItself breaks QuorumIsKept | DriversLive | Progress,
    the_checker_catches_a_lost_snapshot_report: LostSnapshotReport breaks Progress,
}
