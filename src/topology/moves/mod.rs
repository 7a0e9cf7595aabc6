//! Moves from the leader's side: decides which partitions begin to move, and when each move ends. Pure.
//!
//! A move has three steps: it is prepared, then the owner sends its entries to the next owner, then it is
//! activated. It may be activated once every member that holds a lease has applied its preparation: from then
//! on the owner acknowledges no delete that the next owner has not applied, so the entries of the next owner
//! are never older than what was acknowledged. A move that makes no progress is activated all the same, and
//! the new owner asks the old owner or the origin for missing keys. A move whose members do not reach each
//! other is given up.
//!
//! A member that leaves cannot be asked afterwards. So all that it owns moves in one wave, each part for as
//! long as it takes, and the member itself reports when its time is up.

pub mod copies;
pub mod forecast;

use std::collections::BTreeMap;

use crate::ids::{Epoch, Millis, NodeId, Partition, Tenure};
use crate::topology::commands::runs::runs;
use crate::topology::commands::{AbortRun, ActivateRun, Command, MoveRun, PrepareMoves};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::PartitionTable;
use crate::topology::moves::copies::{CopyBook, Unheard};
use crate::topology::placement::place;
use crate::topology::state::State;
use crate::topology::state::apply::epoch::next_epoch;

/// The most partitions that begin to move at once, not counting those of members that leave.
pub const WAVE_MAX: usize = 1_024;

/// How long a move may take to transfer the most valuable entries.
pub const MOVE_MAX_MS: u64 = 2_000;

/// How long a move may take from a member that leaves and does not report that its time is up: the longest
/// `node.leave_timeout`. After that the member cannot be leaving as it should.
pub const LEAVE_MOVE_MAX_MS: u64 = 90_000;

/// The report of a member on the moves that it takes part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveReport {
    /// The member has received all entries that were due first, for the moves to it of this tenure and
    /// earlier.
    pub warmed: Tenure,
    /// The member cannot send what it should, for a move of this tenure or an earlier one.
    pub broken: Tenure,
    /// The member stops in a moment: moves from it wait for nothing any more.
    pub stops_soon: bool,
    /// A standby that does not acknowledge this member's deletes, and which of its copies are meant.
    pub unheard: Option<Unheard>,
}

/// A leader's notes on the moves under way, for one term.
#[derive(Clone, Debug, Default)]
pub struct MoveBook {
    /// Since when all members know of the moves of a tenure.
    known: BTreeMap<Tenure, Millis>,
    reports: BTreeMap<NodeId, MoveReport>,
    copies: CopyBook,
}

impl MoveBook {
    /// Notes the report of a member.
    pub fn reported(&mut self, member: NodeId, report: MoveReport) {
        self.reports.insert(member, report);
    }

    /// The command that ends what should end now, if anything. What cannot go on comes first.
    pub fn next(&mut self, now: Millis, state: &State, settled: Epoch) -> Option<Command> {
        let unheard = |owner: NodeId| self.reports.get(&owner)?.unheard;
        if let Some(dropped) = self.copies.drop(now, state, unheard) {
            return Some(dropped);
        }
        let table = state.table();
        let pending = pending(table);
        self.known
            .retain(|tenure, _| pending.keys().any(|(pending, _)| pending == tenure));
        let (mut broken, mut ready) = (Vec::new(), Vec::new());
        for ((tenure, to), partitions) in &pending {
            let is_broken = |id: &NodeId| {
                let report = self.reports.get(id);
                report.is_some_and(|report| report.broken >= *tenure)
            };
            for (partition, from) in partitions {
                if is_broken(from) || !state.is_up(*to) {
                    broken.push((*partition, *tenure));
                }
            }
            if tenure.0 > settled.0 {
                continue;
            }
            let since = *self.known.entry(*tenure).or_insert(now);
            let report = self.reports.get(to).copied().unwrap_or_default();
            let is_warm = report.warmed >= *tenure;
            let is_ready = |from| is_warm || now.since(since) >= self.patience(state, from);
            let due = partitions.iter().filter(|(_, from)| is_ready(*from));
            ready.extend(due.map(|(at, _)| (*at, *to, *tenure)));
        }
        if !broken.is_empty() {
            return Some(Command::AbortMoves(aborts(&mut broken)));
        }
        if !ready.is_empty() {
            return Some(Command::ActivateMoves(activations(state, &mut ready)));
        }
        self.copies.keep(now, state)
    }

    /// How long moves from this member may take.
    fn patience(&self, state: &State, from: NodeId) -> u64 {
        let stops_soon = self.reports.get(&from).is_some_and(|it| it.stops_soon);
        match is(state, from, MemberStatus::Leaving) {
            true if stops_soon => 0,
            true => LEAVE_MOVE_MAX_MS,
            false => MOVE_MAX_MS,
        }
    }
}

fn is(state: &State, id: NodeId, status: MemberStatus) -> bool {
    let member = state.member(id);
    member.is_some_and(|member| member.status == status)
}

/// The pending moves: by tenure and new owner, each partition with its present owner.
type Pending = BTreeMap<(Tenure, NodeId), Vec<(Partition, NodeId)>>;

fn pending(table: &PartitionTable) -> Pending {
    let mut pending = Pending::new();
    for (partition, at) in table.iter() {
        if let (Some(from), Some(moving)) = (at.owner, at.move_to) {
            let moves = pending.entry((moving.tenure, moving.to)).or_default();
            moves.push((partition, from));
        }
    }
    pending
}

fn aborts(broken: &mut [(Partition, Tenure)]) -> Vec<AbortRun> {
    broken.sort_unstable();
    let runs = runs(broken.iter().copied()).into_iter();
    let run = |(first, count, tenure)| AbortRun {
        first,
        count,
        tenure,
    };
    runs.map(run).collect()
}

/// Activations of these moves, with the standbys that placement wants after them.
fn activations(state: &State, ready: &mut [(Partition, NodeId, Tenure)]) -> Vec<ActivateRun> {
    ready.sort_unstable();
    let mut after = PartitionTable::clone(state.table());
    for (partition, to, _) in ready.iter() {
        let mut at = after[*partition];
        at.owner = Some(*to);
        at.standby = at.standby.filter(|standby| standby != to);
        after.set(*partition, at);
    }
    let target = place(&state.ring(), Some(&after), next_epoch(state));
    let all = ready.iter().map(|(partition, to, tenure)| {
        // If placement now wants another owner, that member becomes the standby.
        let wanted = [target[*partition].standby, target[*partition].owner];
        let standby = wanted.into_iter().flatten().find(|id| id != to);
        (*partition, (*tenure, standby))
    });
    let run = |(first, count, (tenure, standby))| ActivateRun {
        first,
        count,
        tenure,
        standby,
    };
    runs(all).into_iter().map(run).collect()
}

impl State {
    /// The command that begins moves to the owners that placement wants: of up to `max` partitions, and
    /// beside them of all that leaving members own. All their owners must be able to hand over, and nothing
    /// may be moving yet.
    ///
    /// None if nothing should move. None also if a partition has no owner that could hand it over: then
    /// [`plan_assign`](Self::plan_assign) is due.
    #[must_use]
    pub fn plan_moves(&self, max: usize) -> Option<Command> {
        let ring = self.ring();
        let table = self.table();
        if table.is_moving() || !ring.iter().any(|member| member.may_own()) {
            return None;
        }
        let target = place(&ring, Some(table), next_epoch(self));
        let hands_over = |id: NodeId| {
            let status = self.member(id).map(|member| member.status);
            matches!(status, Some(MemberStatus::Up | MemberStatus::Leaving))
        };
        let mut all = Vec::new();
        let mut moved = 0;
        for (partition, at) in table.iter() {
            let to = target[partition].owner.filter(|to| at.owner != Some(*to));
            // The time of a leaving owner is limited: in several waves, the last one would get none of it.
            let leaves = at
                .owner
                .is_some_and(|id| is(self, id, MemberStatus::Leaving));
            let Some(to) = to.filter(|_| leaves || moved < max) else {
                continue;
            };
            if !at.owner.is_some_and(hands_over) {
                return None;
            }
            moved += usize::from(!leaves);
            all.push((partition, to));
        }
        let run = |(first, count, to)| MoveRun { first, count, to };
        let runs: Vec<_> = runs(all).into_iter().map(run).collect();
        let expected = self.epoch();
        (!runs.is_empty()).then_some(Command::PrepareMoves(PrepareMoves { expected, runs }))
    }
}

#[cfg(test)]
mod tests;
