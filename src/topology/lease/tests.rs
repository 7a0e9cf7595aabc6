//! Tests of a lease and of the book of leases, as pairs of an event and its outcome.

use super::*;
use crate::topology::commands::Command;
use crate::topology::fixtures::{cluster, status};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

fn renewal(member: u64, sent_at: u64, epoch: Epoch) -> Renewal {
    Renewal {
        moves: MoveReport::default(),
        member: NodeId(member),
        incarnation: Incarnation(1),
        sent_at: Millis(sent_at),
        epoch,
    }
}

/// Runs one round for these members, which have all applied the state. Returns the members that were granted
/// a lease.
fn round(book: &mut LeaseBook, now: u64, state: &State, members: &[u64]) -> Vec<u64> {
    for member in members {
        let _unknown = book.arrived(renewal(*member, now, state.epoch()), state);
    }
    let round = book.begin().unwrap();
    let answers = book.confirmed(round, Millis(now), state);
    let granted = answers.iter().filter(|(_, answer)| answer.is_ok());
    granted.map(|(renewal, _)| renewal.member.0).collect()
}

/// A book of a term whose first commit was at 0, and in which these members renewed at 0.
fn book(state: &State, members: &[u64]) -> LeaseBook {
    let mut book = LeaseBook::default();
    book.first_committed(Millis(0), state);
    assert_eq!(round(&mut book, 0, state, members), members);
    book
}

fn grant(sent_at: u64, epoch: u64) -> Grant {
    Grant {
        renewal: renewal(1, sent_at, Epoch(0)),
        epoch: Epoch(epoch),
        settled: Epoch(0),
    }
}

#[test]
fn a_lease_runs_from_its_sending_and_is_never_shortened() {
    let mut lease = Lease::new(NodeId(1), Incarnation(1));
    assert!(!lease.is_valid(Millis(0)));
    // When the grant came, when its renewal was sent, and the end of the lease after it.
    let table = [
        (1_900, 100, 2_100),
        (1_950, 600, 2_600),
        (2_000, 100, 2_600),
        (9_000, 1_000, 3_000),
        (9_000, 9_001, 3_000),
    ];
    for (now, sent_at, until) in table {
        lease.granted(&grant(sent_at, 0), Millis(now));
        assert!(lease.is_valid(Millis(until - 1)), "{sent_at}");
        assert!(!lease.is_valid(Millis(until)), "{sent_at}");
    }
}

#[test]
fn a_grant_for_another_start_or_member_is_ignored() {
    let mut lease = Lease::new(NodeId(1), Incarnation(2));
    lease.granted(&grant(500, 0), Millis(600));
    assert!(!lease.is_valid(Millis(600)));
    let mut lease = Lease::new(NodeId(2), Incarnation(1));
    lease.granted(&grant(500, 0), Millis(600));
    assert!(!lease.is_valid(Millis(600)));
}

#[test]
fn a_grant_counts_once_its_epoch_is_applied() {
    let mut lease = Lease::new(NodeId(1), Incarnation(1));
    lease.applied(Epoch(3), Epoch(0));
    lease.granted(&grant(100, 4), Millis(200));
    lease.granted(&grant(600, 5), Millis(700));
    assert!(!lease.is_valid(Millis(700)));
    lease.applied(Epoch(4), Epoch(0));
    assert!(lease.is_valid(Millis(2_099)) && !lease.is_valid(Millis(2_100)));
    lease.applied(Epoch(9), Epoch(0));
    assert!(lease.is_valid(Millis(2_599)) && !lease.is_valid(Millis(2_600)));
}

#[test]
fn grants_that_wait_are_bounded() {
    let mut lease = Lease::new(NodeId(1), Incarnation(1));
    for sent_at in 0..100 {
        lease.granted(&grant(sent_at, 7), Millis(sent_at));
        assert!(lease.pending.len() <= PENDING_MAX);
    }
}

#[test]
fn a_renewal_is_due_twice_a_second() {
    let mut lease = Lease::new(NodeId(1), Incarnation(1));
    lease.applied(Epoch(4), Epoch(0));
    let sent: Vec<_> = (0..2_000)
        .step_by(100)
        .filter_map(|now| lease.renew(Millis(now)))
        .map(|renewal| (renewal.sent_at.0, renewal.epoch.0))
        .collect();
    assert_eq!(sent, [(0, 4), (500, 4), (1_000, 4), (1_500, 4)]);
}

#[test]
fn a_renewal_that_arrives_during_a_round_waits_for_the_next() {
    let state = cluster(3);
    let mut book = LeaseBook::default();
    let arrived = book.arrived(renewal(1, 0, state.epoch()), &state);
    assert_eq!(arrived, Ok(()));
    let first = book.begin().unwrap();
    let arrived = book.arrived(renewal(2, 0, state.epoch()), &state);
    assert_eq!(arrived, Ok(()));
    assert_eq!(book.begin(), None);
    let answers = book.confirmed(first, Millis(5), &state);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0.member, NodeId(1));
    assert_eq!(book.confirmed(first, Millis(6), &state), []);
    let second = book.begin().unwrap();
    book.failed(second);
    assert_eq!(book.confirmed(second, Millis(7), &state), []);
    assert_eq!(book.begin(), None);
}

#[test]
fn a_member_that_may_not_hold_a_lease_gets_the_reason() {
    let mut state = cluster(4);
    state.apply(&status(2, MemberStatus::Down)).unwrap();
    let mut book = book(&state, &[1, 3]);
    book.failing(NodeId(3), state.epoch());
    let epoch = state.epoch();
    let other = Renewal {
        incarnation: Incarnation(2),
        ..renewal(4, 0, epoch)
    };
    let table = [
        (renewal(1, 0, epoch), None),
        (renewal(2, 0, epoch), Some(LeaseRefusal::Down)),
        (renewal(3, 0, epoch), Some(LeaseRefusal::Failing)),
        (other, Some(LeaseRefusal::OtherIncarnation(Incarnation(1)))),
    ];
    for (renewal, refusal) in table {
        book.arrived(renewal, &state).unwrap();
        let round = book.begin().unwrap();
        let answers = book.confirmed(round, Millis(10), &state);
        assert_eq!(answers[0].1.err(), refusal);
    }
    let unknown = book.arrived(renewal(9, 0, epoch), &state);
    assert_eq!(unknown, Err(LeaseRefusal::NoMember));
    book.resolved(NodeId(3));
    assert_eq!(round(&mut book, 20, &state, &[3]), [3]);
}

#[test]
fn a_member_that_is_behind_gets_no_lease_unless_it_joins() {
    let mut state = cluster(3);
    let old = state.epoch();
    let mut book = book(&state, &[1, 2, 3]);
    state.apply(&status(3, MemberStatus::Leaving)).unwrap();
    round(&mut book, 500, &state, &[1, 2]);
    // The round at the new epoch has aged, and the member still reports the old one.
    for (now, refusal) in [
        (3_499, None),
        (3_500, Some(LeaseRefusal::Behind(state.epoch()))),
    ] {
        book.arrived(renewal(3, now, old), &state).unwrap();
        let round = book.begin().unwrap();
        let answers = book.confirmed(round, Millis(now), &state);
        assert_eq!(answers[0].1.err(), refusal, "{now}");
    }
}

#[test]
fn a_member_is_down_after_three_silent_seconds() {
    let state = cluster(3);
    let mut book = book(&state, &[1, 2, 3]);
    for now in [1_000, 2_000, 3_000, 3_500] {
        round(&mut book, now, &state, &[1, 2]);
    }
    for (now, down) in [(0, None), (2_999, None), (3_000, Some(3)), (3_500, Some(3))] {
        assert_eq!(book.down(Millis(now), &state), down.map(NodeId), "{now}");
    }
}

#[test]
fn a_new_leader_waits_three_seconds_from_its_first_commit() {
    let state = cluster(3);
    let mut book = LeaseBook::default();
    assert_eq!(book.down(Millis(90_000), &state), None);
    book.first_committed(Millis(10_000), &state);
    book.first_committed(Millis(1), &state);
    for now in [11_000, 12_900] {
        round(&mut book, now, &state, &[1, 2]);
    }
    assert_eq!(book.down(Millis(12_999), &state), None);
    assert_eq!(book.down(Millis(13_000), &state), Some(NodeId(3)));
}

#[test]
fn a_member_that_comes_has_three_seconds_from_then() {
    let mut state = cluster(4);
    state.apply(&status(4, MemberStatus::Down)).unwrap();
    let mut book = book(&state, &[1, 2, 3]);
    for now in [3_000, 5_000, 7_000] {
        round(&mut book, now, &state, &[1, 2, 3]);
    }
    state.apply(&status(4, MemberStatus::Up)).unwrap();
    assert_eq!(book.down(Millis(7_000), &state), None);
    round(&mut book, 9_000, &state, &[1, 2, 3]);
    assert_eq!(book.down(Millis(9_999), &state), None);
    assert_eq!(book.down(Millis(10_000), &state), Some(NodeId(4)));
}

#[test]
fn no_member_is_down_while_most_members_are_silent() {
    // The number of members, those that still renew, and the one that is down.
    let table: [(u64, &[u64], Option<u64>); 6] = [
        (5, &[1, 2, 3], Some(4)),
        (4, &[1, 2, 3], Some(4)),
        (4, &[1, 2], Some(3)),
        (4, &[1], None),
        (5, &[1, 2], None),
        (1, &[], None),
    ];
    for (count, renewing, down) in table {
        let state = cluster(count);
        let all: Vec<u64> = (1..=count).collect();
        let mut book = book(&state, &all);
        if !renewing.is_empty() {
            round(&mut book, 2_500, &state, renewing);
        }
        let found = book.down(Millis(3_100), &state);
        assert_eq!(found, down.map(NodeId), "{count} {renewing:?}");
    }
}

#[test]
fn a_leader_that_is_confirmed_for_half_a_minute_is_not_itself_cut_off() {
    let state = cluster(5);
    let mut book = book(&state, &[1, 2, 3, 4, 5]);
    for now in (500..40_000).step_by(500) {
        round(&mut book, now, &state, &[1, 2]);
        let down = book.down(Millis(now), &state);
        // All but two are silent since 0, which shows at 3,000.
        assert_eq!(down.is_some(), now >= 3_000 + FROZEN_MS, "{now}");
    }
    // No round is confirmed any more: then the leader may be cut off after all.
    assert_eq!(book.down(Millis(60_000), &state), None);
}

#[test]
fn the_founder_of_a_cluster_waits_for_no_leases_of_others() {
    let state = cluster(1);
    let mut book = LeaseBook::default();
    book.first_committed(Millis(0), &state);
    round(&mut book, 10, &state, &[1]);
    assert_eq!(book.settled(Millis(10), &state), state.epoch());
    // Another node was a member once, and may have led.
    let mut left = cluster(2);
    left.apply(&status(2, MemberStatus::Down)).unwrap();
    if let Some(fail_over) = left.plan_fail_over(NodeId(2)) {
        left.apply(&fail_over).unwrap();
    }
    left.apply(&Command::RemoveMember(NodeId(2))).unwrap();
    let mut book = LeaseBook::default();
    book.first_committed(Millis(0), &left);
    round(&mut book, 10, &left, &[1]);
    assert_eq!(book.settled(Millis(10), &left), Epoch(0));
}

#[test]
fn a_renewal_is_urgent_when_there_is_something_to_report_or_to_learn() {
    let mut lease = Lease::new(NodeId(1), Incarnation(1));
    let sent = |lease: &mut Lease, from: u64, to: u64| -> Vec<u64> {
        let times = (from..to).step_by(10);
        let sent = times.filter_map(|now| lease.renew(Millis(now)));
        sent.map(|renewal| renewal.sent_at.0).collect()
    };
    assert_eq!(sent(&mut lease, 0, 600), [0, 500]);
    lease.applied(Epoch(7), Epoch(0));
    assert_eq!(sent(&mut lease, 600, 1_100), [600]);
    // The member owns a partition since epoch 8, which is not settled.
    lease.applied(Epoch(8), Epoch(8));
    assert_eq!(sent(&mut lease, 1_100, 1_210), [1_100, 1_150, 1_200]);
    let settled = Grant {
        settled: Epoch(8),
        ..grant(1_200, 8)
    };
    lease.granted(&settled, Millis(1_210));
    assert_eq!(sent(&mut lease, 1_210, 1_800), [1_700]);
    lease.hurry();
    assert_eq!(sent(&mut lease, 1_800, 2_000), [1_800]);
}

#[test]
fn an_epoch_is_settled_when_every_member_reports_it_or_holds_no_lease() {
    let mut state = cluster(3);
    let old = state.epoch();
    let mut book = book(&state, &[1, 2, 3]);
    round(&mut book, 3_100, &state, &[1, 2, 3]);
    assert_eq!(book.settled(Millis(3_100), &state), old);
    let reset = status(3, MemberStatus::Leaving);
    state.apply(&reset).unwrap();
    // Two members have reported the epoch, the third has not.
    round(&mut book, 3_200, &state, &[1, 2]);
    assert_eq!(book.settled(Millis(3_200), &state), old);
    // The lease of the third has run out.
    assert_eq!(book.settled(Millis(6_100), &state), state.epoch());
    // Or the third reports it.
    round(&mut book, 3_300, &state, &[3]);
    assert_eq!(book.settled(Millis(3_300), &state), state.epoch());
}

#[test]
fn a_member_that_is_down_or_was_removed_long_ago_is_not_waited_for() {
    let mut state = cluster(3);
    let mut book = book(&state, &[1, 2, 3]);
    let old = state.epoch();
    round(&mut book, 3_000, &state, &[1, 2, 3]);
    let fail_over = state.plan_fail_over(NodeId(3)).unwrap();
    state.apply(&fail_over).unwrap();
    round(&mut book, 3_100, &state, &[1, 2]);
    // The member is down and its lease may still run, so it is waited for. (No leader takes a member for down
    // so soon.)
    assert!(book.settled(Millis(3_100), &state) < state.epoch());
    round(&mut book, 6_000, &state, &[1, 2]);
    assert_eq!(book.settled(Millis(6_000), &state), state.epoch());
    // The member is removed: the lease that it may still hold is waited for.
    let mut removed = cluster(4);
    removed.apply(&status(4, MemberStatus::Down)).unwrap();
    if let Some(fail_over) = removed.plan_fail_over(NodeId(4)) {
        removed.apply(&fail_over).unwrap();
    }
    let mut other = self::book(&cluster(4), &[1, 2, 3, 4]);
    removed.apply(&Command::RemoveMember(NodeId(4))).unwrap();
    round(&mut other, 1_000, &removed, &[1, 2, 3]);
    round(&mut other, 2_900, &removed, &[1, 2, 3]);
    assert_eq!(other.settled(Millis(2_999), &removed), Epoch(0));
    assert_eq!(other.settled(Millis(3_000), &removed), removed.epoch());
    assert!(old < removed.epoch());
}

#[test]
fn a_new_leader_settles_nothing_while_grants_of_the_previous_one_may_run() {
    let state = cluster(3);
    let mut book = book(&state, &[1, 2, 3]);
    assert_eq!(book.settled(Millis(2_999), &state), Epoch(0));
    round(&mut book, 2_999, &state, &[1, 2, 3]);
    assert_eq!(book.settled(Millis(3_000), &state), state.epoch());
    assert_eq!(
        LeaseBook::default().settled(Millis(9_000), &state),
        Epoch(0)
    );
}

#[test]
fn a_fail_over_that_can_never_be_applied_is_forgotten() {
    let mut state = cluster(3);
    let mut book = book(&state, &[1, 2, 3]);
    book.failing(NodeId(3), state.epoch());
    assert_eq!(round(&mut book, 3_500, &state, &[1, 2, 3]), [1, 2]);
    // Something else was committed first: a fail-over planned for the previous epoch has no effect any more.
    state.apply(&status(2, MemberStatus::Leaving)).unwrap();
    assert_eq!(round(&mut book, 3_600, &state, &[1, 2, 3]), [1, 2, 3]);
}

#[test]
fn a_fail_over_without_an_outcome_is_proposed_again_and_nothing_is_granted_meanwhile() {
    let mut state = cluster(3);
    let mut book = book(&state, &[1, 2, 3]);
    round(&mut book, 3_000, &state, &[1, 2]);
    assert_eq!(book.down(Millis(3_000), &state), Some(NodeId(3)));
    book.failing(NodeId(3), state.epoch());
    book.unresolved(NodeId(3));
    // The first proposal may have been lost.
    assert_eq!(book.down(Millis(3_100), &state), Some(NodeId(3)));
    book.failing(NodeId(3), state.epoch());
    // The second was refused, but the first may still be applied.
    book.resolved(NodeId(3));
    assert_eq!(round(&mut book, 3_200, &state, &[1, 2, 3]), [1, 2]);
    state.apply(&status(2, MemberStatus::Leaving)).unwrap();
    assert_eq!(round(&mut book, 3_300, &state, &[1, 2, 3]), [1, 2, 3]);
}

#[test]
fn a_member_that_never_applies_anything_does_not_delay_settlement() {
    let mut state = cluster(3);
    let mut book = book(&state, &[1, 2]);
    let joins = |now| Renewal {
        moves: MoveReport::default(),
        epoch: Epoch(0),
        ..renewal(3, now, Epoch(0))
    };
    state.apply(&status(3, MemberStatus::Down)).unwrap();
    for now in [3_100, 3_200] {
        round(&mut book, now, &state, &[1, 2]);
    }
    let joined = crate::topology::fixtures::joiner(4);
    state.apply(&Command::Join(joined)).unwrap();
    let member = state.members().last().unwrap().id;
    for now in [4_000, 4_100] {
        let renewal = Renewal {
            member,
            ..joins(now)
        };
        book.arrived(renewal, &state).unwrap();
        round(&mut book, now, &state, &[1, 2]);
    }
    // The member was granted a lease that counts only once it has applied this epoch.
    assert_eq!(book.settled(Millis(4_100), &state), state.epoch());
    assert_eq!(book.behind(Millis(4_100), state.epoch()).count(), 0);
}
