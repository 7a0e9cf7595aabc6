//! Claims about a ring that an operator has paused.

use super::*;
use crate::ids::NodeId;
use crate::topology::model::member::MemberStatus;

fn paused(state: &mut State, is_paused: bool) {
    changed(state, &Command::SetPaused(is_paused));
    assert_eq!(state.is_paused(), is_paused);
}

#[test]
fn a_paused_ring_can_be_paused_again_and_nothing_changes() {
    let mut state = cluster(3);
    paused(&mut state, true);
    unchanged(&mut state, &Command::SetPaused(true));
    paused(&mut state, false);
    unchanged(&mut state, &Command::SetPaused(false));
}

#[test]
fn a_plan_that_was_made_before_the_pause_is_refused() {
    let mut state = cluster(3);
    changed(&mut state, &Command::Join(joiner(4)));
    changed(&mut state, &status(4, MemberStatus::Up));
    let (moves, assign) = (state.plan_moves(64).unwrap(), state.plan_assign().unwrap());
    let expected = state.epoch();
    paused(&mut state, true);
    let found = state.epoch();
    for plan in [moves, assign] {
        let refusal = refused(&mut state, &plan);
        assert_eq!(refusal, Refusal::StaleEpoch { expected, found });
    }
}

#[test]
fn moves_that_were_prepared_before_it_can_end() {
    let mut state = cluster(3);
    changed(&mut state, &Command::Join(joiner(4)));
    changed(&mut state, &status(4, MemberStatus::Up));
    let prepare = state.plan_moves(64).unwrap();
    changed(&mut state, &prepare);
    paused(&mut state, true);
    let mut book = crate::topology::moves::MoveBook::default();
    let settled = state.epoch();
    let now = crate::ids::Millis;
    assert_eq!(book.next(now(0), &state, settled), None);
    let activate = book.next(now(u64::MAX >> 1), &state, settled).unwrap();
    changed(&mut state, &activate);
    assert_eq!(state.table().owned_by(NodeId(4)), 64);
}

#[test]
fn only_partitions_that_no_member_answers_for_are_given_to_others() {
    let mut state = cluster(3);
    changed(&mut state, &Command::Join(joiner(4)));
    changed(&mut state, &status(4, MemberStatus::Up));
    paused(&mut state, true);
    assert_eq!(state.plan_rescue(), None, "every owner answers");
    let before: Vec<_> = state.table().iter().map(|(_, at)| at.owner).collect();
    // At first no member is up to take over, and then one that owns nothing is.
    for n in [1, 2, 3] {
        changed(&mut state, &status(n, MemberStatus::Leaving));
    }
    assert_eq!(state.plan_rescue(), None, "they answer until they stop");
    changed(&mut state, &status(4, MemberStatus::Down));
    let fail_over = state.plan_fail_over(NodeId(3)).unwrap();
    changed(&mut state, &fail_over);
    assert_eq!(state.plan_rescue(), None, "no member could take it");
    changed(&mut state, &status(4, MemberStatus::Up));
    let rescue = state.plan_rescue().unwrap();
    changed(&mut state, &rescue);
    for ((_, at), was) in state.table().iter().zip(before) {
        let owner = match was {
            Some(NodeId(3)) => Some(NodeId(4)),
            was => was,
        };
        assert_eq!(at.owner, owner);
    }
    assert_eq!(state.plan_rescue(), None, "it is done");
}
