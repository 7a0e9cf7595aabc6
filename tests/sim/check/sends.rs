//! Nothing leaves before the sync that it depends on, and a snapshot is the state at its index.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::disk;
use super::log::Committed;
use crate::disk::SimDisk;
use crate::violation::{Checked, Promise, ensure};
use crate::wire::{Message, kind};

/// Bytes of the hash before the state in a snapshot.
const HASH: usize = 8;

/// The kind of an entry that changes the quorum.
const CHANGE: i32 = 2;

/// What was sent.
#[derive(Default)]
pub(crate) struct Sends {
    /// By term and index: the hash of the entry. No two may share both.
    entries: BTreeMap<(u64, u64), u64>,
    /// By a leader's term and an index: the term of the entry that it has there.
    terms: BTreeMap<(u64, u64), u64>,
    /// By term: the changes of the quorum that its leader proposed.
    changes: BTreeMap<u64, BTreeSet<u64>>,
    /// Snapshots whose state was not compared yet: sender, index, hash.
    snapshots: Vec<(u64, u64, u64)>,
}

impl Sends {
    /// `message` leaves while the disk of its sender is as it is now.
    pub(crate) fn leaves(&mut self, disk: &SimDisk, message: &Message) -> Checked {
        match message.kind {
            kind::APPEND => self.append(message),
            kind::SNAPSHOT => self.snapshot(message),
            kind::REQUEST_VOTE => voted(disk, message, message.from),
            kind::REQUEST_VOTE_RESPONSE if !message.is_rejected => voted(disk, message, message.to),
            kind::APPEND_RESPONSE if !message.is_rejected => self.acknowledges(disk, message),
            _ => Ok(()),
        }
    }

    fn append(&mut self, message: &Message) -> Checked {
        self.terms
            .insert((message.term, message.index), message.log_term);
        for entry in &message.entries {
            self.terms.insert((message.term, entry.index), entry.term);
            let mut bytes = entry.kind.to_le_bytes().to_vec();
            bytes.extend_from_slice(&entry.data);
            let hash = xxh3_64(&bytes);
            let known = *self
                .entries
                .entry((entry.term, entry.index))
                .or_insert(hash);
            ensure(known == hash, Promise::SameEntries, || {
                format!(
                    "node {} sends another entry {} of term {}",
                    message.from, entry.index, entry.term
                )
            })?;
            if entry.kind == CHANGE && entry.term == message.term {
                self.changes
                    .entry(entry.term)
                    .or_default()
                    .insert(entry.index);
            }
        }
        let own = self.changes.get(&message.term);
        let pending = own.map_or(0, |own| own.range(message.commit + 1..).count());
        ensure(pending <= 1, Promise::QuorumIsKept, || {
            format!(
                "node {} has {pending} changes of the quorum under way",
                message.from
            )
        })
    }

    fn snapshot(&mut self, message: &Message) -> Checked {
        let snapshot = message.snapshot.clone().unwrap_or_default();
        let index = snapshot.metadata.map_or(0, |metadata| metadata.index);
        let state = snapshot.data.get(HASH..).unwrap_or_default();
        self.snapshots.push((message.from, index, xxh3_64(state)));
        Ok(())
    }

    fn acknowledges(&self, disk: &SimDisk, message: &Message) -> Checked {
        let term = self.terms.get(&(message.term, message.index)).copied();
        let is_synced = disk.synced(|rows| {
            let synced = disk::hard(rows).term;
            // What the leader of a later term took back in the same write was accepted before that, as
            // if each had been written alone.
            let is_past = synced > message.term;
            let is_held = is_past || disk::holds(rows, message.index, term);
            message.index == 0 || synced >= message.term && is_held
        });
        ensure(is_synced, Promise::SyncedBeforeSent, || {
            format!(
                "node {} acknowledges entry {} in term {} to {} before it is synced",
                message.from, message.index, message.term, message.to
            )
        })
    }

    /// After a turn: the snapshots that were sent are compared with the state at their index.
    pub(crate) fn verify(&mut self, log: &Committed) -> Checked {
        for (sender, index, hash) in self.snapshots.drain(..) {
            ensure(
                log.hash(index) == Some(hash),
                Promise::SnapshotsAreApplied,
                || format!("node {sender} sends a snapshot that is not the state at {index}"),
            )?;
        }
        Ok(())
    }
}

/// Whether a vote for `candidate` is synced.
fn voted(disk: &SimDisk, message: &Message, candidate: u64) -> Checked {
    let hard = disk.synced(disk::hard);
    let is_synced = hard.term > message.term || hard.term == message.term && hard.vote == candidate;
    ensure(is_synced, Promise::SyncedBeforeSent, || {
        format!(
            "node {} votes for {candidate} in term {} and has synced {hard:?}",
            message.from, message.term
        )
    })
}
