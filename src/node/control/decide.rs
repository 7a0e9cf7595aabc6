//! What a leader does next about the members. Pure: the same facts give the same step.
//!
//! One step at a time, and the next only after its effect is seen in the state.

use std::collections::BTreeMap;

use crate::ids::{Epoch, Millis, NodeId};
use crate::raft::driver::Progress;
use crate::topology::command::{Command, SetStatus};
use crate::topology::lease::Renewal;
use crate::topology::member::{MemberRecord, MemberStatus};
use crate::topology::quorum::{QuorumChange, QuorumRole};
use crate::topology::state::State;

/// Entries that a member may lack and still count as caught up.
const LAG_MAX: u64 = 250;

/// Ticks since a member was last heard of, for it to count as there: a second.
const SILENT_MAX: u64 = 10;

/// Ticks of silence after which a voter's place is given to another: 30 s. It stays a member.
const REPLACED_AFTER: u64 = 300;

/// How long a renewal shows that its member is there.
const HEARD_MS: u64 = 1_000;

/// How long after a fail-over the partitions stay as they are.
const SHARE_OUT_AFTER_MS: u64 = 10_000;

/// How many voters there are to be. An odd number: one more would tolerate no more failures.
const VOTERS: usize = 3;

/// What a leader knows.
pub(super) struct Facts<'a> {
    pub(super) me: NodeId,
    pub(super) state: &'a State,
    pub(super) last_index: u64,
    pub(super) progress: &'a [Progress],
    /// Ticks for which this node has led: who has not been heard of may have been silent for as long.
    pub(super) led_ticks: u64,
    pub(super) leases: Leases<'a>,
}

/// What a leader knows of leases.
#[derive(Clone, Copy)]
pub(super) struct Leases<'a> {
    /// The last renewal of each member that was decided, and when.
    pub(super) heard: &'a Heard,
    /// No member that holds a lease has applied less.
    pub(super) settled: Epoch,
    pub(super) now: Millis,
    /// When a member was last failed over, in this term.
    pub(super) failed_over: Option<Millis>,
    /// The partitions were found to be shared out well at this very epoch.
    pub(super) is_shared_out: bool,
}

/// Renewals, and when each was decided.
pub(super) type Heard = BTreeMap<NodeId, (Renewal, Millis)>;

/// The renewals of nobody.
static NOBODY: Heard = Heard::new();

impl Default for Leases<'_> {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            heard: &NOBODY,
            settled: Epoch(0),
            now: Millis(0),
            failed_over: None,
            is_shared_out: false,
        }
    }
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
    // All that can are in the ring before any of them is chosen to vote.
    let listen = || listen(facts).map(Step::ChangeQuorum);
    let enter_ring = || enter_ring(facts).map(Step::Propose);
    let vote = || vote(facts).map(Step::ChangeQuorum);
    let share_out = || facts.share_out().map(Step::Propose);
    listen()
        .or_else(enter_ring)
        .or_else(vote)
        .or_else(share_out)
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

/// Learners that are to vote: all that are wanting at once, or one in the place of a silent voter.
fn vote(facts: &Facts<'_>) -> Option<QuorumChange> {
    let quorum = facts.state.quorum();
    let wanted = VOTERS.saturating_sub(quorum.voters.len());
    let mut voters: Vec<NodeId> = quorum.voters.iter().copied().collect();
    if wanted > 0 {
        let mut changes = Vec::new();
        for _ in 0..wanted {
            let next = candidate(facts, &voters)?;
            voters.push(next);
            changes.push((next, QuorumRole::Voter));
        }
        return Some(change(changes));
    }
    let silent = facts.silent_voter()?;
    voters.retain(|voter| *voter != silent);
    let next = candidate(facts, &voters)?;
    Some(change([
        (next, QuorumRole::Voter),
        (silent, QuorumRole::Learner),
    ]))
}

/// The learner that would spread the voters best: of the zone with the fewest, then the lowest id.
pub(super) fn candidate(facts: &Facts<'_>, voters: &[NodeId]) -> Option<NodeId> {
    let zone = |id: NodeId| facts.state.member(id).map(|member| &member.zone);
    let crowd = |id: NodeId| {
        let own = zone(id);
        voters.iter().filter(|voter| zone(**voter) == own).count()
    };
    let learners = facts.state.quorum().learners.iter().copied();
    learners
        .filter(|id| !voters.contains(id) && is_up(facts, *id) && facts.has_caught_up(*id))
        .min_by_key(|id| (crowd(*id), *id))
}

/// Who has caught up and owns nothing yet: a member that joins, or one that was down and is heard again.
fn enter_ring(facts: &Facts<'_>) -> Option<Command> {
    let may_enter = |member: &&MemberRecord| match member.status {
        MemberStatus::Joining => facts.has_caught_up(member.id),
        MemberStatus::Down => facts.is_back(member) && facts.has_caught_up(member.id),
        MemberStatus::Up | MemberStatus::Leaving => false,
    };
    let joining = facts.state.members().find(may_enter)?;
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
    /// What gives everybody his share.
    fn share_out(&self) -> Option<Command> {
        if self.leases.is_shared_out || self.waits_to_share_out() {
            return None;
        }
        self.state.plan_assign()
    }

    /// Whether shares stay uneven for now: a member that was failed over may be back in a moment, and
    /// what is moved among the others meanwhile would be moved twice.
    pub(super) fn waits_to_share_out(&self) -> bool {
        let is_recent = |at| self.leases.now.since(at) < SHARE_OUT_AFTER_MS;
        self.leases.failed_over.is_some_and(is_recent)
    }

    /// Whether a member that is down renews again, and knows what it missed.
    fn is_back(&self, member: &MemberRecord) -> bool {
        let heard = self.leases.heard.get(&member.id);
        let is_back = |(renewal, at): &(Renewal, Millis)| {
            renewal.incarnation == member.incarnation
                && renewal.epoch >= self.leases.settled
                && self.leases.now.since(*at) < HEARD_MS
        };
        member.replaced_by.is_none() && heard.is_some_and(is_back)
    }

    /// A voter that nobody has heard of for too long, unless so few are heard that this node may be the
    /// one that is cut off.
    fn silent_voter(&self) -> Option<NodeId> {
        let voters = &self.state.quorum().voters;
        let silence = |id: NodeId| {
            let peer = self.progress.iter().find(|peer| peer.node == id);
            peer.map_or(u64::MAX, |peer| peer.silent_ticks.unwrap_or(self.led_ticks))
        };
        let is_there = |id: &&NodeId| **id == self.me || silence(**id) <= SILENT_MAX;
        let there = voters.iter().filter(is_there).count();
        let silent = voters
            .iter()
            .filter(|id| **id != self.me && silence(**id) >= REPLACED_AFTER);
        silent.min().copied().filter(|_| there * 2 > voters.len())
    }

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

    /// What nobody was heard of leaves to be known.
    fn facts<'a>(state: &'a State, progress: &'a [Progress]) -> Facts<'a> {
        Facts {
            me: NodeId(1),
            state,
            last_index: 100,
            progress,
            led_ticks: 1_000,
            leases: Leases::default(),
        }
    }

    fn next(state: &State, progress: &[Progress]) -> Option<Step> {
        decide(&facts(state, progress))
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
    fn a_silent_voter_gives_its_place_to_a_learner_and_stays_a_member() {
        let mut four = state(4);
        steps(&mut four, &caught_up(&[2, 3, 4]));
        let mut progress = caught_up(&[2, 3, 4]);
        progress[1].silent_ticks = Some(REPLACED_AFTER - 1);
        assert_eq!(next(&four, &progress), None);
        progress[1].silent_ticks = Some(REPLACED_AFTER);
        let swap = change([
            (NodeId(4), QuorumRole::Voter),
            (NodeId(3), QuorumRole::Learner),
        ]);
        assert_eq!(next(&four, &progress), Some(Step::ChangeQuorum(swap)));
        // Not for one that is silent itself, and not where this node may be the one that is cut off.
        progress[2].silent_ticks = Some(SILENT_MAX + 1);
        assert_eq!(next(&four, &progress), None);
        progress[2].silent_ticks = Some(0);
        progress[0].silent_ticks = Some(REPLACED_AFTER);
        assert_eq!(next(&four, &progress), None);
    }

    #[test]
    fn who_was_never_heard_of_is_silent_since_this_node_leads() {
        let mut four = state(4);
        steps(&mut four, &caught_up(&[2, 3, 4]));
        let mut progress = caught_up(&[2, 3, 4]);
        progress[1].silent_ticks = None;
        let led = |led_ticks| {
            decide(&Facts {
                led_ticks,
                ..facts(&four, &progress)
            })
        };
        assert_eq!(led(REPLACED_AFTER - 1), None);
        assert!(matches!(led(REPLACED_AFTER), Some(Step::ChangeQuorum(_))));
    }

    #[test]
    fn voters_are_spread_over_zones() {
        let mut state = state(2);
        for (n, zone) in [(3, "a"), (4, "b"), (5, "b"), (6, "c")] {
            let joiner = Joiner {
                zone: Zone::new(zone),
                ..joiner(&format!("n{n}"))
            };
            state.apply(&Command::Join(joiner)).unwrap();
        }
        steps(&mut state, &caught_up(&[2, 3, 4, 5, 6]));
        let voters: Vec<u64> = state.quorum().voters.iter().map(|id| id.0).collect();
        assert_eq!(voters, [1, 4, 6]);
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
            last_index: LAG_MAX + 1,
            ..facts(&three, &progress)
        });
        assert_eq!(far, None);
    }
}
