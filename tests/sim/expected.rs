//! What wild runs are known to break: each fault and promise with the reason, and a seed that shows it.
//!
//! A wild run may break what stands here, by the fault that it stands beside, and nothing else. What is mended
//! must leave the list: each seed is run, and has to fail as it says.

use crate::faults::Fault;
use crate::run::{self, Kind, Run};
use crate::violation::Promise;

/// Seeds among which another one is looked for, where an entry's shows nothing any more.
const SEARCHED: u64 = 10_000;

/// Why a promise is broken: what Raft, or a lease, assumes that does not happen, and what makes it so.
type Assumption = &'static str;

/// A failure that is known.
struct Expected {
    fault: Fault,
    promise: Promise,
    reason: Assumption,
    /// A wild seed that shows it.
    seed: u64,
}

const fn expected(fault: Fault, promise: Promise, reason: Assumption, seed: u64) -> Expected {
    Expected {
        fault,
        promise,
        reason,
        seed,
    }
}

/// The founder that comes back from the time when it was alone needs nobody to lead. It asks before it starts, and
/// here those who know better do not answer, or have started again since and have heard nothing from it.
const FOUNDER: Assumption =
    "no log goes back; most that do are refused, by what others remember who can be reached";

/// A voter that comes back with an old log has forgotten what it voted and acknowledged. So have others whom it
/// asks, where they have started again since; and nobody hears what a leader writes.
const STALE: Assumption = FOUNDER;

/// Two processes write one log, and each has its own vote.
const TWICE: Assumption = "the file system keeps its locks, and names of tasks are not reused";

/// Without most of its voters a cluster commits nothing.
const MAJORITY: Assumption =
    "most voters come back; `gcache cluster recover` is for when they do not";

/// All of them.
const EXPECTED: [Expected; 18] = [
    expected(Fault::StaleCopy, Promise::OneLeaderPerTerm, STALE, 125),
    expected(Fault::StaleCopy, Promise::SameEntries, STALE, 1570),
    expected(Fault::StaleCopy, Promise::SyncedBeforeSent, STALE, 8404),
    expected(Fault::StaleCopy, Promise::AcknowledgedIsKept, STALE, 17856),
    expected(Fault::FounderCopy, Promise::OneLeaderPerTerm, FOUNDER, 7),
    expected(Fault::FounderCopy, Promise::SameEntries, FOUNDER, 75),
    expected(
        Fault::FounderCopy,
        Promise::AcknowledgedIsKept,
        FOUNDER,
        5923,
    ),
    expected(Fault::FounderCopy, Promise::QuorumIsKept, FOUNDER, 25728),
    expected(
        Fault::FounderCopy,
        Promise::ReadsAreLinearizable,
        FOUNDER,
        29213,
    ),
    expected(Fault::FounderCopy, Promise::Progress, FOUNDER, 35163),
    expected(
        Fault::FounderCopy,
        Promise::SyncedBeforeSent,
        FOUNDER,
        9_012_455,
    ),
    expected(Fault::LostLock, Promise::OneLeaderPerTerm, TWICE, 5262),
    expected(Fault::LostLock, Promise::SameEntries, TWICE, 14697),
    expected(Fault::LostLock, Promise::DiskNeverRegresses, TWICE, 9),
    expected(Fault::LostLock, Promise::AcknowledgedIsKept, TWICE, 9478),
    expected(Fault::LostLock, Promise::DriversLive, TWICE, 26),
    expected(Fault::LostLock, Promise::Progress, TWICE, 3460),
    expected(Fault::MajorityLost, Promise::Progress, MAJORITY, 13),
];

impl Expected {
    /// Whether `run` broke this promise after this fault.
    fn is_shown_by(&self, run: &Run) -> bool {
        let broken = run.violation.as_ref().map(|violation| violation.promise);
        let happened = run.wild.contains(&self.fault) && run.seen.has(self.fault);
        broken == Some(self.promise) && happened
    }
}

/// Whether `run` broke a promise as it is known to.
pub(crate) fn accepts(run: &Run) -> bool {
    EXPECTED.iter().any(|expected| expected.is_shown_by(run))
}

#[test]
fn what_is_expected_to_fail_still_fails() {
    for expected in &EXPECTED {
        let shows = |seed: u64| expected.is_shown_by(&run::run_as(Kind::Wild, seed, None));
        if shows(expected.seed) {
            continue;
        }
        let Expected {
            fault,
            promise,
            reason,
            seed,
        } = expected;
        let other = (0..SEARCHED).find(|seed| shows(*seed));
        panic!(
            "{fault:?} breaks {promise:?} no more with seed {seed}, but with {other:?}: {reason:?}"
        );
    }
}
