//! Claims about owners, tenures, moves and failures, and about the plans for them.

use super::*;
use crate::ids::{Incarnation, NodeId, Partition};
use crate::topology::commands::{
    AbortRun, ActivateRun, Assign, FailOver, MoveRun, PrepareMoves, Run,
};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::{Assignment, PendingMove};

const P: Partition = Partition(100);

fn run(first: u16, count: u16, owner: u64, standby: u64) -> Run {
    let id = |id: u64| (id != 0).then_some(NodeId(id));
    Run {
        first: Partition(first),
        count,
        owner: id(owner),
        standby: id(standby),
        is_inheriting: false,
    }
}

fn assign(state: &State, runs: &[Run]) -> Command {
    Command::Assign(Assign {
        expected: state.epoch(),
        runs: runs.to_vec(),
    })
}

fn prepare(state: &State, to: u64) -> Command {
    let run = MoveRun {
        first: P,
        count: 2,
        to: NodeId(to),
    };
    Command::PrepareMoves(PrepareMoves {
        expected: state.epoch(),
        runs: vec![run],
    })
}

fn activate(tenure: Tenure, standby: u64) -> Command {
    let standby = Some(NodeId(standby));
    Command::ActivateMoves(vec![ActivateRun {
        first: P,
        count: 2,
        tenure,
        standby,
    }])
}

fn abort(tenure: Tenure) -> Command {
    Command::AbortMoves(vec![AbortRun {
        first: P,
        count: 2,
        tenure,
    }])
}

/// Three members; member 1 owns [`P`] and the next partition, and 2 is their standby.
fn three() -> State {
    let mut state = cluster(3);
    let command = assign(&state, &[run(P.0, 2, 1, 2)]);
    state.apply(&command).unwrap();
    state
}

#[test]
fn a_new_owner_begins_a_tenure_and_a_new_standby_does_not() {
    let mut state = three();
    let was = state.table()[P];
    let command = assign(&state, &[run(P.0, 1, 1, 3)]);
    changed(&mut state, &command);
    let standby = Some(NodeId(3));
    assert_eq!(state.table()[P], Assignment { standby, ..was });
    let command = assign(&state, &[run(P.0, 1, 3, 1)]);
    changed(&mut state, &command);
    let expected = Assignment {
        owner: Some(NodeId(3)),
        standby: Some(NodeId(1)),
        tenure: Tenure(state.epoch().0),
        since: state.epoch(),
        ..Assignment::default()
    };
    assert_eq!(state.table()[P], expected);
    let command = assign(&state, &[run(P.0, 1, 3, 1)]);
    unchanged(&mut state, &command);
}

#[test]
fn a_wrong_plan_is_refused_as_a_whole() {
    let mut state = three();
    state.apply(&Command::Join(joiner(4))).unwrap();
    let id = NodeId;
    let good = run(7, 1, 2, 3);
    let cases = [
        (run(P.0, 1, 9, 1), Refusal::UnknownMember(id(9))),
        (run(P.0, 1, 1, 9), Refusal::UnknownMember(id(9))),
        (
            run(P.0, 1, 1, 1),
            Refusal::OwnStandby {
                partition: P,
                id: id(1),
            },
        ),
        (run(P.0, 1, 0, 1), Refusal::NoOwner(P)),
        (
            run(P.0, 1, 4, 1),
            Refusal::NotUp {
                partition: P,
                id: id(4),
                status: MemberStatus::Joining,
            },
        ),
        (
            run(4095, 2, 1, 2),
            Refusal::OutOfRange {
                first: Partition(4095),
                count: 2,
            },
        ),
        (
            run(P.0, 0, 1, 2),
            Refusal::OutOfRange { first: P, count: 0 },
        ),
        (
            run(u16::MAX, u16::MAX, 1, 2),
            Refusal::OutOfRange {
                first: Partition(u16::MAX),
                count: u16::MAX,
            },
        ),
        (run(5, 4, 1, 2), Refusal::NamedTwice(Partition(7))),
    ];
    for (bad, refusal) in cases {
        let command = assign(&state, &[good, bad]);
        assert_eq!(refused(&mut state, &command), refusal);
    }
    let mut stale = three();
    let command = assign(&stale, &[good]);
    stale.apply(&Command::Join(joiner(4))).unwrap();
    assert!(matches!(
        refused(&mut stale, &command),
        Refusal::StaleEpoch { .. }
    ));
}

#[test]
fn a_move_ends_with_the_tenure_that_it_began_with() {
    let mut state = three();
    let was = state.table()[P];
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let tenure = Tenure(state.epoch().0);
    let move_to = Some(PendingMove {
        to: NodeId(3),
        tenure,
    });
    assert_eq!(state.table()[P], Assignment { move_to, ..was });
    let command = assign(&state, &[run(P.0, 1, 2, 1)]);
    assert!(matches!(
        refused(&mut state, &command),
        Refusal::Moving { .. }
    ));
    let command = prepare(&state, 2);
    assert!(matches!(
        refused(&mut state, &command),
        Refusal::Moving { .. }
    ));
    assert!(matches!(
        refused(&mut state, &activate(tenure, 3)),
        Refusal::OwnStandby { .. }
    ));
    changed(&mut state, &status(2, MemberStatus::Leaving));
    changed(&mut state, &activate(tenure, 1));
    let expected = Assignment {
        owner: Some(NodeId(3)),
        standby: Some(NodeId(1)),
        tenure,
        since: state.epoch(),
        ..Assignment::default()
    };
    assert_eq!(state.table()[P], expected);
    assert!(state.table()[P].tenure > was.tenure);
}

#[test]
fn the_tenure_of_an_aborted_move_is_never_used() {
    let mut state = three();
    let was = state.table()[P];
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let first = Tenure(state.epoch().0);
    changed(&mut state, &abort(first));
    assert_eq!(state.table()[P], was);
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let gone = Refusal::NoSuchMove {
        partition: P,
        tenure: first,
    };
    assert_eq!(refused(&mut state, &activate(first, 2)), gone);
    assert_eq!(refused(&mut state, &abort(first)), gone);
    let second = Tenure(state.epoch().0);
    changed(&mut state, &activate(second, 2));
    assert_eq!(state.table()[P].tenure, second);
}

#[test]
fn a_move_goes_from_an_owner_to_another_member_that_is_up() {
    let mut state = three();
    for (to, refusal) in [
        (
            1,
            Refusal::OwnsAlready {
                partition: P,
                id: NodeId(1),
            },
        ),
        (9, Refusal::UnknownMember(NodeId(9))),
    ] {
        let command = prepare(&state, to);
        assert_eq!(refused(&mut state, &command), refusal);
    }
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let tenure = Tenure(state.epoch().0);
    changed(&mut state, &status(3, MemberStatus::Down));
    assert!(matches!(
        refused(&mut state, &activate(tenure, 2)),
        Refusal::NotUp { .. }
    ));
    let command = assign(&state, &[run(P.0 + 7, 1, 0, 0)]);
    changed(&mut state, &command);
    let orphan = Partition(P.0 + 7);
    let moving = MoveRun {
        first: orphan,
        count: 1,
        to: NodeId(2),
    };
    let command = Command::PrepareMoves(PrepareMoves {
        expected: state.epoch(),
        runs: vec![moving],
    });
    assert_eq!(refused(&mut state, &command), Refusal::NoOwner(orphan));
}

#[test]
fn a_failed_member_loses_all_in_one_epoch() {
    let mut state = three();
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let was = state.table().clone();
    let Some(plan) = state.plan_fail_over(NodeId(1)) else {
        panic!("member 1 owns partitions");
    };
    changed(&mut state, &plan);
    assert_eq!(state.member(NodeId(1)).unwrap().status, MemberStatus::Down);
    let tenure = Tenure(state.epoch().0);
    for (partition, now) in state.table().iter() {
        let was = was[partition];
        if was.owner == Some(NodeId(1)) {
            // To the target of the move, or to the standby.
            let heir = was.move_to.map(|moving| moving.to).or(was.standby);
            assert_eq!((now.owner, now.tenure), (heir, tenure));
        } else {
            assert_eq!((now.owner, now.tenure), (was.owner, was.tenure));
        }
        assert!(now.standby.is_some() && now.standby != Some(NodeId(1)));
        assert_eq!(now.move_to, None);
    }
    assert_eq!(state.plan_fail_over(NodeId(1)), None);
    if let Some(plan) = state.plan_assign() {
        changed(&mut state, &plan);
    }
    assert_eq!(state.table().owned_by(NodeId(2)), 2048);
}

#[test]
fn a_move_to_a_failed_member_is_given_up() {
    let mut state = three();
    let was = state.table()[P];
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let plan = state.plan_fail_over(NodeId(3)).unwrap();
    changed(&mut state, &plan);
    assert_eq!(state.table()[P], was);
}

#[test]
fn a_failed_member_is_given_nothing() {
    let mut state = three();
    let fail = |state: &State, incarnation, runs: &[Run]| {
        Command::FailOver(FailOver {
            expected: state.epoch(),
            id: NodeId(1),
            incarnation: Incarnation(incarnation),
            runs: runs.to_vec(),
        })
    };
    for owner in [(1, 2), (2, 1)] {
        let command = fail(&state, 1, &[run(P.0, 1, owner.0, owner.1)]);
        assert!(matches!(
            refused(&mut state, &command),
            Refusal::FailedOver { .. }
        ));
    }
    let command = fail(&state, 2, &[]);
    assert!(matches!(
        refused(&mut state, &command),
        Refusal::OtherIncarnation { .. }
    ));
    let command = fail(&state, 1, &[]);
    changed(&mut state, &command);
    let command = fail(&state, 1, &[]);
    unchanged(&mut state, &command);
}

#[test]
fn a_plan_is_made_until_shares_are_even_and_leaves_moves_alone() {
    let mut state = three();
    let command = prepare(&state, 3);
    changed(&mut state, &command);
    let moving = state.table()[P];
    state.apply(&Command::Join(joiner(4))).unwrap();
    changed(&mut state, &status(4, MemberStatus::Up));
    let plan = state.plan_assign().unwrap();
    changed(&mut state, &plan);
    assert_eq!(state.table()[P], moving);
    let owned = state.table().owned_by(NodeId(4));
    assert!((1020..=1024).contains(&owned), "{owned}");
    for id in 1..=4 {
        state.apply(&status(id, MemberStatus::Down)).unwrap();
    }
    assert_eq!(state.plan_assign(), None, "no member is up");
    assert_eq!(state.plan_fail_over(NodeId(9)), None);
}
