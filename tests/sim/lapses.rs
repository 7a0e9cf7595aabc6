//! Mistakes about leases that members and leaders can be told to make, and that each is found.

use gcache::topology::leader::mistake::Mistake;

use crate::run::{self, Flaw, Kind};
use crate::violation::Promise;

/// Seeds within which a mistake is found.
const SEEDS: u64 = 400;

/// A mistake about leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// A lease is counted from the arrival of its grant.
    CountedFromArrival,
    /// A renewal is answered without asking a quorum.
    NoQuorum,
    /// A member is down after one second.
    DownAfterOneSecond,
    /// A member gets a grant while its fail-over is under way.
    GrantWhileFailing,
    /// A new leader takes those for down whom it has never heard of.
    NoWaitOfNewLeader,
    /// A grant counts before its epoch is applied.
    EpochNotAwaited,
    /// A reset is acknowledged before it is settled.
    ResetNotAwaited,
    /// The clock of a lease stands still while its machine is suspended.
    ClockStandsStill,
}

impl Lapse {
    /// The mistake that the product's leader makes, if it is one of the leader.
    pub(crate) fn of_leader(self) -> Option<Mistake> {
        match self {
            Self::DownAfterOneSecond => Some(Mistake::DownAfterOneSecond),
            Self::GrantWhileFailing => Some(Mistake::GrantWhileFailing),
            Self::NoWaitOfNewLeader => Some(Mistake::NoWaitOfNewLeader),
            Self::ResetNotAwaited => Some(Mistake::SettledAtOnce),
            Self::CountedFromArrival
            | Self::NoQuorum
            | Self::EpochNotAwaited
            | Self::ClockStandsStill => None,
        }
    }
}

/// One of the seeds finds the mistake.
fn is_caught(lapse: Lapse, promises: &[Promise]) {
    is_caught_in(Kind::Plain, lapse, promises);
}

fn is_caught_in(kind: Kind, lapse: Lapse, promises: &[Promise]) {
    let flaw = Some(Flaw::Lease(lapse));
    let batch = run::run_many_as(kind, 0, SEEDS, flaw);
    let Some(seed) = batch.broken else {
        panic!("{SEEDS} seeds do not find {lapse:?}");
    };
    let violation = run::run_as(kind, seed, flaw)
        .violation
        .expect("the seed broke a promise before");
    assert!(
        promises.contains(&violation.promise),
        "{lapse:?} breaks {violation}, by seed {seed}"
    );
}

#[test]
fn the_checker_catches_a_lease_that_is_counted_from_arrival() {
    is_caught(
        Lapse::CountedFromArrival,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_renewal_that_is_answered_without_a_quorum() {
    is_caught(
        Lapse::NoQuorum,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_member_that_is_down_after_one_second() {
    is_caught(
        Lapse::DownAfterOneSecond,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_grant_while_a_fail_over_is_under_way() {
    is_caught(
        Lapse::GrantWhileFailing,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_new_leader_that_does_not_wait() {
    is_caught(
        Lapse::NoWaitOfNewLeader,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_lease_on_an_old_state() {
    is_caught(
        Lapse::EpochNotAwaited,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}

#[test]
fn the_checker_catches_a_reset_that_is_acknowledged_too_early() {
    is_caught(Lapse::ResetNotAwaited, &[Promise::ResetsAreKnown]);
}

#[test]
fn the_checker_catches_a_clock_that_stands_still() {
    is_caught_in(
        Kind::Wild,
        Lapse::ClockStandsStill,
        &[Promise::OneOwner, Promise::ResetsAreKnown],
    );
}
