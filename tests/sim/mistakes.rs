//! Every mistake that a driver can be told to make is found, by a check that watches what it breaks.

use gcache::raft::driver::mistake::Mistake;

use crate::run::{self, Flaw, Kind};
use crate::violation::Promise;

/// Seeds within which a mistake is found.
const SEEDS: u64 = 400;

/// One of the seeds finds the mistake. Without it they pass, as another test says.
fn is_caught(mistake: Mistake, kind: Kind, promises: &[Promise]) {
    let flaw = Some(Flaw::Driver(mistake));
    let batch = run::run_many_as(kind, 0, SEEDS, flaw);
    let Some(seed) = batch.broken else {
        panic!("{SEEDS} seeds do not find {mistake:?}");
    };
    let violation = run::run_as(kind, seed, flaw)
        .violation
        .expect("the seed broke a promise before");
    assert!(
        promises.contains(&violation.promise),
        "{mistake:?} breaks {violation}, by seed {seed}"
    );
}

/// One test for each mistake.
macro_rules! caught {
    ($($name:ident: in $kind:ident runs $mistake:ident breaks $($promise:ident)|+,)*) => {
        $(
            #[test]
            fn $name() {
                is_caught(Mistake::$mistake, Kind::$kind, &[$(Promise::$promise),+]);
            }
        )*

        #[test]
        fn every_mistake_is_tried() {
            assert_eq!([$(Mistake::$mistake),*], Mistake::ALL);
        }
    };
}

caught! {
    the_checker_catches_a_send_before_the_write: in Plain runs SendBeforePersist breaks SyncedBeforeSent,
    the_checker_catches_a_skipped_sync: in Plain runs SkippedSync breaks AcknowledgedIsKept | SyncedBeforeSent,
    the_checker_catches_a_vote_that_is_not_written: in Plain runs VoteNotPersisted breaks SyncedBeforeSent,
    the_checker_catches_a_snapshot_at_the_commit_index: in Plain runs SnapshotAtCommit breaks SnapshotsAreApplied,
    the_checker_catches_a_suffix_that_is_not_truncated: in Plain runs SuffixNotTruncated breaks DriversLive | SameEntries,
    the_checker_catches_a_reused_id: in Plain runs IdReused breaks SameState | IdsAreNeverReused,
    the_checker_catches_an_entry_that_is_applied_twice: in Plain runs AppliedTwice breaks SameState | EpochsCount,
    the_checker_catches_a_read_without_a_quorum: in Plain runs ReadWithoutQuorum breaks ReadsAreLinearizable,
    the_checker_catches_a_reused_context: in Plain runs ContextReused breaks ReadsAreLinearizable,
    the_checker_catches_two_changes_of_the_quorum_at_once: in Plain runs ConfChangeWhilePending breaks QuorumIsKept,
    the_checker_catches_a_leader_that_removes_itself: in Plain runs LeaderRemovesItself breaks QuorumIsKept | DriversLive | Progress,
    the_checker_catches_a_lost_snapshot_report: in Plain runs LostSnapshotReport breaks Progress,
    the_checker_catches_a_failed_disk_that_is_written_on: in Plain runs DiskErrorIgnored breaks SyncedBeforeSent | AcknowledgedIsKept,
    the_checker_catches_a_joint_configuration_that_is_never_left: in Plain runs JointNeverLeft breaks Progress,
    the_checker_catches_a_node_that_hears_another_cluster: in Wild runs OtherClusterHeard breaks StrangersAreRefused,
    the_checker_catches_a_node_that_hears_what_is_for_another: in Wild runs OtherAddresseeHeard breaks StrangersAreRefused,
    the_checker_catches_a_node_that_hears_a_removed_member: in Plain runs RemovedHeard breaks StrangersAreRefused,
    the_checker_catches_a_node_that_hears_an_earlier_start: in Plain runs OldStartHeard breaks StrangersAreRefused,
    the_checker_catches_a_node_that_hears_what_nobody_says: in Wild runs MalformedHeard breaks StrangersAreRefused | DriversLive,
    the_checker_catches_a_node_that_campaigns_unasked: in Plain runs NoPreVote breaks TermsNeedAQuorum,
    the_checker_catches_a_leader_that_no_quorum_hears: in Plain runs NoQuorumCheck breaks LeadersAreHeard,
    the_checker_catches_a_clock_in_the_state: in Plain runs ClockApplied breaks SameState,
    the_checker_catches_a_command_that_a_member_does_not_know: in Wild runs UnknownCommandApplied breaks SameState | DriversLive,
    the_checker_catches_a_command_that_is_skipped: in Wild runs UnknownCommandSkipped breaks SameState,
    the_checker_catches_states_that_nobody_compares: in Wild runs StatesNotCompared breaks DivergenceIsReported,
}
