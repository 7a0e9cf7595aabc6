//! What a leader does next about the members. Pure: the same facts give the same step.
//!
//! One step at a time, and the next only after its effect is seen in the state.

use crate::ids::NodeId;
use crate::raft::driver::Progress;
use crate::topology::command::{Command, SetStatus};
use crate::topology::member::MemberStatus;
use crate::topology::quorum::{QuorumChange, QuorumRole};
use crate::topology::state::State;

/// Entries that a member may lack and still count as caught up.
const LAG_MAX: u64 = 250;

/// Ticks since a member was last heard of, for it to count as there: a second.
const SILENT_MAX: u64 = 10;

/// How many voters there are to be. An odd number: one more would tolerate no more failures.
const VOTERS: usize = 3;

/// What a leader knows.
pub(super) struct Facts<'a> {
    pub(super) me: NodeId,
    pub(super) state: &'a State,
    pub(super) last_index: u64,
    pub(super) progress: &'a [Progress],
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Propose(Command),
    ChangeQuorum(QuorumChange),
}

/// The next step, if there is one to take.
///
/// A new member first listens; once it has caught up it is in the ring; and as soon as there are enough
/// of those, they vote: from one voter to three in one change, since two tolerate less than one.
pub(super) fn decide(facts: &Facts<'_>) -> Option<Step> {
    if facts.state.quorum().is_joint() {
        // The driver leaves it.
        return None;
    }
    let step = listen(facts)
        .or_else(|| vote(facts))
        .map(Step::ChangeQuorum);
    step.or_else(|| enter_ring(facts).map(Step::Propose))
        .or_else(|| facts.state.plan_assign().map(Step::Propose))
}

/// Who is a member and hears nothing yet.
fn listen(facts: &Facts<'_>) -> Option<QuorumChange> {
    let quorum = facts.state.quorum();
    let deaf = facts
        .state
        .members()
        .find(|member| member.status != MemberStatus::Down && !quorum.contains(member.id))?;
    Some(change([(deaf.id, QuorumRole::Learner)]))
}

/// Learners that are to vote.
fn vote(facts: &Facts<'_>) -> Option<QuorumChange> {
    let quorum = facts.state.quorum();
    let wanted = VOTERS.saturating_sub(quorum.voters.len());
    let ready: Vec<_> = quorum
        .learners
        .iter()
        .filter(|learner| is_up(facts, **learner) && facts.has_caught_up(**learner))
        .take(wanted)
        .collect();
    if wanted == 0 || ready.len() < wanted {
        return None;
    }
    Some(change(ready.into_iter().map(|id| (*id, QuorumRole::Voter))))
}

/// Who has caught up and owns nothing yet.
fn enter_ring(facts: &Facts<'_>) -> Option<Command> {
    let joining = facts
        .state
        .members()
        .find(|member| member.status == MemberStatus::Joining && facts.has_caught_up(member.id))?;
    Some(Command::SetStatus(SetStatus {
        id: joining.id,
        status: MemberStatus::Up,
        incarnation: joining.incarnation,
    }))
}

fn is_up(facts: &Facts<'_>, id: NodeId) -> bool {
    let member = facts.state.member(id);
    member.is_some_and(|member| member.status == MemberStatus::Up)
}

fn change(changes: impl IntoIterator<Item = (NodeId, QuorumRole)>) -> QuorumChange {
    QuorumChange {
        changes: changes.into_iter().collect(),
    }
}

impl Facts<'_> {
    fn has_caught_up(&self, id: NodeId) -> bool {
        id == self.me
            || self.progress.iter().any(|peer| {
                peer.node == id
                    && peer.is_replicating
                    && peer.matched + LAG_MAX >= self.last_index
                    && peer.silent_ticks.is_some_and(|ticks| ticks <= SILENT_MAX)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Incarnation};
    use crate::topology::command::{Agreed, COMMAND_VERSION, Joiner};
    use crate::topology::member::Zone;
    use crate::topology::state::Founding;

    fn joiner(name: &str) -> Joiner {
        Joiner {
            name: name.into(),
            host: "127.0.0.1".into(),
            raft_port: 7000,
            grpc_port: 8001,
            admin_port: 2112,
            zone: Zone::new("a"),
            weight: 1,
            incarnation: Incarnation(1),
            version: COMMAND_VERSION,
            settings: Agreed::ours(),
            nonce: 0,
        }
    }

    /// A cluster of this many members, of whom the first votes.
    fn state(members: u64) -> State {
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: joiner("n1"),
        });
        for n in 2..=members {
            state
                .apply(&Command::Join(joiner(&format!("n{n}"))))
                .unwrap();
        }
        state
    }

    fn caught_up(ids: &[u64]) -> Vec<Progress> {
        let peer = |id: &u64| Progress {
            node: NodeId(*id),
            matched: 100,
            is_replicating: true,
            silent_ticks: Some(1),
        };
        ids.iter().map(peer).collect()
    }

    fn next(state: &State, progress: &[Progress]) -> Option<Step> {
        decide(&Facts {
            me: NodeId(1),
            state,
            last_index: 100,
            progress,
        })
    }

    /// Takes steps until there is none; as words.
    fn steps(state: &mut State, progress: &[Progress]) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(step) = next(state, progress) {
            assert!(taken.len() < 20, "{taken:?}");
            match step {
                Step::Propose(command) => {
                    taken.push(match &command {
                        Command::SetStatus(set) => format!("{} is {}", set.id, set.status),
                        Command::Assign(_) => "assign".into(),
                        other => format!("{other:?}"),
                    });
                    state.apply(&command).unwrap();
                }
                Step::ChangeQuorum(change) => {
                    let mut quorum = state.quorum().clone();
                    let mut told = Vec::new();
                    for (id, role) in change.changes {
                        told.push(format!("{id} {role:?}"));
                        quorum.learners.remove(&id);
                        match role {
                            QuorumRole::Voter => quorum.voters.insert(id),
                            QuorumRole::Learner => quorum.learners.insert(id),
                            QuorumRole::Removed => quorum.voters.remove(&id),
                        };
                    }
                    state.set_quorum(quorum);
                    taken.push(told.join(", "));
                }
            }
        }
        taken
    }

    #[test]
    fn a_lone_founder_stays_as_it_is() {
        assert_eq!(steps(&mut state(1), &[]), Vec::<String>::new());
    }

    #[test]
    fn three_become_voters_in_one_change() {
        let mut three = state(3);
        let wanted = [
            "2 Learner",
            "3 Learner",
            "2 is up",
            "3 is up",
            "2 Voter, 3 Voter",
            "assign",
        ];
        let mut taken = steps(&mut three, &caught_up(&[2, 3]));
        taken.sort_by_key(|step| wanted.iter().position(|w| w == step));
        assert_eq!(taken, wanted);
        let owned = |id| three.table().owned_by(NodeId(id));
        assert_eq!(owned(1) + owned(2) + owned(3), crate::hash::PARTITIONS);
        assert!(owned(3).abs_diff(owned(1)) <= 1);
    }

    #[test]
    fn two_members_keep_one_voter_and_a_fourth_listens() {
        let mut two = state(2);
        steps(&mut two, &caught_up(&[2]));
        assert_eq!(two.quorum().voters.len(), 1);
        let mut four = state(4);
        steps(&mut four, &caught_up(&[2, 3, 4]));
        assert_eq!(four.quorum().voters.len(), 3);
        assert!(four.quorum().learners.contains(&NodeId(4)));
    }

    #[test]
    fn nobody_is_trusted_who_lags_is_silent_or_gets_snapshots() {
        let mut three = state(3);
        let mut progress = caught_up(&[2, 3]);
        progress[0].silent_ticks = Some(SILENT_MAX + 1);
        progress[1].is_replicating = false;
        assert_eq!(steps(&mut three, &progress), ["2 Learner", "3 Learner"]);
        progress[0].silent_ticks = None;
        progress[1] = Progress {
            matched: 0,
            ..caught_up(&[3])[0]
        };
        let far = decide(&Facts {
            me: NodeId(1),
            state: &three,
            last_index: LAG_MAX + 1,
            progress: &progress,
        });
        assert_eq!(far, None);
    }
}
