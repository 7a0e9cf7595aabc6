//! What a leader proposes, and when it must not: commands, changes of the quorum, reads.

use bytes::Bytes;
use raft::Error;

use super::mistake::Mistake;
use super::{Driver, ELECTION_TICKS, Sink};
use crate::ids::NodeId;
use crate::raft::disk::Disk;
use crate::raft::event::{Effect, Outcome, RequestId};
use crate::raft::quorum::conf_change;
use crate::topology::commands::Command;
use crate::topology::model::quorum::{QuorumChange, QuorumRole};

/// Ticks of silence after which a voter is not counted on: two election timeouts.
const SILENT_TICKS: u64 = 2 * ELECTION_TICKS as u64;

/// Why `raft` drops a proposal.
const DROPPED: &str = "leadership is being handed over, or too much waits to be committed";

impl<D: Disk> Driver<D> {
    pub(super) fn propose(&mut self, request: RequestId, command: Bytes, effects: Sink<'_>) {
        if let Err(outcome) = self.try_propose(request, command, effects) {
            effects(Effect::Resolved(request, outcome));
        }
    }

    fn try_propose(
        &mut self,
        request: RequestId,
        command: Bytes,
        effects: Sink<'_>,
    ) -> Result<(), Outcome> {
        self.must_lead()?;
        let decoded = Command::decode(&command).map_err(|error| {
            tracing::warn!(%error, "command not proposed");
            Outcome::Refused("the command cannot be read")
        })?;
        let is_unused = self.state.may_use(&decoded).is_err();
        if is_unused && !self.makes(Mistake::UnknownCommandApplied) {
            return Err(Outcome::Refused(
                "not every member knows this command yet, or its version is not in use",
            ));
        }
        self.raw
            .propose(Vec::new(), command.to_vec())
            .map_err(|error| self.dropped(&error))?;
        self.note_proposal(request, effects);
        Ok(())
    }

    /// Whether a proposal of this node may be taken now.
    fn must_lead(&self) -> Result<(), Outcome> {
        if !self.leads() {
            return Err(Outcome::NotLeader(self.leader()));
        }
        if self.requests.is_full() {
            return Err(Outcome::Refused("too many proposals wait already"));
        }
        Ok(())
    }

    fn dropped(&self, error: &Error) -> Outcome {
        match error {
            Error::ProposalDropped => Outcome::Refused(DROPPED),
            _ => Outcome::NotLeader(self.leader()),
        }
    }

    /// The entry that was just appended is the request's.
    fn note_proposal(&mut self, request: RequestId, effects: Sink<'_>) {
        let (index, term) = (self.last_index(), self.term());
        if let Some(lost) = self.requests.proposed(index, term, request) {
            let outcome = Outcome::NotLeader(self.leader());
            effects(Effect::Resolved(lost, outcome));
        }
    }

    pub(super) fn change_quorum(
        &mut self,
        request: RequestId,
        change: &QuorumChange,
        effects: Sink<'_>,
    ) {
        if let Err(outcome) = self.try_change_quorum(request, change, effects) {
            effects(Effect::Resolved(request, outcome));
        }
    }

    fn try_change_quorum(
        &mut self,
        request: RequestId,
        change: &QuorumChange,
        effects: Sink<'_>,
    ) -> Result<(), Outcome> {
        self.must_lead()?;
        if self.makes(Mistake::ConfChangeWhilePending) {
            self.raw.raft.pending_conf_index = 0;
        } else if self.raw.raft.has_pending_conf() {
            return Err(Outcome::Refused(
                "another change of the quorum is under way",
            ));
        }
        self.check_quorum_change(change).map_err(Outcome::Refused)?;
        self.raw
            .propose_conf_change(Vec::new(), conf_change(change))
            .map_err(|error| self.dropped(&error))?;
        self.note_proposal(request, effects);
        Ok(())
    }

    fn check_quorum_change(&self, change: &QuorumChange) -> Result<(), &'static str> {
        let quorum = self.state.quorum();
        if change.changes.is_empty() != quorum.is_joint() {
            return Err(if quorum.is_joint() {
                "the joint configuration must be left first"
            } else {
                "the change is empty"
            });
        }
        if self.state.may_change_quorum(change).is_err() {
            return Err("the change names who is no member, or leaves nobody to vote");
        }
        if self.makes(Mistake::LeaderRemovesItself) {
            return Ok(());
        }
        let is_own = |(node, role): &(NodeId, QuorumRole)| {
            *node == self.ident.node && *role != QuorumRole::Voter
        };
        if change.changes.iter().any(is_own) {
            return Err("a leader does not remove itself: transfer the leadership first");
        }
        let voters = quorum.voters_after(change);
        let heard = voters.iter().filter(|voter| self.is_heard(**voter)).count();
        if heard * 2 <= voters.len() {
            return Err("too many of the voters that would remain are silent");
        }
        Ok(())
    }

    /// Whether `peer` was heard of lately, or is this node.
    fn is_heard(&self, peer: NodeId) -> bool {
        let heard = self.heard.get(&peer);
        peer == self.ident.node
            || heard.is_some_and(|heard| self.ticks - heard.tick <= SILENT_TICKS)
    }

    /// Leaves a joint configuration as soon as it can be, which is a leader's duty: the leader that entered it
    /// may be gone. A leader that would not be a voter afterwards hands over first.
    pub(super) fn leave_joint(&mut self) {
        let quorum = self.state.quorum();
        let is_busy = self.raw.raft.has_pending_conf() || self.raw.raft.lead_transferee.is_some();
        if !self.leads() || !quorum.is_joint() || is_busy || self.makes(Mistake::JointNeverLeft) {
            return;
        }
        if quorum.voters.contains(&self.ident.node) || self.makes(Mistake::LeaderRemovesItself) {
            let leave = conf_change(&QuorumChange::default());
            // Tried again on the next turn if it is dropped.
            let _dropped = self.raw.propose_conf_change(Vec::new(), leave);
            return;
        }
        let heirs = quorum.voters.iter().filter(|voter| self.is_heard(**voter));
        let matched = |voter: &NodeId| self.raw.raft.prs().get(voter.0).map(|peer| peer.matched);
        if let Some(heir) = heirs.max_by_key(|voter| matched(voter)).copied() {
            self.raw.transfer_leader(heir.0);
        }
    }

    pub(super) fn read(&mut self, request: RequestId, effects: Sink<'_>) {
        let outcome = if !self.leads() {
            Outcome::NotLeader(self.leader())
        } else if !self.raw.raft.commit_to_current_term() {
            // `raft` would drop the question without a word.
            Outcome::Refused("the leader has not committed in its term yet")
        } else if self.requests.ask(request) {
            return;
        } else {
            Outcome::Refused("too many reads wait already")
        };
        effects(Effect::Resolved(request, outcome));
    }

    /// Asks a quorum once for all reads of this turn.
    pub(super) fn ask_quorum(&mut self, effects: Sink<'_>) {
        if !self.leads() {
            for request in self.requests.lose_reads() {
                let outcome = Outcome::NotLeader(self.leader());
                effects(Effect::Resolved(request, outcome));
            }
            return;
        }
        let is_reused = self.makes(Mistake::ContextReused);
        if let Some(context) = self.requests.question(self.ticks, is_reused) {
            self.raw.read_index(context);
        }
    }
}
