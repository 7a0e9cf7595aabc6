//! Tests of which partitions begin to move, and of how moves end.

use super::*;
use crate::topology::commands::Joiner;
use crate::topology::fixtures::{cluster, joiner, status};

/// A cluster of `count` members, and one more that is up and owns nothing.
fn joined(count: u64) -> State {
    let mut state = cluster(count);
    let next = Joiner {
        ..joiner(count + 1)
    };
    state.apply(&Command::Join(next)).unwrap();
    state.apply(&status(count + 1, MemberStatus::Up)).unwrap();
    state
}

fn applied(state: &mut State, plan: impl FnOnce(&State) -> Option<Command>) {
    let command = plan(state).expect("there is something to do");
    state.apply(&command).unwrap();
}

fn moving(state: &State) -> usize {
    let moves = state.table().iter().filter(|(_, at)| at.move_to.is_some());
    moves.count()
}

const NEWCOMER: NodeId = NodeId(4);

#[test]
fn a_newcomer_gets_its_fair_share_in_waves_and_no_other_partition_moves() {
    let mut state = joined(3);
    let before = PartitionTable::clone(state.table());
    let mut book = MoveBook::default();
    let mut waves = 0;
    while let Some(prepare) = state.plan_moves(512) {
        state.apply(&prepare).unwrap();
        assert_eq!(moving(&state), 512);
        assert_eq!(state.plan_moves(512), None, "one wave at a time");
        let tenure = Tenure(state.epoch().0);
        let warmed = MoveReport {
            warmed: tenure,
            ..MoveReport::default()
        };
        book.reported(NEWCOMER, warmed);
        applied(&mut state, |state| {
            book.next(Millis(0), state, state.epoch())
        });
        assert_eq!(moving(&state), 0);
        waves += 1;
    }
    assert_eq!(waves, 2);
    assert_eq!(state.table().owned_by(NEWCOMER), 1_024);
    for (partition, at) in state.table().iter() {
        let was = before[partition];
        if at.owner == Some(NEWCOMER) {
            assert!(at.since.0 > at.tenure.0 && at.inherits.is_none());
            assert!(at.standby.is_some_and(|standby| standby != NEWCOMER));
        } else {
            assert_eq!((at.owner, at.tenure), (was.owner, was.tenure));
        }
    }
}

#[test]
fn a_move_ends_once_all_members_know_of_it_and_it_is_warm_or_late() {
    let mut state = joined(3);
    applied(&mut state, |state| state.plan_moves(WAVE_MAX));
    let tenure = Tenure(state.epoch().0);
    let (unsettled, settled) = (Epoch(tenure.0 - 1), state.epoch());
    let report = |warmed| MoveReport {
        warmed,
        ..MoveReport::default()
    };
    let mut book = MoveBook::default();
    book.reported(NEWCOMER, report(tenure));
    assert_eq!(book.next(Millis(9_000), &state, unsettled), None);
    book.reported(NEWCOMER, report(Tenure(tenure.0 - 1)));
    assert_eq!(book.next(Millis(10_000), &state, settled), None);
    assert_eq!(book.next(Millis(11_999), &state, settled), None);
    let late = book.next(Millis(12_000), &state, settled);
    assert!(matches!(late, Some(Command::ActivateMoves(_))));
    book.reported(NEWCOMER, report(tenure));
    let warm = book.next(Millis(10_001), &state, settled);
    assert_eq!(warm, late);
}

#[test]
fn a_move_whose_owner_cannot_send_is_given_up_and_the_others_go_on() {
    let mut state = joined(3);
    applied(&mut state, |state| state.plan_moves(WAVE_MAX));
    let tenure = Tenure(state.epoch().0);
    let mut book = MoveBook::default();
    let broken = MoveReport {
        broken: tenure,
        ..MoveReport::default()
    };
    book.reported(NodeId(1), broken);
    let settled = state.epoch();
    let abort = book.next(Millis(0), &state, Epoch(0));
    assert!(matches!(abort, Some(Command::AbortMoves(_))));
    applied(&mut state, |_| abort);
    assert!(moving(&state) > 0);
    for (_, at) in state.table().iter() {
        assert!(at.owner != Some(NodeId(1)) || at.move_to.is_none());
    }
    assert_eq!(book.next(Millis(1), &state, settled), None);
}

#[test]
fn a_move_to_a_member_that_leaves_is_given_up() {
    let mut state = joined(3);
    applied(&mut state, |state| state.plan_moves(WAVE_MAX));
    state.apply(&status(4, MemberStatus::Leaving)).unwrap();
    let abort = MoveBook::default().next(Millis(0), &state, state.epoch());
    applied(&mut state, |_| abort);
    assert_eq!(moving(&state), 0);
    assert_eq!(
        state.plan_moves(WAVE_MAX),
        None,
        "no other member should have them"
    );
}

/// A cluster of three members whose second leaves, so that all its partitions are moving; and the tenure of
/// these moves.
fn leaving() -> (State, Tenure) {
    let mut state = cluster(3);
    state.apply(&status(2, MemberStatus::Leaving)).unwrap();
    applied(&mut state, |state| state.plan_moves(1));
    assert_eq!(moving(&state), state.table().owned_by(NodeId(2)));
    let tenure = Tenure(state.epoch().0);
    (state, tenure)
}

#[test]
fn partitions_of_a_leaving_member_move_for_as_long_as_it_takes() {
    let (mut state, tenure) = leaving();
    let all = moving(&state);
    let mut book = MoveBook::default();
    for now in [0, MOVE_MAX_MS, LEAVE_MOVE_MAX_MS - 1] {
        assert_eq!(book.next(Millis(now), &state, state.epoch()), None, "{now}");
    }
    let mut late = book.clone();
    let late = late.next(Millis(LEAVE_MOVE_MAX_MS), &state, state.epoch());
    let mut other = state.clone();
    applied(&mut other, |_| late);
    assert_eq!(other.table().owned_by(NodeId(2)), 0);
    // A new owner that has all entries owns its part; the other move goes on.
    for target in [NodeId(1), NodeId(3)] {
        assert!(moving(&state) > 0);
        let warmed = MoveReport {
            warmed: tenure,
            ..MoveReport::default()
        };
        book.reported(target, warmed);
        applied(&mut state, |state| {
            book.next(Millis(9), state, state.epoch())
        });
        assert!(moving(&state) < all);
    }
    assert_eq!(state.table().owned_by(NodeId(2)), 0);
}

#[test]
fn a_leaving_member_reports_when_its_time_is_up() {
    let (mut state, _) = leaving();
    let mut book = MoveBook::default();
    let stops_soon = MoveReport {
        stops_soon: true,
        ..MoveReport::default()
    };
    book.reported(NodeId(2), stops_soon);
    let unsettled = Epoch(state.epoch().0 - 1);
    assert_eq!(book.next(Millis(0), &state, unsettled), None);
    applied(&mut state, |state| {
        book.next(Millis(0), state, state.epoch())
    });
    assert_eq!(state.table().owned_by(NodeId(2)), 0);
    // The same report of a member that stays has no effect.
    let mut state = joined(3);
    applied(&mut state, |state| state.plan_moves(WAVE_MAX));
    for id in 1..=4 {
        book.reported(NodeId(id), stops_soon);
    }
    assert_eq!(book.next(Millis(0), &state, state.epoch()), None);
}

#[test]
fn moves_from_others_do_not_wait_for_a_leaving_member() {
    let mut state = joined(3);
    state.apply(&Command::Join(joiner(5))).unwrap();
    state.apply(&status(5, MemberStatus::Up)).unwrap();
    state.apply(&status(2, MemberStatus::Leaving)).unwrap();
    let owned = state.table().owned_by(NodeId(2));
    applied(&mut state, |state| state.plan_moves(64));
    assert_eq!(moving(&state), owned + 64);
    let mut book = MoveBook::default();
    assert_eq!(book.next(Millis(0), &state, state.epoch()), None);
    applied(&mut state, |state| {
        book.next(Millis(MOVE_MAX_MS), state, state.epoch())
    });
    assert_eq!(moving(&state), owned);
    assert_eq!(state.table().owned_by(NodeId(2)), owned);
    applied(&mut state, |state| state.plan_fail_over(NodeId(2)));
    assert_eq!((moving(&state), state.table().owned_by(NodeId(2))), (0, 0));
}

#[test]
fn the_next_owner_of_a_moving_partition_takes_it_warm_when_its_owner_dies() {
    let mut state = joined(3);
    applied(&mut state, |state| state.plan_moves(WAVE_MAX));
    let tenure = Tenure(state.epoch().0);
    let before = PartitionTable::clone(state.table());
    applied(&mut state, |state| state.plan_fail_over(NodeId(1)));
    let mut warm = 0;
    for (partition, at) in state.table().iter() {
        let was = before[partition];
        assert_ne!(at.owner, Some(NodeId(1)));
        if was.owner == Some(NodeId(1)) && was.move_to.is_some() {
            assert_eq!((at.owner, at.inherits), (Some(NEWCOMER), Some(tenure)));
            assert!(at.move_to.is_none() && at.tenure > tenure);
            warm += 1;
        } else if was.owner == Some(NodeId(1)) {
            assert_eq!((at.owner, at.inherits), (was.standby, None));
        }
    }
    assert!(warm > 100, "{warm}");
}
