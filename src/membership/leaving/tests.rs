//! When a member has left, and how long its process waits for that.

use super::*;
use crate::topology::commands::{Joiner, Resume};
use crate::topology::fixtures::{cluster, named, status};
use crate::topology::model::quorum::Quorum;

const OWN: NodeId = NodeId(3);

fn leaving() -> Leaving {
    Leaving::new(OWN, Incarnation(1), Millis(0))
}

/// `state` with what all members with a lease have applied.
fn seen(state: &State, settled: Epoch, leads: Leads) -> Seen<'_> {
    Seen {
        state,
        settled,
        leads,
    }
}

/// A cluster of `count` members, of which the last leaves.
fn announced(count: u64) -> State {
    let mut state = cluster(count);
    state.apply(&status(count, MemberStatus::Leaving)).unwrap();
    state
}

/// The same, where the last member owns nothing any more.
fn relieved(count: u64) -> State {
    let mut state = announced(count);
    let plan = state.plan_fail_over(NodeId(count)).unwrap();
    state.apply(&plan).unwrap();
    state
}

fn paused(mut state: State) -> State {
    state.apply(&Command::SetPaused(true)).unwrap();
    state
}

#[test]
fn a_member_has_left_once_others_own_all_and_every_member_knows() {
    use Leads::{Another, Itself, Nobody};
    let (up, announced, relieved) = (cluster(3), announced(3), relieved(3));
    let old = Epoch(0);
    for (what, state, settled, leads, next) in [
        ("itself leads", &up, old, Itself, Next::CommitHere),
        ("another leads", &up, old, Another, Next::AskOthers),
        (
            "others may know the leader",
            &up,
            old,
            Nobody,
            Next::AskOthers,
        ),
        (
            "it owns",
            &announced,
            announced.epoch(),
            Another,
            Next::Wait,
        ),
        (
            "some do not know",
            &relieved,
            announced.epoch(),
            Another,
            Next::Wait,
        ),
        (
            "all know",
            &relieved,
            relieved.epoch(),
            Another,
            Next::HasLeft,
        ),
        (
            "all know, nobody leads",
            &relieved,
            relieved.epoch(),
            Nobody,
            Next::HasLeft,
        ),
    ] {
        let step = leaving().next(Millis(0), &seen(state, settled, leads));
        assert_eq!(step, next, "{what}");
    }
}

/// A cluster of `count` members that are gone for ever when they are stopped. Members 1 to `voters` vote.
fn tasks(count: u64, voters: u64) -> State {
    let mut state = cluster(count);
    for id in 1..=count {
        let again = Joiner {
            incarnation: Incarnation(2),
            leaves_on_term: true,
            ..named(&format!("node-{id}"))
        };
        let id = NodeId(id);
        let resume = Command::Resume(Resume { id, node: again });
        state.apply(&resume).unwrap();
    }
    state.set_quorum(Quorum {
        voters: (1..=voters).map(NodeId).collect(),
        learners: (voters + 1..=count).map(NodeId).collect(),
        ..Quorum::default()
    });
    state
}

/// Member `id` announces that it leaves.
fn leaves(state: &mut State, id: u64) {
    let leaving = SetStatus {
        id: NodeId(id),
        status: MemberStatus::Leaving,
        incarnation: Incarnation(2),
    };
    state.apply(&Command::SetStatus(leaving)).unwrap();
}

#[test]
fn a_voter_that_leaves_for_good_waits_until_another_has_its_vote() {
    use Leads::{Another, Itself, Nobody};
    let with = |count, voters, leaving: &[u64]| {
        let mut state = tasks(count, voters);
        leaves(&mut state, 1);
        let relieved = state.plan_fail_over(NodeId(1)).unwrap();
        state.apply(&relieved).unwrap();
        leaving.iter().for_each(|id| leaves(&mut state, *id));
        state
    };
    let mut died = with(3, 3, &[]);
    let fail_over = died.plan_fail_over(NodeId(2)).unwrap();
    died.apply(&fail_over).unwrap();
    for (what, state, leads, next) in [
        ("a learner can vote", with(4, 3, &[]), Another, Next::Wait),
        (
            "a leader steps down",
            with(4, 3, &[]),
            Itself,
            Next::HandOver,
        ),
        (
            "also while nobody leads",
            with(4, 3, &[]),
            Nobody,
            Next::Wait,
        ),
        (
            "its heir has to vote first",
            with(2, 1, &[]),
            Itself,
            Next::Wait,
        ),
        (
            "two votes become one",
            with(2, 2, &[]),
            Itself,
            Next::HandOver,
        ),
        (
            "three votes become one",
            with(3, 3, &[2]),
            Another,
            Next::Wait,
        ),
        (
            "three votes become one, one died",
            died,
            Another,
            Next::Wait,
        ),
        (
            "nobody can vote for it",
            with(3, 3, &[]),
            Another,
            Next::HasLeft,
        ),
        ("nobody stays", with(3, 3, &[2, 3]), Another, Next::HasLeft),
        (
            "it has no vote any more",
            with(4, 0, &[]),
            Another,
            Next::HasLeft,
        ),
    ] {
        let mut leaving = Leaving::new(NodeId(1), Incarnation(2), Millis(0));
        // However long that takes: the process has a limit.
        for now in [0, 60_000] {
            let seen = seen(&state, state.epoch(), leads);
            assert_eq!(leaving.next(Millis(now), &seen), next, "{what}");
        }
    }
}

#[test]
fn a_paused_ring_holds_partitions_and_no_votes() {
    // Others that leave count on its announcement, also where its vote is of no use to anybody.
    let none_else = paused(tasks(3, 3));
    let mut leaving = Leaving::new(NodeId(1), Incarnation(2), Millis(0));
    let next = leaving.next(Millis(0), &seen(&none_else, Epoch(0), Leads::Another));
    assert_eq!(next, Next::AskOthers);
    let mut state = paused(tasks(4, 3));
    let owned = state.table().owned_by(NodeId(1));
    let mut leaving = Leaving::new(NodeId(1), Incarnation(2), Millis(0));
    let mut next = |state: &State| leaving.next(Millis(0), &seen(state, Epoch(0), Leads::Another));
    assert_eq!(next(&state), Next::AskOthers);
    leaves(&mut state, 1);
    assert_eq!(next(&state), Next::Wait);
    state.set_quorum(Quorum {
        voters: [2, 3, 4].map(NodeId).into(),
        learners: [NodeId(1)].into(),
        ..Quorum::default()
    });
    assert_eq!(next(&state), Next::GiveUp(Obstacle::Paused(owned)));
}

#[test]
fn a_voter_that_comes_back_keeps_its_vote() {
    let mut state = cluster(2);
    let own = NodeId(1);
    state.apply(&status(1, MemberStatus::Leaving)).unwrap();
    let plan = state.plan_fail_over(own).unwrap();
    state.apply(&plan).unwrap();
    assert!(state.quorum().voters.contains(&own));
    let mut leaving = Leaving::new(own, Incarnation(1), Millis(0));
    let seen = seen(&state, state.epoch(), Leads::Itself);
    assert_eq!(leaving.next(Millis(0), &seen), Next::HasLeft);
}

#[test]
fn a_member_gives_up_where_nothing_can_move() {
    let alone = announced(1);
    let all_leave = {
        let mut state = announced(2);
        state.apply(&status(1, MemberStatus::Leaving)).unwrap();
        state
    };
    let held = paused(announced(3));
    let owned = held.table().owned_by(OWN);
    assert!(owned > 0);
    for (what, own, state, obstacle) in [
        ("alone", 1, &alone, Obstacle::NobodyElse),
        ("all leave", 2, &all_leave, Obstacle::NobodyElse),
        ("paused", 3, &held, Obstacle::Paused(owned)),
    ] {
        let mut leaving = Leaving::new(NodeId(own), Incarnation(1), Millis(0));
        let next = leaving.next(Millis(0), &seen(state, Epoch(0), Leads::Another));
        assert_eq!(next, Next::GiveUp(obstacle), "{what}");
    }
    // What moves already goes on, and what owns nothing has nothing to hold.
    let gives = {
        let mut state = announced(3);
        let moves = state.plan_moves(64).unwrap();
        state.apply(&moves).unwrap();
        paused(state)
    };
    for state in [gives, paused(relieved(3))] {
        let next = leaving().next(Millis(0), &seen(&state, Epoch(0), Leads::Another));
        assert_eq!(next, Next::Wait);
    }
}

#[test]
fn a_member_waits_three_seconds_for_a_leader() {
    let state = announced(3);
    let mut leaving = leaving();
    for (now, leads, next) in [
        (0, Leads::Nobody, Next::Wait),
        (3_000, Leads::Nobody, Next::Wait),
        (3_100, Leads::Another, Next::Wait),
        (6_100, Leads::Nobody, Next::Wait),
        (6_101, Leads::Nobody, Next::GiveUp(Obstacle::Leaderless)),
    ] {
        let step = leaving.next(Millis(now), &seen(&state, Epoch(0), leads));
        assert_eq!(step, next, "at {now} ms");
    }
}

#[test]
fn later_epochs_are_not_waited_for() {
    let mut state = relieved(3);
    let mut leaving = leaving();
    let first = state.epoch();
    let next = leaving.next(Millis(0), &seen(&state, Epoch(0), Leads::Another));
    assert_eq!(next, Next::Wait);
    state.apply(&Command::SetPaused(true)).unwrap();
    assert!(state.epoch() > first);
    let next = leaving.next(Millis(0), &seen(&state, first, Leads::Another));
    assert_eq!(next, Next::HasLeft);
}

#[test]
fn a_process_waits_only_for_a_member_whose_control_plane_works() {
    for (patience, is_member, has_ended, waits) in [
        (90_000, true, false, true),
        (90_000, false, false, false),
        (90_000, true, true, false),
        (0, true, false, false),
    ] {
        let stopping = Stopping::begin(Millis(5), patience, is_member, has_ended);
        assert_eq!(
            stopping.is_some(),
            waits,
            "{patience} {is_member} {has_ended}"
        );
    }
}

#[test]
fn a_process_reserves_time_for_the_agreement() {
    use StopNext::{StopsSoon, TimeIsUp, Wait};
    for (patience, sends_until) in [(90_000, 85_000), (10_000, 5_000), (4_000, 2_000), (1, 1)] {
        let (sends_until, until) = (Millis(7 + sends_until), Millis(7 + patience));
        let mut stopping = Stopping::begin(Millis(7), patience, true, false).unwrap();
        let last = match until > sends_until {
            true => Wait(until),
            false => TimeIsUp,
        };
        for (now, next) in [
            (Millis(7), Wait(sends_until)),
            (sends_until, StopsSoon),
            (sends_until, last),
            (until, TimeIsUp),
        ] {
            assert_eq!(
                stopping.next(now, Stage::Leaves),
                next,
                "{patience} at {now:?}"
            );
        }
    }
    for (stage, next) in [
        (Stage::HasLeft, StopNext::HasLeft),
        (Stage::GaveUp, StopNext::GaveUp),
    ] {
        for now in [0, 86_000, 90_000] {
            let mut stopping = Stopping::begin(Millis(0), 90_000, true, false).unwrap();
            assert_eq!(stopping.next(Millis(now), stage), next, "at {now} ms");
        }
    }
}
