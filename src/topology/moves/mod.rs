//! Moves, as the leader sees them: which partitions begin to move, and when each move ends. Pure.
//!
//! A move is prepared, then its owner sends what it keeps to the next one, then it is activated. It may be
//! activated once every member that holds a lease has applied that it was prepared: from then on the owner
//! acknowledges no delete that the next one has not heard of, so that what the next one has is never older
//! than what was acknowledged. A move that does not get on is activated all the same, and what is missing
//! is asked of the old owner or of the origin; one whose members do not hear each other is given up.
//!
//! Of a member that leaves nobody can ask afterwards. So all that it owns moves in one wave, each part of it
//! for as long as it takes, and it is the member that says when its time is up.

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

/// How many partitions begin to move at once, beside those of members that leave.
pub const WAVE_MAX: usize = 1_024;

/// How long a move may take to bring over what is worth most.
pub const MOVE_MAX_MS: u64 = 2_000;

/// How long a move may take from a member that leaves and does not say that its time is up: as long as the
/// longest `node.leave_timeout`. Later than that it is not what it seems.
pub const LEAVE_MOVE_MAX_MS: u64 = 90_000;

/// What a member says of the moves it has part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveReport {
    /// All that it was to be sent first for the moves of this tenure and before has come.
    pub warmed: Tenure,
    /// It cannot send what it is to send for the moves of this tenure, or of one before.
    pub broken: Tenure,
    /// It stops in a moment: what moves from it waits for nothing any more.
    pub stops_soon: bool,
    /// A standby that does not hear this member, and since when the copies that it has are kept.
    pub unheard: Option<Unheard>,
}

/// What a leader has noted of the moves under way. It is of one term and gone with it.
#[derive(Clone, Debug, Default)]
pub struct MoveBook {
    /// Since when all know of the moves of a tenure.
    known: BTreeMap<Tenure, Millis>,
    reports: BTreeMap<NodeId, MoveReport>,
    copies: CopyBook,
}

impl MoveBook {
    /// A member has said this.
    pub fn reported(&mut self, member: NodeId, report: MoveReport) {
        self.reports.insert(member, report);
    }

    /// The command that ends what is to end now, if anything: at first what cannot go on.
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

    /// How long what moves from this member may take.
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

/// What moves: by tenure and target, each partition with its owner.
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

/// Activations of these moves, with the standbys that placement wants once they are over.
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
        // Where placement has changed its mind meanwhile, whom it wants now stands by.
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
    /// The command that begins to move up to `max` partitions to whom placement would give them, and all
    /// that members own which leave, if all owners can hand over and nothing moves yet.
    ///
    /// None if nothing is to move; and none if a partition has no owner that could hand it over: then
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
            // Its time runs: in waves, what comes last would get none of it.
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
