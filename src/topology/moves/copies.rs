//! Copies, as the leader sees them: from whom they are taken, and when he gets them back. Pure.
//!
//! An owner acknowledges no delete that a standby with copies has not heard of. If the standby does not hear,
//! the owner says so, and waits until the log says that the standby has no copies.

use crate::ids::{Epoch, Millis, NodeId, Partition};
use crate::topology::commands::runs::runs;
use crate::topology::commands::{Command, CopiesRun};
use crate::topology::state::State;

/// A standby that may have copies and is not told of deletes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// The standby.
    pub standby: NodeId,
    /// Copies kept since then or before are meant.
    pub since: Epoch,
}

/// For how long at least a standby that did not hear an owner keeps no copies of what that has. Twice as long
/// each time, up to [`COPIES_PAUSE_MAX_MS`], if it does not hear it again soon after.
pub const COPIES_PAUSE_MS: u64 = 10_000;

/// The longest such pause.
pub const COPIES_PAUSE_MAX_MS: u64 = 320_000;

/// What a leader has noted of copies. It is of one term and gone with it.
#[derive(Clone, Debug, Default)]
pub(super) struct CopyBook {
    /// When copies were last found to be unheard, and for how long there are none from then on.
    unheard: Option<(Millis, u64)>,
}

impl CopyBook {
    /// Takes the copies from standbys that do not hear their owner, as that says.
    pub(super) fn drop(
        &mut self,
        now: Millis,
        state: &State,
        unheard: impl Fn(NodeId) -> Option<Unheard>,
    ) -> Option<Command> {
        let said: Vec<_> = state
            .members()
            .filter_map(|member| Some((member.id, unheard(member.id)?)))
            .collect();
        let is_unheard = |owner, standby, since| {
            let mut said = said.iter();
            said.any(|(id, unheard)| {
                (owner, standby) == (Some(*id), Some(unheard.standby)) && since <= unheard.since
            })
        };
        if said.is_empty() {
            return None;
        }
        let table = state.table().iter();
        let dropped = table.filter(|(_, at)| {
            at.copies.are_kept && is_unheard(at.owner, at.standby, at.copies.since)
        });
        let command = set(
            dropped.map(|(partition, at)| (partition, at.copies.since)),
            false,
        )?;
        self.unheard = Some((now, self.pause(now)));
        Some(command)
    }

    /// Lets standbys keep copies again, if it is time.
    pub(super) fn keep(&self, now: Millis, state: &State) -> Option<Command> {
        let is_early = |(at, pause)| now.since(at) < pause;
        if self.unheard.is_some_and(is_early) || !state.has_copies() {
            return None;
        }
        let is_there = |id: Option<NodeId>| id.is_some_and(|id| state.is_up(id));
        let table = state.table().iter();
        let kept = table
            .filter(|(_, at)| !at.copies.are_kept && is_there(at.owner) && is_there(at.standby));
        set(
            kept.map(|(partition, at)| (partition, at.copies.since)),
            true,
        )
    }

    /// How long there are no copies where one was found to be unheard just now.
    fn pause(&self, now: Millis) -> u64 {
        match self.unheard.map(|(at, pause)| (now.since(at), pause)) {
            // Of the same event.
            Some((ago, pause)) if ago < pause => pause,
            // As soon as it was tried again.
            Some((ago, pause)) if ago < 2 * pause => (2 * pause).min(COPIES_PAUSE_MAX_MS),
            _ => COPIES_PAUSE_MS,
        }
    }
}

/// The command that keeps copies of these partitions or none, if there are any; with their present epochs.
fn set(partitions: impl Iterator<Item = (Partition, Epoch)>, are_kept: bool) -> Option<Command> {
    let run = |(first, count, since)| CopiesRun {
        first,
        count,
        since,
        are_kept,
    };
    let runs: Vec<_> = runs(partitions).into_iter().map(run).collect();
    (!runs.is_empty()).then_some(Command::SetCopies(runs))
}

#[cfg(test)]
mod tests;
