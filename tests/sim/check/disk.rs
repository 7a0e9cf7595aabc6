//! What was synced never goes back: not by a crash, not by a restart, not by the driver.

use std::collections::BTreeMap;

use gcache::raft::disk::Column;
use gcache::topology::state::State;

use crate::disk::Rows;
use crate::node::Node;
use crate::violation::{Checked, Promise, ensure};
use crate::wire::{self, HardState, Snapshot};
use prost::Message as _;

/// The bytes of the checksum at the end of a row.
const CHECKSUM: usize = 8;

/// What each disk held when it was last looked at.
#[derive(Default)]
pub(crate) struct Disks(BTreeMap<u64, Held>);

/// What matters of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Held {
    version: u64,
    hard: HardState,
    snapshot: u64,
}

impl Disks {
    /// The disk of `node` was made another from outside.
    pub(crate) fn forget(&mut self, node: u64) {
        self.0.remove(&node);
    }

    /// Looks at the disk of `node`.
    pub(crate) fn check(&mut self, node: &Node) -> Checked {
        let version = node.disk.version();
        let held = self.0.entry(node.id).or_default();
        if held.version == version {
            return Ok(());
        }
        let now = node.disk.synced(|rows| Held {
            version,
            hard: hard(rows),
            snapshot: snapshot(rows),
        });
        let (was, is) = (held.hard, now.hard);
        let is_kept = is.term >= was.term
            && is.commit >= was.commit
            && now.snapshot >= held.snapshot
            && (is.term > was.term || was.vote == 0 || is.vote == was.vote);
        ensure(is_kept, Promise::DiskNeverRegresses, || {
            format!("node {} had synced {held:?} and has {now:?}", node.id)
        })?;
        *held = now;
        Ok(())
    }
}

/// The hard state among these rows.
pub(crate) fn hard(rows: &Rows) -> HardState {
    meta(rows, b"hard")
        .map(wire::hard_state)
        .unwrap_or_default()
}

/// The index of the snapshot among these rows.
fn snapshot(rows: &Rows) -> u64 {
    let metadata = whole_snapshot(rows).metadata;
    metadata.map_or(0, |metadata| metadata.index)
}

fn whole_snapshot(rows: &Rows) -> Snapshot {
    let found = meta(rows, b"snapshot").map(Snapshot::decode);
    found.and_then(Result::ok).unwrap_or_default()
}

/// The state in the snapshot among these rows, if there is one.
pub(crate) fn snapshot_state(rows: &Rows) -> Option<State> {
    let snapshot = whole_snapshot(rows);
    State::decode(snapshot.data.get(CHECKSUM..)?).ok()
}

/// The index up to which entries were dropped among these rows.
fn truncated(rows: &Rows) -> u64 {
    let index = meta(rows, b"truncated").and_then(|row| row.first_chunk());
    index.map_or(0, |index| u64::from_le_bytes(*index))
}

/// Whether these rows hold the entry `index`, of `term` if one is asked for, or a snapshot past it.
pub(crate) fn holds(rows: &Rows, index: u64, term: Option<u64>) -> bool {
    if index <= truncated(rows) {
        return true;
    }
    let key = (Column::Log, index.to_be_bytes().to_vec());
    let Some(row) = rows.get(&key) else {
        return false;
    };
    let entry = wire::Entry::decode(payload(row)).unwrap_or_default();
    term.is_none_or(|term| entry.term == term)
}

/// A row of `Meta` without its checksum.
fn meta<'rows>(rows: &'rows Rows, key: &[u8]) -> Option<&'rows [u8]> {
    let row = rows.get(&(Column::Meta, key.to_vec()))?;
    Some(payload(row))
}

/// A row without its checksum.
pub(crate) fn payload(row: &[u8]) -> &[u8] {
    &row[..row.len().saturating_sub(CHECKSUM)]
}
