//! Copies from the leader's side: decides from which standbys they are taken, and when they are given back.
//! Pure.
//!
//! An owner acknowledges no delete that a standby with copies has not applied. If the standby does not
//! answer, the owner reports it as unheard, and waits until the log says that the standby has no copies.

use crate::ids::{Epoch, Millis, NodeId, Partition};
use crate::topology::commands::runs::runs;
use crate::topology::commands::{Command, CopiesRun};
use crate::topology::state::State;

/// A standby that may have copies but no longer acknowledges deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// The standby.
    pub standby: NodeId,
    /// The copies kept since this epoch or an earlier one are meant.
    pub since: Epoch,
}

/// The shortest pause without copies after a standby was unheard. The pause doubles each time, up to
/// [`COPIES_PAUSE_MAX_MS`], if a standby is unheard again soon after.
pub const COPIES_PAUSE_MS: u64 = 10_000;

/// The longest pause without copies.
pub const COPIES_PAUSE_MAX_MS: u64 = 320_000;

/// A leader's notes on copies, for one term.
#[derive(Clone, Debug, Default)]
pub(super) struct CopyBook {
    /// When a standby was last found to be unheard, and the pause without copies that began then.
    unheard: Option<(Millis, u64)>,
}

impl CopyBook {
    /// Takes copies from the standbys that their owners report as unheard.
    pub(super) fn drop(
        &mut self,
        now: Millis,
        state: &State,
        unheard: impl Fn(NodeId) -> Option<Unheard>,
    ) -> Option<Command> {
        let reports: Vec<_> = state
            .members()
            .filter_map(|member| Some((member.id, unheard(member.id)?)))
            .collect();
        let is_unheard = |owner, standby, since| {
            let mut reports = reports.iter();
            reports.any(|(id, unheard)| {
                (owner, standby) == (Some(*id), Some(unheard.standby)) && since <= unheard.since
            })
        };
        if reports.is_empty() {
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

    /// The pause for a standby that was found to be unheard just now.
    fn pause(&self, now: Millis) -> u64 {
        match self.unheard.map(|(at, pause)| (now.since(at), pause)) {
            // A part of the same event.
            Some((ago, pause)) if ago < pause => pause,
            // Unheard again soon after copies were tried again.
            Some((ago, pause)) if ago < 2 * pause => (2 * pause).min(COPIES_PAUSE_MAX_MS),
            _ => COPIES_PAUSE_MS,
        }
    }
}

/// The command that sets whether copies of these partitions, given with the present `since`, are kept. None
/// if there are no partitions.
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
