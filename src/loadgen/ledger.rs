//! What every key was answered with, as hashes, to be compared with the origin after the run.
//!
//! 13 bytes per key, written by all workers without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use http::StatusCode;

use super::connection::Reply;

/// The key was not asked for.
const UNSEEN: u64 = 0;

/// There is no such key.
const ABSENT: u64 = 1;

/// The last reply for every key of the key space.
#[derive(Debug)]
pub(super) struct Ledger {
    /// [`UNSEEN`], [`ABSENT`] or a body's hash, which is made to be neither.
    hashes: Vec<AtomicU64>,
    lengths: Vec<AtomicU32>,
    /// Whether replies differed.
    changed: Vec<AtomicBool>,
}

/// What a key was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Absent,
    Body { hash: u64, length: u32 },
}

impl Seen {
    /// Returns what a body, or none, would have been noted as.
    pub(super) fn of(body: Option<&[u8]>) -> Self {
        body.map_or(Self::Absent, |body| Self::Body {
            hash: tame(xxhash_rust::xxh3::xxh3_64(body)),
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
        })
    }
}

/// Keeps a hash clear of the two marks.
fn tame(hash: u64) -> u64 {
    if hash <= ABSENT { !hash } else { hash }
}

impl Ledger {
    /// For keys with the indexes from 1 to `keys`.
    pub(super) fn new(keys: u64) -> Self {
        let keys = usize::try_from(keys).expect("a bounded number of keys");
        Self {
            hashes: (0..keys).map(|_| AtomicU64::new(UNSEEN)).collect(),
            lengths: (0..keys).map(|_| AtomicU32::new(0)).collect(),
            changed: (0..keys).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Notes a reply for the key with this index. Of errors there is nothing to note.
    pub(super) fn note(&self, index: u64, reply: &Reply) {
        let (mark, length) = if reply.status == StatusCode::OK.as_u16() {
            (tame(reply.body_hash), reply.body_bytes)
        } else if reply.status == StatusCode::NOT_FOUND.as_u16() {
            (ABSENT, 0)
        } else {
            return;
        };
        let place = place(index);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let before = self.hashes[place].swap(mark, Ordering::Relaxed);
        if before == mark {
            return;
        }
        self.lengths[place].store(length, Ordering::Relaxed);
        if before != UNSEEN {
            self.changed[place].store(true, Ordering::Relaxed);
        }
    }

    /// The indexes of all keys that were asked for, with the last reply.
    pub(super) fn seen(&self) -> impl Iterator<Item = (u64, Seen)> {
        let replies = self.hashes.iter().zip(&self.lengths);
        (1..).zip(replies).filter_map(|(index, (hash, length))| {
            let seen = match hash.load(Ordering::Relaxed) {
                UNSEEN => return None,
                ABSENT => Seen::Absent,
                hash => Seen::Body {
                    hash,
                    length: length.load(Ordering::Relaxed),
                },
            };
            Some((index, seen))
        })
    }

    /// Returns how many keys were answered in different ways.
    pub(super) fn changed(&self) -> u64 {
        let changed = self.changed.iter();
        changed
            .filter(|changed| changed.load(Ordering::Relaxed))
            .count() as u64
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index - 1).expect("an index of the key space")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &[u8]) -> Reply {
        Reply {
            status,
            cache_status: None,
            body_bytes: body.len() as u64,
            body_hash: xxhash_rust::xxh3::xxh3_64(body),
        }
    }

    #[test]
    fn the_last_reply_is_kept_and_a_change_is_noted() {
        let ledger = Ledger::new(5);
        ledger.note(1, &reply(200, b"a"));
        ledger.note(1, &reply(200, b"a"));
        ledger.note(2, &reply(200, b"a"));
        ledger.note(2, &reply(200, b"bc"));
        ledger.note(3, &reply(404, b"problem"));
        ledger.note(4, &reply(503, b"problem"));
        let seen: Vec<_> = ledger.seen().collect();
        let expected = [
            (1, Seen::of(Some(b"a"))),
            (2, Seen::of(Some(b"bc"))),
            (3, Seen::Absent),
        ];
        assert_eq!((seen.as_slice(), ledger.changed()), (&expected[..], 1));
        assert_ne!(tame(UNSEEN), UNSEEN);
        assert_ne!(tame(ABSENT), ABSENT);
    }
}
