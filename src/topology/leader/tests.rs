//! Tests of the leader as a whole: events in, effects out.

use super::decide::Step;
use super::*;
use crate::ids::{Epoch, Incarnation, Millis};
use crate::topology::commands::Command;
use crate::topology::fixtures::cluster;
use crate::topology::lease::{DOWN_MS, Renewal};
use crate::topology::model::quorum::{Progress, Quorum};
use crate::topology::moves::MoveReport;
use crate::topology::state::State;

/// A leader, member 1 of a cluster of voters, with what it sees.
struct Desk {
    leader: Leader,
    now: Millis,
    state: State,
    standing: Standing,
    callers: u64,
}

impl Desk {
    /// A leader in term 5, which hears all members.
    fn of(members: u64) -> Self {
        let mut state = cluster(members);
        state.set_quorum(Quorum {
            voters: (1..=members).map(NodeId).collect(),
            ..Quorum::default()
        });
        let progress = (2..=members).map(|id| Progress {
            node: NodeId(id),
            matched: 9,
            is_replicating: true,
            silent_ticks: Some(1),
        });
        let voters = usize::try_from(members).unwrap();
        Self {
            leader: Leader::new(NodeId(1), Settings::new(voters, true)),
            now: Millis(50_000),
            standing: Standing {
                leads: Some(5),
                commit: 9,
                applied: 9,
                progress: progress.collect(),
            },
            state,
            callers: 0,
        }
    }

    fn turn(&mut self, event: Event) -> Vec<Effect> {
        let around = Around {
            now: self.now,
            state: &self.state,
            standing: &self.standing,
        };
        let effects = self.leader.turn(&around, event);
        let is_news = |effect: &Effect| !matches!(effect, Effect::Publish(_) | Effect::Report(_));
        effects.into_iter().filter(is_news).collect()
    }

    fn look(&mut self) -> Vec<Effect> {
        self.turn(Event::Look([].into()))
    }

    fn caller(&mut self) -> Caller {
        self.callers += 1;
        Caller(self.callers)
    }

    fn renewal(&self, member: u64) -> Renewal {
        Renewal {
            moves: MoveReport::default(),
            member: NodeId(member),
            incarnation: Incarnation(1),
            sent_at: self.now,
            epoch: self.state.epoch(),
        }
    }

    /// These members renew, and a quorum confirms at once.
    fn renew(&mut self, members: &[u64]) -> Vec<Effect> {
        let mut questions = Vec::new();
        for member in members {
            let (caller, renewal) = (self.caller(), self.renewal(*member));
            questions.extend(self.turn(Event::Renew(caller, renewal)));
        }
        let mut answers = Vec::new();
        while let Some(Effect::Ask(question)) = questions.pop() {
            for effect in self.confirm(question) {
                match effect {
                    Effect::Ask(_) => questions.push(effect),
                    answer => answers.push(answer),
                }
            }
        }
        answers
    }

    fn confirm(&mut self, question: Question) -> Vec<Effect> {
        self.turn(Event::Answered {
            question,
            outcome: Outcome::Applied,
        })
    }

    fn end(&mut self, outcome: Outcome) -> Vec<Effect> {
        self.turn(Event::Ended { term: 5, outcome })
    }

    /// Member `id` is silent from now on, and down after a while.
    fn silence(&mut self, id: u64) {
        for peer in &mut self.standing.progress {
            if peer.node == NodeId(id) {
                peer.silent_ticks = Some(500);
            }
        }
    }

    /// Applies a command as Raft would, and reports it.
    fn commit(&mut self, effect: &Effect) -> Vec<Effect> {
        let Effect::Take(_, step) = effect else {
            panic!("{effect:?} is no step")
        };
        match step {
            Step::Propose(command) => drop(self.state.apply(command).unwrap()),
            Step::ChangeQuorum(change) => {
                let voters = self.state.quorum().voters_after(change);
                self.state.set_quorum(Quorum {
                    voters,
                    ..Quorum::default()
                });
            }
        }
        self.end(Outcome::Applied)
    }
}

#[test]
fn renewals_are_granted_once_a_quorum_has_confirmed_the_leadership() {
    let mut desk = Desk::of(3);
    let renewal = desk.renewal(2);
    let asked = desk.turn(Event::Renew(Caller(1), renewal));
    let [Effect::Ask(question)] = asked[..] else {
        panic!("{asked:?}")
    };
    // Another renewal waits for the next round.
    let later = desk.renewal(3);
    assert_eq!(desk.turn(Event::Renew(Caller(2), later)), []);
    let answered = desk.confirm(question);
    let [
        Effect::Answer(Caller(1), Answer::Granted(grant)),
        Effect::Ask(next),
    ] = answered[..]
    else {
        panic!("{answered:?}")
    };
    assert_eq!((grant.renewal, grant.epoch), (renewal, desk.state.epoch()));
    let denied = desk.turn(Event::Answered {
        question: next,
        outcome: Outcome::Unknown,
    });
    assert_eq!(denied, [Effect::Answer(Caller(2), Answer::NotLeader)]);
}

#[test]
fn every_caller_is_answered_when_the_term_ends() {
    let mut desk = Desk::of(3);
    let renewal = desk.renewal(2);
    let asked = desk.turn(Event::Renew(Caller(1), renewal));
    assert!(matches!(asked[..], [Effect::Ask(_)]));
    let _asked = desk.turn(Event::Remove(Caller(2), NodeId(3)));
    desk.standing.leads = Some(6);
    let ended = desk.turn(Event::Changed);
    let expected = [
        Effect::Answer(Caller(1), Answer::NotLeader),
        Effect::Removal(Caller(2), Removal::Elsewhere(None)),
    ];
    assert_eq!(ended, expected);
    // The question of term 5 means nothing in term 6.
    let [Effect::Ask(question)] = asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(desk.confirm(question), []);
    desk.standing.leads = None;
    let renewal = desk.renewal(2);
    let refused = desk.turn(Event::Renew(Caller(3), renewal));
    assert_eq!(refused, [Effect::Answer(Caller(3), Answer::NotLeader)]);
    let refused = desk.turn(Event::Remove(Caller(4), NodeId(2)));
    let elsewhere = Removal::Elsewhere(None);
    assert_eq!(refused, [Effect::Removal(Caller(4), elsewhere)]);
}

#[test]
fn a_silent_member_is_failed_over_and_the_next_step_waits_for_the_end_of_the_last() {
    let mut desk = Desk::of(3);
    let granted = desk.renew(&[1, 2, 3]);
    assert_eq!(granted.len(), 3, "{granted:?}");
    desk.now = desk.now.plus(DOWN_MS);
    desk.renew(&[1, 2]);
    let steps = desk.look();
    let [Effect::Take(5, Step::Propose(Command::FailOver(fail_over)))] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(fail_over.id, NodeId(3));
    assert_eq!(desk.look(), [], "a step is under way");
    assert_eq!(
        desk.turn(Event::Ended {
            term: 4,
            outcome: Outcome::Unknown
        }),
        [],
        "the step of another term"
    );
    // Its grant would slip in between.
    let refused = desk.renew(&[3]);
    assert!(
        matches!(refused[..], [Effect::Answer(_, Answer::Refused(_))]),
        "{refused:?}"
    );
    assert_eq!(desk.end(Outcome::Refused("full")), [], "not at once again");
    let again = desk.look();
    assert_eq!(again, steps);
    desk.commit(&again[0]);
    assert!(!desk.state.is_up(NodeId(3)));
}

#[test]
fn a_fail_over_that_nobody_knows_the_outcome_of_is_taken_again() {
    let mut desk = Desk::of(3);
    desk.renew(&[1, 2, 3]);
    desk.now = desk.now.plus(DOWN_MS);
    desk.renew(&[1, 2]);
    let first = desk.look();
    assert!(matches!(first[..], [Effect::Take(5, _)]), "{first:?}");
    // The log was slow, and refused the proposal when nobody waited for its answer any more.
    desk.end(Outcome::Unknown);
    let again = desk.look();
    assert_eq!(again, first);
    desk.commit(&again[0]);
    assert!(!desk.state.is_up(NodeId(3)));
}

#[test]
fn a_removal_takes_its_steps_once_a_quorum_has_confirmed_it() {
    let mut desk = Desk::of(5);
    desk.renew(&[1, 2, 3, 4, 5]);
    desk.silence(5);
    desk.now = desk.now.plus(DOWN_MS);
    desk.renew(&[1, 2, 3, 4]);
    let asked = desk.turn(Event::Remove(Caller(90), NodeId(5)));
    let [Effect::Ask(question)] = asked[..] else {
        panic!("{asked:?}")
    };
    let down = desk.look();
    let after = desk.commit(&down[0]);
    assert_eq!(after, [], "it is not confirmed yet");
    // It votes no more, then it gets the log no more, and then it is removed.
    let mut effects = desk.confirm(question);
    let mut steps = 0;
    while let [step @ Effect::Take(..)] = &effects[..] {
        let step = step.clone();
        effects = desk.commit(&step);
        steps += 1;
    }
    let [
        Effect::Removal(
            Caller(90),
            Removal::Removed {
                was_gone: false,
                done,
                epoch,
            },
        ),
        rest @ ..,
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(
        rest.len() <= 1 && steps == 2,
        "{rest:?} after {steps} steps"
    );
    assert_eq!(done[..], ["node-5 no longer votes"]);
    assert_eq!(*epoch, desk.state.epoch());
    assert!(desk.state.is_tombstone(NodeId(5)));
}

#[test]
fn a_removal_that_cannot_be_says_why() {
    let mut desk = Desk::of(3);
    desk.renew(&[1, 2, 3]);
    let end = |desk: &mut Desk, id| {
        let caller = desk.caller();
        let asked = desk.turn(Event::Remove(caller, NodeId(id)));
        let [Effect::Ask(question)] = asked[..] else {
            panic!("{asked:?}")
        };
        desk.confirm(question)
    };
    for (id, why) in [
        (1, "node-1 leads"),
        (2, "node-2 is alive"),
        (9, "there is no member 9"),
    ] {
        let ended = end(&mut desk, id);
        let [Effect::Removal(_, Removal::Refused(text))] = &ended[..] else {
            panic!("{ended:?}")
        };
        assert!(text.starts_with(why), "{text}");
    }
    // Silent, and not down yet: it waits, and gives up in the end.
    desk.silence(3);
    assert_eq!(end(&mut desk, 3), []);
    desk.now = desk.now.plus(REMOVAL_MAX_MS);
    desk.standing.progress.clear();
    let given_up = desk.look();
    let [Effect::Removal(_, Removal::Unfinished(text)), ..] = &given_up[..] else {
        panic!("{given_up:?}")
    };
    let expected = "node-3 is silent and still up: it can be removed once it is down; nothing was done yet; \
                    asking again goes on from there";
    assert_eq!(text, expected);
}

#[test]
fn a_removal_ends_when_its_operator_leaves_and_gives_way_when_its_step_is_refused() {
    let mut desk = Desk::of(5);
    desk.renew(&[1, 2, 3, 4, 5]);
    desk.silence(5);
    desk.now = desk.now.plus(DOWN_MS);
    desk.renew(&[1, 2, 3, 4]);
    let down = desk.look();
    desk.commit(&down[0]);
    let begin = |desk: &mut Desk| {
        let caller = desk.caller();
        let asked = desk.turn(Event::Remove(caller, NodeId(5)));
        let [Effect::Ask(question)] = asked[..] else {
            panic!("{asked:?}")
        };
        (caller, question)
    };
    // Nobody waits for it any more: it takes no step.
    let (caller, question) = begin(&mut desk);
    assert_eq!(desk.turn(Event::Left(caller)), []);
    assert_eq!(desk.confirm(question), []);
    // Raft refuses its step: at the next look others come first, and then it tries again.
    let (_, question) = begin(&mut desk);
    let step = desk.confirm(question);
    assert!(matches!(step[..], [Effect::Take(..)]), "{step:?}");
    assert_eq!(desk.end(Outcome::Refused("full")), []);
    assert_eq!(desk.look(), []);
    assert_eq!(desk.look(), step);
    // It is overdue, but its step is under way.
    desk.now = desk.now.plus(REMOVAL_MAX_MS);
    assert_eq!(desk.look(), []);
    assert_eq!(desk.end(Outcome::Refused("full")), []);
    desk.standing.progress.clear();
    let ended = desk.look();
    let [Effect::Removal(_, Removal::Unfinished(text)), ..] = &ended[..] else {
        panic!("{ended:?}")
    };
    assert!(text.starts_with("full; nothing was done yet"), "{text}");
    // Another node leads.
    desk.standing.progress = Desk::of(5).standing.progress;
    let (caller, question) = begin(&mut desk);
    let elsewhere = desk.turn(Event::Answered {
        question,
        outcome: Outcome::NotLeader(Some(NodeId(2))),
    });
    let end = Removal::Elsewhere(Some(NodeId(2)));
    assert_eq!(elsewhere, [Effect::Removal(caller, end)]);
}

#[test]
fn more_removals_than_there_is_room_for_are_not_begun() {
    let mut desk = Desk::of(3);
    for _ in 0..REMOVALS_MAX {
        let caller = desk.caller();
        let asked = desk.turn(Event::Remove(caller, NodeId(3)));
        assert!(matches!(asked[..], [Effect::Ask(_)]), "{asked:?}");
    }
    let refused = desk.turn(Event::Remove(Caller(99), NodeId(3)));
    assert!(
        matches!(
            refused[..],
            [Effect::Removal(Caller(99), Removal::Unfinished(_))]
        ),
        "{refused:?}"
    );
}

#[test]
fn an_epoch_is_covered_once_it_is_settled_and_all_members_act() {
    let settled = |epoch, all_act| Settled {
        epoch,
        all_act,
        behind: Vec::new(),
    };
    // What is settled, whether all members act, and whether epoch 7 is covered.
    let table = [
        (None, true, false),
        (Some(6), true, false),
        (Some(7), false, false),
        (Some(7), true, true),
        (Some(8), true, true),
    ];
    for (epoch, all_act, covers) in table {
        let settled = settled(epoch.map(Epoch), all_act);
        assert_eq!(settled.covers(Epoch(7)), covers, "{settled:?}");
    }
}
