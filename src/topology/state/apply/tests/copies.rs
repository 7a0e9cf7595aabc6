//! Claims about copies: when there are some, since when they count, and which members inherit them.

use super::*;
use crate::ids::{NodeId, Partition, Tenure};
use crate::topology::commands::{Assign, CopiesRun, Run};
use crate::topology::fixtures::{set_groups, table_spec};
use crate::topology::model::group::GroupSpec;
use crate::topology::model::partitions::Copies;

const P: Partition = Partition(100);

fn spec(copies: u8) -> GroupSpec {
    GroupSpec {
        copies,
        ..table_spec("t", 60)
    }
}

fn set(state: &mut State, upserts: &[(&str, GroupSpec)], removed: &[&str]) {
    let command = Command::SetGroups(set_groups(state.revision(), upserts, removed));
    changed(state, &command);
}

fn give(state: &mut State, owner: u64, standby: u64, is_inheriting: bool) -> Command {
    Command::Assign(Assign {
        expected: state.epoch(),
        runs: vec![Run {
            first: P,
            count: 1,
            owner: Some(NodeId(owner)),
            standby: Some(NodeId(standby)),
            is_inheriting,
        }],
    })
}

fn assign(state: &mut State, owner: u64, standby: u64) {
    let command = give(state, owner, standby, false);
    changed(state, &command);
}

/// Three members and a group of two copies; member 1 owns [`P`], and 2 is its standby.
fn copied() -> State {
    let mut state = cluster(3);
    assign(&mut state, 3, 1);
    assign(&mut state, 1, 2);
    set(&mut state, &[("a", spec(2))], &[]);
    state
}

fn copies(state: &State) -> Copies {
    state.table()[P].copies
}

fn now(state: &State) -> Copies {
    Copies {
        since: state.epoch(),
        are_kept: true,
    }
}

#[test]
fn copies_count_from_the_last_change_of_owner_standby_or_copied_groups() {
    let mut state = cluster(3);
    assign(&mut state, 3, 1);
    set(&mut state, &[("a", spec(1))], &[]);
    assert_eq!(copies(&state), Copies::default(), "no group has two copies");
    set(&mut state, &[("a", spec(2))], &[]);
    assert_eq!(copies(&state), now(&state));
    for (owner, standby) in [(1, 2), (1, 3), (1, 2), (2, 1)] {
        assign(&mut state, owner, standby);
        assert_eq!(copies(&state), now(&state), "{owner} {standby}");
    }
    let before = copies(&state);
    // A change of one group that does not change which groups are copied leaves the copies as they are.
    set(&mut state, &[("b", spec(2)), ("c", spec(1))], &[]);
    assert_eq!(copies(&state), before);
    set(&mut state, &[], &["b"]);
    assert_eq!(copies(&state), before);
    set(&mut state, &[("c", spec(2))], &[]);
    assert_eq!(copies(&state), now(&state));
    let since = |state: &State| {
        let mut groups = state.groups();
        let group = groups.find(|group| group.name.as_ref() == "c");
        group.unwrap().copies_since
    };
    let two = state.epoch();
    assert_eq!(since(&state), two);
    set(&mut state, &[("d", spec(1))], &[]);
    assert_eq!(since(&state), two);
    set(&mut state, &[("c", spec(1))], &["a"]);
    assert_eq!(since(&state), state.epoch());
    let nothing = Copies {
        since: state.epoch(),
        are_kept: false,
    };
    assert_eq!(copies(&state), nothing);
    // Then the owner has to wait for no member.
    assign(&mut state, 2, 3);
    assert_eq!(copies(&state), nothing);
}

#[test]
fn only_a_standby_with_copies_inherits_and_only_its_copies() {
    let mut state = copied();
    let stamp = copies(&state).stamp().unwrap();
    let to_another = give(&mut state, 3, 1, true);
    let nothing = |id| Refusal::NothingToInherit {
        partition: P,
        id: NodeId(id),
    };
    assert_eq!(refused(&mut state, &to_another), nothing(3));
    let to_standby = give(&mut state, 2, 3, true);
    changed(&mut state, &to_standby);
    let at = state.table()[P];
    assert_eq!((at.inherits, at.copies), (Some(stamp), now(&state)));
    assert!(at.tenure > stamp);
    let mut single = cluster(3);
    assign(&mut single, 1, 3);
    let to_standby = give(&mut single, 3, 2, true);
    assert_eq!(refused(&mut single, &to_standby), nothing(3));
}

#[test]
fn a_standby_that_comes_back_inherits_nothing_from_before() {
    let mut state = copied();
    let first = copies(&state).stamp().unwrap();
    assign(&mut state, 1, 3);
    assign(&mut state, 1, 2);
    let plan = state.plan_fail_over(NodeId(1)).unwrap();
    changed(&mut state, &plan);
    let at = state.table()[P];
    assert_eq!(at.owner, Some(NodeId(2)));
    assert!(at.inherits.is_some_and(|inherits| inherits > first));
}

#[test]
fn copies_are_taken_away_and_given_back_as_new_ones() {
    let mut state = copied();
    let since = copies(&state).since;
    let run = |since, are_kept| {
        Command::SetCopies(vec![CopiesRun {
            first: P,
            count: 1,
            since,
            are_kept,
        }])
    };
    let later = Epoch(since.0 + 1);
    let other = Refusal::OtherCopies {
        partition: P,
        expected: later,
        found: since,
    };
    assert_eq!(refused(&mut state, &run(later, false)), other);
    changed(&mut state, &run(since, false));
    let taken = copies(&state);
    assert_eq!((taken.since, taken.stamp()), (state.epoch(), None));
    let plan = state.plan_fail_over(NodeId(1)).unwrap();
    let mut failed = state.clone();
    changed(&mut failed, &plan);
    assert_eq!(
        failed.table()[P].inherits,
        None,
        "it did not receive deletes"
    );
    unchanged(&mut state, &run(taken.since, false));
    changed(&mut state, &run(taken.since, true));
    assert_eq!(copies(&state).stamp(), Some(Tenure(state.epoch().0)));
    let mut single = cluster(3);
    let refusal = Refusal::NobodyCopies(P);
    assert_eq!(refused(&mut single, &run(Epoch(0), true)), refusal);
}
