//! Copies that standbys keep: whether there are any, and from when on they count. Pure.

use std::sync::Arc;

use super::epoch::next_epoch;
use super::partitions::{Named, take};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, CopiesRun};
use crate::topology::model::partitions::{Assignment, Copies, PartitionTable};
use crate::topology::state::State;

/// From now on standbys keep copies, or none. What they kept before is void.
pub(super) fn set(state: &mut State, runs: &[CopiesRun]) -> Result<Change, Refusal> {
    let mut table = state.table.clone();
    let wanted = state.has_copies();
    let mut named = Named::default();
    for run in runs {
        for partition in named.run(run.first, run.count)? {
            let was = state.table[partition];
            if was.copies.since != run.since {
                return Err(Refusal::OtherCopies {
                    partition,
                    expected: run.since,
                    found: was.copies.since,
                });
            }
            if run.are_kept && (was.standby.is_none() || !wanted) {
                return Err(Refusal::NobodyCopies(partition));
            }
            let copies = Copies {
                since: next_epoch(state),
                are_kept: run.are_kept,
            };
            if was.copies.are_kept != run.are_kept {
                Arc::make_mut(&mut table).set(partition, Assignment { copies, ..was });
            }
        }
    }
    Ok(take(state, table))
}

/// Makes all copies new ones, or none if no group has two: standbys that begin to be told of a group's
/// deletes were not told of the earlier ones.
pub(super) fn renew(state: &mut State) {
    let (at, wanted) = (next_epoch(state), state.has_copies());
    let table = PartitionTable::from_fn(|partition| {
        let was = state.table[partition];
        let copies = Copies {
            since: at,
            are_kept: wanted && was.standby.is_some(),
        };
        Assignment { copies, ..was }
    });
    state.table = Arc::new(table);
}
