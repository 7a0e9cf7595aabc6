//! From committed entries to the state, and from the state to snapshots.

use std::sync::Arc;

use prost_for_raft::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};

use super::mistake::Mistake;
use super::{CHECKPOINT_EVERY, Driver, Fatal, Sink};
use crate::raft::disk::Disk;
use crate::raft::event::{Effect, Outcome, RequestId};
use crate::raft::quorum::{conf_state, quorum, quorum_change};
use crate::raft::snapshot;
use crate::topology::commands::{Change, Command};
use crate::topology::{DecodeError, Refusal};

/// Hashes of the state that are kept to compare with those of peers.
const CHECKPOINTS_KEPT: usize = 8;

impl<D: Disk> Driver<D> {
    /// Applies `entries`, which follow what was applied.
    pub(super) fn apply(&mut self, entries: Vec<Entry>, effects: Sink<'_>) -> Result<(), Fatal> {
        if entries.is_empty() {
            return Ok(());
        }
        if self.makes(Mistake::SnapshotAtCommit) {
            self.offer_snapshot();
        }
        let mut outcomes = Vec::new();
        for entry in &entries {
            if entry.index != self.applied + 1 {
                let reason = format!("entry {} came after {}", entry.index, self.applied);
                return Err(Fatal::Raft(reason));
            }
            let result = self.apply_one(entry)?;
            self.applied = entry.index;
            self.applied_term = entry.term;
            outcomes.extend(self.resolve(entry, result));
            if entry.index.is_multiple_of(CHECKPOINT_EVERY) {
                self.checkpoints.insert(entry.index, self.state.hash());
                if self.checkpoints.len() > CHECKPOINTS_KEPT {
                    self.checkpoints.pop_first();
                }
            }
        }
        if !self.makes(Mistake::SnapshotAtCommit) {
            self.offer_snapshot();
        }
        effects(Effect::Applied(self.state.clone()));
        // After the state that holds them: a caller that hears of an outcome looks into the state.
        for (request, outcome) in outcomes {
            effects(Effect::Resolved(request, outcome));
        }
        Ok(())
    }

    /// Applies an entry; returns what it did, nothing for the one with which a leader begins its term.
    fn apply_one(&mut self, entry: &Entry) -> Result<Option<Result<Change, Refusal>>, Fatal> {
        let unreadable = |error: String| Fatal::Entry {
            index: entry.index,
            error,
        };
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Ok(None),
            EntryType::EntryNormal => {
                let command = match Command::decode(&entry.data) {
                    Ok(command) => self.as_applied(command),
                    Err(_) if self.makes(Mistake::UnknownCommandSkipped) => return Ok(None),
                    Err(error) => {
                        return self
                            .refuse_unknown(&error)
                            .ok_or_else(|| unreadable(error.to_string()));
                    }
                };
                let is_applied_twice = self.makes(Mistake::AppliedTwice);
                let is_unchecked = self.makes(Mistake::UnknownCommandApplied);
                let state = Arc::make_mut(&mut self.state);
                let result = match is_unchecked {
                    true => state.carry_out(&command),
                    false => state.apply(&command),
                };
                if is_applied_twice {
                    let _again = state.apply(&command);
                }
                self.forget_ids();
                Ok(Some(result))
            }
            EntryType::EntryConfChangeV2 => {
                let change = ConfChangeV2::decode(&entry.data[..])
                    .map_err(|error| unreadable(error.to_string()))?;
                Ok(Some(self.apply_quorum(&change)))
            }
            EntryType::EntryConfChange => {
                Err(unreadable("a change of the quorum in the old form".into()))
            }
        }
    }

    /// The refusal of a command that this executable cannot read, if all members refuse it: one of them, which
    /// may be this one, does not know its version. None if others apply it.
    fn refuse_unknown(&self, error: &DecodeError) -> Option<Option<Result<Change, Refusal>>> {
        let DecodeError::UnknownVersion { found, .. } = *error else {
            return None;
        };
        let refusal = self.state.must_know(found).err()?;
        Some(Some(Err(refusal)))
    }

    /// Changes who votes. Refused alike on every node: it depends on the applied state alone.
    fn apply_quorum(&mut self, entry: &ConfChangeV2) -> Result<Change, Refusal> {
        self.state.may_change_quorum(&quorum_change(entry))?;
        let conf = self
            .raw
            .apply_conf_change(entry)
            .map_err(|error| Refusal::Quorum(error.to_string()))?;
        Arc::make_mut(&mut self.state).set_quorum(quorum(&conf));
        self.step_down_if_removed();
        Ok(Change::Quorum)
    }

    /// A leader that votes no more follows at once. No leader removes itself, but a voter that wins an
    /// election with its own removal in its log commits it. `raft` would let it lead for ever without
    /// proposals of its own, and panic at the next entry that it persists (raft-rs#584).
    fn step_down_if_removed(&mut self) {
        let is_removed = !self.state.quorum().is_voter(self.ident.node);
        if self.leads() && is_removed && !self.makes(Mistake::LeaderRemovesItself) {
            // What an earlier entry of this Ready made a leader say, no follower may (`advance`). That
            // the removal is committed was said before.
            self.raw.raft.msgs.clear();
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// The outcome for the request that proposed this entry, or another one in its place.
    fn resolve(
        &mut self,
        entry: &Entry,
        result: Option<Result<Change, Refusal>>,
    ) -> Option<(RequestId, Outcome)> {
        let (term, request) = self.requests.take_proposal(entry.index)?;
        let outcome = match result {
            // The index is taken by another leader's entry: ours can never be committed.
            _ if term != entry.term => Outcome::NotLeader(self.leader()),
            Some(result) => Outcome::Applied {
                index: entry.index,
                result,
            },
            // `raft` puts an empty entry in the place of a change of the quorum that came too early.
            None => Outcome::Refused("another change of the quorum was under way"),
        };
        Some((request, outcome))
    }

    /// Answers reads whose index was applied.
    pub(super) fn answer_reads(&mut self, effects: Sink<'_>) {
        for request in self.requests.readable(self.applied) {
            effects(Effect::Resolved(request, Outcome::Readable(self.applied)));
        }
    }

    /// Lets the log answer requests for a snapshot with what is applied now.
    pub(super) fn offer_snapshot(&mut self) {
        if self.applied == 0 {
            return;
        }
        let index = if self.makes(Mistake::SnapshotAtCommit) {
            self.commit()
        } else {
            self.applied
        };
        let conf = conf_state(self.state.quorum());
        let state = self.state.clone();
        let encode = Box::new(move || snapshot::data(&state));
        self.raw.mut_store().set_applied(index, conf, encode);
    }

    /// Takes a snapshot and drops older entries if there are enough of them, or if someone asked.
    pub(super) fn compact_if_due(&mut self, effects: Sink<'_>) -> Result<(), Fatal> {
        let since = self.applied - self.snapshot_index;
        let is_long = since >= self.settings.snapshot_every;
        let asked = std::mem::take(&mut self.compactions);
        if since > 0 && (is_long || !asked.is_empty() || self.is_log_large()) {
            self.compact()?;
        }
        for request in asked {
            effects(Effect::Resolved(request, Outcome::Done));
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Fatal> {
        let snapshot = snapshot::of(&self.state, self.applied, self.applied_term);
        let log = self.raw.mut_store();
        let keep = log.fitting(self.applied, self.settings.log_bytes);
        log.compact(snapshot, keep.min(self.settings.keep))?;
        self.snapshot_index = self.applied;
        Ok(())
    }

    /// Whether the entries since the last snapshot are larger than they may be.
    fn is_log_large(&self) -> bool {
        self.raw.store().bytes_after(self.snapshot_index) > self.settings.log_bytes
    }

    /// The command that is applied for `command`: the same, unless this node's clock is to count.
    fn as_applied(&self, mut command: Command) -> Command {
        if self.makes(Mistake::ClockApplied)
            && let Command::SetGroups(set) = &mut command
        {
            set.at_unix_ms = self.ticks;
        }
        command
    }

    /// Makes the state another than that of the others, for the simulator to see that they report it. Returns
    /// whether it is another now.
    #[cfg(feature = "simulation")]
    pub fn diverge(&mut self, command: &Command) -> bool {
        Arc::make_mut(&mut self.state).apply(command).is_ok()
    }

    /// The mistake of giving a removed member's id away.
    #[cfg(feature = "simulation")]
    fn forget_ids(&mut self) {
        if self.makes(Mistake::IdReused) {
            Arc::make_mut(&mut self.state).forget_ids();
        }
    }

    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "with the simulation it is used")]
    fn forget_ids(&mut self) {}
}
