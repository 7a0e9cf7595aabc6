//! Tests of which standbys lose copies and get them back, and of which inherit them.

use super::*;
use crate::hash::PARTITIONS;
use crate::topology::fixtures::{cluster, set_groups, table_spec};
use crate::topology::model::group::GroupSpec;
use crate::topology::model::partitions::Assignment;
use crate::topology::moves::{MoveBook, MoveReport};

fn applied(state: &mut State, plan: impl FnOnce(&State) -> Option<Command>) {
    let command = plan(state).expect("there is something to do");
    state.apply(&command).unwrap();
}

/// A cluster of three members with a group of two copies.
fn copied() -> State {
    let mut state = cluster(3);
    let spec = GroupSpec {
        copies: 2,
        ..table_spec("t", 60)
    };
    let set = set_groups(0, &[("a", spec)], &[]);
    state.apply(&Command::SetGroups(set)).unwrap();
    state
}

/// The number of partitions that member 1 owns and member 2 has copies of.
fn pair(state: &State) -> usize {
    let is_it = |at: &Assignment| {
        (at.owner, at.standby) == (Some(NodeId(1)), Some(NodeId(2))) && at.copies.are_kept
    };
    state.table().iter().filter(|(_, at)| is_it(at)).count()
}

fn unheard(state: &State) -> MoveReport {
    MoveReport {
        unheard: Some(Unheard {
            standby: NodeId(2),
            since: state.epoch(),
        }),
        ..MoveReport::default()
    }
}

#[test]
fn an_unheard_standby_loses_its_copies_of_that_owner_and_no_others() {
    let mut state = copied();
    let all = |state: &State| {
        let kept = state.table().iter().filter(|(_, at)| at.copies.are_kept);
        kept.count()
    };
    let (before, its) = (all(&state), pair(&state));
    assert!(before == PARTITIONS && its > 500, "{before} {its}");
    let mut book = MoveBook::default();
    let next = |book: &mut MoveBook, state: &State, at| book.next(Millis(at), state, state.epoch());
    assert_eq!(next(&mut book, &state, 0), None);
    let report = unheard(&state);
    book.reported(NodeId(1), report);
    applied(&mut state, |state| next(&mut book, state, 0));
    assert_eq!((pair(&state), all(&state)), (0, before - its));
    assert_eq!(next(&mut book, &state, 9_999), None);
    applied(&mut state, |state| next(&mut book, state, 10_000));
    assert_eq!((pair(&state), all(&state)), (its, before));
    // The report is about earlier copies.
    assert_eq!(next(&mut book, &state, 10_100), None);
}

#[test]
fn a_standby_that_is_unheard_again_gets_no_copies_for_longer() {
    let mut state = copied();
    let mut book = MoveBook::default();
    let mut now = 0;
    let mut next = |state: &mut State, report: Option<MoveReport>, at| {
        book.reported(NodeId(1), report.unwrap_or_default());
        let command = book.next(Millis(at), state, state.epoch());
        command.map(|command| state.apply(&command).unwrap())
    };
    for pause in [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 320_000] {
        let report = unheard(&state);
        assert!(next(&mut state, Some(report), now).is_some());
        assert!(next(&mut state, None, now + pause - 1).is_none(), "{pause}");
        assert!(next(&mut state, None, now + pause).is_some(), "{pause}");
        now += pause + 1_000;
    }
    now += 1_000_000;
    let report = unheard(&state);
    assert!(next(&mut state, Some(report), now).is_some());
    assert!(next(&mut state, None, now + 10_000).is_some());
}

#[test]
fn a_standby_with_copies_inherits_them_and_one_that_lost_them_does_not() {
    let mut state = copied();
    let failed = |state: &State| {
        let mut state = state.clone();
        applied(&mut state, |state| state.plan_fail_over(NodeId(1)));
        let heirs = state.table().iter().filter(|(_, at)| at.inherits.is_some());
        heirs.count()
    };
    let owned = state.table().owned_by(NodeId(1));
    assert_eq!(failed(&state), owned);
    let its = pair(&state);
    let mut book = MoveBook::default();
    let report = unheard(&state);
    book.reported(NodeId(1), report);
    applied(&mut state, |state| {
        book.next(Millis(0), state, state.epoch())
    });
    assert_eq!(failed(&state), owned - its);
}
