//! Claims about which version is in use, and what is refused before that.

use super::*;
use crate::ids::{Incarnation, NodeId};
use crate::topology::commands::{Joiner, Resume};

/// A cluster in which version 2 is in use, and whose members but the last know version 3.
fn upgraded() -> State {
    let mut state = cluster(3);
    for id in [1, 2] {
        resume(&mut state, id, 3);
    }
    state
}

/// Member `id` starts again with an executable that knows `version`.
fn resume(state: &mut State, id: u64, version: u32) {
    let node = Joiner {
        incarnation: Incarnation(2),
        version,
        ..joiner(id)
    };
    let id = NodeId(id);
    state.apply(&Command::Resume(Resume { id, node })).unwrap();
}

#[test]
fn a_version_comes_into_use_once_every_member_knows_it_and_only_once() {
    let mut state = upgraded();
    let known = state.known_version();
    let refused = state.apply(&Command::Finalize(3));
    assert_eq!(refused, Err(Refusal::NotKnown { needs: 3, known }));
    resume(&mut state, 3, 3);
    let epoch = state.epoch();
    let finalized = state.apply(&Command::Finalize(3));
    assert_eq!(finalized, Ok(Change::Finalized(3)));
    // The topology is the same, and so is the state if it is asked for again.
    assert_eq!((state.version(), state.epoch()), (3, epoch));
    assert_eq!(state.apply(&Command::Finalize(3)), Ok(Change::Nothing));
    let older = state.apply(&Command::Join(joiner(4)));
    let (ours, theirs) = (3, joiner(4).version);
    assert_eq!(older, Err(Refusal::TooOld { ours, theirs }));
}

/// An executable of the oldest release could not even read it.
#[test]
fn a_version_that_needs_no_finalizing_is_refused_before_it_is_proposed() {
    let state = upgraded();
    for version in [0, 1, 2] {
        let refused = state.may_use(&Command::Finalize(version));
        assert_eq!(refused, Err(Refusal::NeedsNoFinalizing(version)));
    }
}

#[test]
fn a_command_that_a_member_does_not_know_is_refused_when_it_is_applied() {
    let mut state = cluster(2);
    let old = Joiner {
        version: 1,
        ..joiner(3)
    };
    state.version = 1;
    state.apply(&Command::Join(old)).unwrap();
    let (needs, known) = (2, 1);
    let refused = state.apply(&Command::SetPaused(true));
    assert_eq!(refused, Err(Refusal::NotKnown { needs, known }));
}
