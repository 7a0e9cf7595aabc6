//! Changes of copies: whether standbys keep them, and since when they count. Pure.

use std::sync::Arc;

use super::epoch::next_epoch;
use super::partitions::{Named, take};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, CopiesRun};
use crate::topology::model::partitions::{Assignment, Copies, PartitionTable};
use crate::topology::state::State;

/// Sets whether standbys keep copies from now on. Copies that they kept before are void.
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

/// Makes all copies count anew, or drops them if no group has two: a standby that begins to receive the
/// deletes of a group has not received the earlier ones.
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
