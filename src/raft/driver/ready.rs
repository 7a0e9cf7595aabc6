//! The order of a Ready: what is written before what is sent, and what is applied after both.
//!
//! The order is `raft`'s own contract for one thread (`RawNode`, thesis §10.2.1):
//!
//! 1. a leader's messages leave: its followers may write while it does (after the write if the term or
//!    the vote is new: a lone voter leads before anything is written);
//! 2. snapshot, entries and hard state are written in one batch, synced if anything depends on it;
//! 3. what promises something of that batch leaves: votes and acknowledgements;
//! 4. reads whose quorum answered are noted;
//! 5. committed entries are applied;
//! 6. `advance`: the new commit index is noted, unsynced, and what it allows is sent and applied.
//!
//! Between `ready` and `advance` nothing else reaches `raft`.

use raft::eraftpb::{HardState, Snapshot};

use super::mistake::Mistake;
use super::{Driver, Fatal, Sink};
use crate::raft::disk::Disk;
use crate::raft::event::{Effect, Outcome};
use crate::raft::snapshot;

impl<D: Disk> Driver<D> {
    /// Handles Readys until there is none.
    pub(super) fn settle(&mut self, effects: Sink<'_>) -> Result<(), Fatal> {
        while self.raw.has_ready() {
            self.ready(effects)?;
            self.election.pin(&mut self.raw.raft);
        }
        Ok(())
    }

    fn ready(&mut self, effects: Sink<'_>) -> Result<(), Fatal> {
        let mut ready = self.raw.ready();
        let is_new_vote = ready.hs().is_some_and(|hard| self.is_new_vote(hard));
        if !is_new_vote {
            self.report_role(effects);
            self.send(ready.take_messages(), effects);
        }
        if self.makes(Mistake::SendBeforePersist) {
            self.send(ready.take_persisted_messages(), effects);
        }

        let received = Some(ready.snapshot()).filter(|snapshot| !snapshot.is_empty());
        let received = received.cloned();
        let is_synced = ready.must_sync() && !self.makes(Mistake::SkippedSync);
        let hard = ready.hs().map(|hard| self.promised(hard));
        self.raw.mut_store().persist(
            received.as_ref(),
            ready.entries(),
            hard.as_ref(),
            is_synced,
        )?;
        if is_new_vote {
            self.report_role(effects);
            self.send(ready.take_messages(), effects);
        }
        if let Some(received) = received {
            self.restore(&received, effects)?;
        }

        self.send(ready.take_persisted_messages(), effects);
        for read in ready.take_read_states() {
            self.requests.confirm_reads(&read.request_ctx, read.index);
        }
        self.apply(ready.take_committed_entries(), effects)?;

        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().persist_commit(commit)?;
        }
        self.send(light.take_messages(), effects);
        self.apply(light.take_committed_entries(), effects)?;
        self.raw.advance_apply();
        self.answer_reads(effects);
        Ok(())
    }

    /// Whether `hard` holds a term or a vote that is not written yet. Then nothing may leave before it is,
    /// not even what a leader says: a lone voter leads in the very step in which it campaigns, and were its
    /// vote lost, another could lead in the same term.
    fn is_new_vote(&self, hard: &HardState) -> bool {
        let written = self.raw.store().hard_state();
        (hard.term, hard.vote) != (written.term, written.vote)
    }

    /// Returns what is written of the hard state: all of it, unless forgetting the vote is the mistake.
    fn promised(&self, hard: &HardState) -> HardState {
        let mut hard = hard.clone();
        if self.makes(Mistake::VoteNotPersisted) {
            hard.vote = raft::INVALID_ID;
        }
        hard
    }

    /// A snapshot took the place of the log: the state is its state, and proposals below it are
    /// unknown, since their entries will never be seen here.
    fn restore(&mut self, received: &Snapshot, effects: Sink<'_>) -> Result<(), Fatal> {
        let meta = received.get_metadata();
        let state = snapshot::read(meta, received.get_data())
            .map_err(|error| Fatal::Raft(error.to_string()))?;
        self.state = state.into();
        self.applied = meta.index;
        self.applied_term = meta.term;
        self.snapshot_index = meta.index;
        self.checkpoints.clear();
        self.offer_snapshot();
        effects(Effect::Applied(self.state.clone()));
        for request in self.requests.skip_to(meta.index) {
            effects(Effect::Resolved(request, Outcome::Unknown));
        }
        Ok(())
    }
}
