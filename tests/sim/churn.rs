//! Nodes come and go: join, listen, vote, are swapped, removed and forgotten.
//!
//! One change after the other, as an operator would make them; now and then one too many, which a
//! driver must refuse.

use gcache::ids::NodeId;
use gcache::raft::event::{Outcome, RequestId};
use gcache::topology::commands::{Change, Command};
use gcache::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};

use crate::faults::Fault;
use crate::node::Node;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::Checked;
use crate::world::{Happening, World};

/// How long an outcome is waited for.
const PATIENCE: Micros = 3 * SECOND;

/// Nodes that a run has ever, at most.
const NODES_MAX: usize = 10;

/// Voters, at most and at least, where there is a choice.
const VOTERS: std::ops::RangeInclusive<usize> = 3..=7;

/// Who comes and goes.
pub(crate) struct Churn {
    /// The request that is waited for, what it asked, and until when.
    pending: Option<(RequestId, Step, Micros)>,
    /// What became of a change of the quorum is not known.
    is_uncertain: bool,
    /// The number of the last joiner.
    last: u64,
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Join,
    Change(QuorumChange),
    Forget(NodeId),
    /// The leader is asked to remove the member.
    Remove(NodeId),
    Transfer(NodeId),
}

impl Churn {
    /// A cluster of `members` that nobody joined or left.
    pub(crate) fn new(members: u64) -> Self {
        Self {
            pending: None,
            is_uncertain: false,
            last: members,
        }
    }

    /// Whether a node joins just now.
    pub(crate) fn is_joining(&self) -> bool {
        let step = self.pending.as_ref().map(|(_, step, _)| step);
        step == Some(&Step::Join)
    }

    /// Whether no change of the quorum is under way, or may be.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_none() && !self.is_uncertain
    }
}

impl World {
    /// The next change, and the one after it is planned.
    pub(crate) fn churn(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        let after = self.dice.within(50 * MILLISECOND..500 * MILLISECOND);
        self.queue.push(after, Happening::Churn);
        if let Some((request, step, until)) = self.churn.pending.take() {
            let is_open = self.checks.requests.is_open(request);
            if is_open && self.queue.now() < until {
                self.churn.pending = Some((request, step, until));
                return Ok(());
            }
            self.churn.is_uncertain |= matches!(step, Step::Change(_));
        }
        let leaders = self.up(|node| node.role.is_leader && node.state.is_some());
        let Some(leader) = self.dice.pick(&leaders) else {
            return Ok(());
        };
        let steps = self.steps(leader);
        let pick = self.dice.within(0..steps.len().max(1) as u64) as usize;
        let Some(step) = steps.into_iter().nth(pick) else {
            return Ok(());
        };
        self.ask_for(leader, step)
    }

    fn ask_for(&mut self, leader: u64, step: Step) -> Checked {
        let now = self.queue.now();
        self.trace
            .tell(now, format_args!("churn at node {leader}: {step:?}"));
        // Known before the answer, which may come at once.
        let asked = match &step {
            Step::Join => {
                self.churn.last += 1;
                let join = Command::Join(self.joiner(self.churn.last));
                self.plan(step, now);
                self.propose(leader, join.encode())
            }
            Step::Forget(id) => {
                let remove = Command::RemoveMember(*id);
                self.plan(step, now);
                self.propose(leader, remove.encode())
            }
            // The leader answers by itself.
            Step::Remove(id) => return self.remove(leader, *id),
            Step::Transfer(to) => {
                let to = *to;
                self.plan(step, now);
                self.transfer(leader, to)
            }
            Step::Change(change) => {
                let change = change.clone();
                self.plan(step, now);
                let asked = self.change(leader, change.clone())?;
                if self.dice.chance(300) {
                    self.change(leader, change)?;
                }
                Ok(asked)
            }
        };
        asked.map(|_| ())
    }

    fn plan(&mut self, step: Step, now: Micros) {
        let next = self.checks.requests.next();
        self.churn.pending = Some((next, step, now + PATIENCE));
    }

    /// What may change now, as `leader` sees it.
    fn steps(&self, leader: u64) -> Vec<Step> {
        let Some(state) = self.nodes.get(&leader).and_then(|node| node.state.as_ref()) else {
            return Vec::new();
        };
        let (quorum, mut steps) = (state.quorum(), Vec::new());
        if quorum.is_joint() {
            return steps;
        }
        let has = |fault| self.faults.contains(&fault);
        if has(Fault::Transfer) {
            steps.extend(quorum.voters.iter().map(|to| Step::Transfer(*to)));
        }
        let grows =
            has(Fault::Join) || has(Fault::Swap) || has(Fault::Wipe) || quorum.voters.len() < 3;
        if grows && self.nodes.len() < NODES_MAX {
            steps.push(Step::Join);
        }
        let members = state.members().map(|member| member.id);
        if self.has_leases {
            // Who listens and who votes is the leader's to decide.
            steps.extend(members.filter(|_| has(Fault::Remove)).map(Step::Remove));
            return steps;
        }
        for id in members.filter(|id| !quorum.contains(*id)) {
            if self.is_there(id) && grows {
                steps.push(change(&[(id, QuorumRole::Learner)]));
            }
            if has(Fault::Remove) {
                steps.push(Step::Forget(id));
            }
        }
        if has(Fault::Remove) {
            steps.extend(
                quorum
                    .learners
                    .iter()
                    .map(|id| change(&[(*id, QuorumRole::Removed)])),
            );
            // Refused, since a leader stays one.
            steps.push(change(&[(NodeId(leader), QuorumRole::Removed)]));
        }
        self.votes(leader, quorum, &mut steps);
        steps
    }

    /// How the voters may change.
    fn votes(&self, leader: u64, quorum: &Quorum, steps: &mut Vec<Step>) {
        let learners = || quorum.learners.iter().filter(|id| self.is_there(**id));
        for learner in learners().filter(|_| quorum.voters.len() < *VOTERS.end()) {
            steps.push(change(&[(*learner, QuorumRole::Voter)]));
        }
        for voter in quorum.voters.iter().filter(|voter| voter.0 != leader) {
            let is_lost = !self.is_there(*voter);
            let may_shrink =
                quorum.voters.len() > *VOTERS.start() && self.faults.contains(&Fault::Remove);
            if (may_shrink || is_lost) && self.can_go_on(quorum, *voter) {
                steps.push(change(&[(*voter, QuorumRole::Removed)]));
            }
            let swaps = is_lost || self.faults.contains(&Fault::Swap);
            for learner in learners().filter(|_| swaps) {
                let out = if voter.0 % 2 == 0 {
                    QuorumRole::Removed
                } else {
                    QuorumRole::Learner
                };
                steps.push(change(&[(*learner, QuorumRole::Voter), (*voter, out)]));
            }
        }
    }

    /// Whether the node is one that starts again whenever it is down.
    fn is_there(&self, id: NodeId) -> bool {
        let node = self.nodes.get(&id.0);
        node.is_some_and(Node::is_whole)
    }

    /// Whether enough voters start again, once `without` is none.
    fn can_go_on(&self, quorum: &Quorum, without: NodeId) -> bool {
        let left = quorum.voters.iter().filter(|voter| **voter != without);
        let (left, there): (Vec<_>, Vec<_>) = (
            left.clone().collect(),
            left.filter(|id| self.is_there(**id)).collect(),
        );
        there.len() * 2 > left.len()
    }

    /// Somebody has the outcome of a request; maybe it is the one that is waited for.
    pub(crate) fn churned(&mut self, request: RequestId, outcome: &Outcome) -> Checked {
        let is_ours = |pending: &mut (RequestId, Step, Micros)| pending.0 == request;
        let Some((_, step, _)) = self.churn.pending.take_if(is_ours) else {
            return Ok(());
        };
        match (step, outcome) {
            (
                Step::Join,
                Outcome::Applied {
                    result: Ok(Change::Joined(id)),
                    ..
                },
            ) => {
                self.seen.add(Fault::Join);
                self.joined(*id)
            }
            (Step::Change(change), Outcome::Applied { result, .. }) => {
                self.churn.is_uncertain = false;
                let is_removal = change
                    .changes
                    .iter()
                    .any(|(_, role)| *role == QuorumRole::Removed);
                if result.is_ok() && change.changes.len() > 1 {
                    self.seen.add(Fault::Swap);
                } else if result.is_ok() && is_removal {
                    self.seen.add(Fault::Remove);
                }
                Ok(())
            }
            (Step::Change(_), Outcome::Unknown) => {
                self.churn.is_uncertain = true;
                Ok(())
            }
            (Step::Transfer(_), Outcome::Done) => {
                self.seen.add(Fault::Transfer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A new member was given this id: it starts on an empty disk.
    fn joined(&mut self, NodeId(id): NodeId) -> Checked {
        if self.nodes.contains_key(&id) {
            return Ok(());
        }
        let mut node = Node::new(id, &mut self.dice);
        node.version = self.joiner(self.churn.last).version;
        node.join();
        self.add(node)
    }
}

fn change(changes: &[(NodeId, QuorumRole)]) -> Step {
    Step::Change(QuorumChange {
        changes: changes.to_vec(),
    })
}
