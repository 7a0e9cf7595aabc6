//! Messages of a transfer: entries and what was taken back, with their bytes side by side in one buffer.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::proto::hand_over_item::Kind as WireKind;
use super::proto::{HandOverBatch, HandOverFound, HandOverItem};
use crate::cache::{Entry, EntryParts, Item, Kind, Verb, Void};
use crate::hash::{KeyHash, PARTITIONS};
use crate::ids::{Generation, GroupId, Millis, Partition, Tenure};

/// What a record adds to a message beside its key and value.
const RECORD_BYTES: usize = 48;

/// One item as it came.
#[derive(Clone, Debug)]
pub enum Came {
    /// An entry, and its age when it was sent, in milliseconds.
    Entry(CameEntry),
    /// What was taken back.
    Void(Void),
    /// Copies are kept of these partitions, with this stamp.
    Keep(Vec<Partition>, Tenure),
}

/// An entry as it came.
#[derive(Clone, Debug)]
pub struct CameEntry {
    record: HandOverItem,
    key: Bytes,
    value: Bytes,
}

impl CameEntry {
    /// Whether it is only to be kept where there is room.
    #[must_use]
    pub fn is_spare(&self) -> bool {
        self.record.is_spare
    }

    /// The partition of its key.
    #[must_use]
    pub fn partition(&self) -> Partition {
        KeyHash::of(GroupId(self.record.group), &self.key).partition()
    }

    /// Returns what it is made of for a member that received it at `now` and keeps it under `tenure`.
    #[must_use]
    pub fn parts(&self, now: Millis, tenure: Tenure) -> EntryParts<'_> {
        let group = GroupId(self.record.group);
        EntryParts {
            partition: self.partition(),
            group,
            key: &self.key,
            value: &self.value,
            kind: match self.record.kind() {
                WireKind::Absent => Kind::Negative,
                _ => Kind::Value,
            },
            standby: false,
            tenure,
            generation: Generation(self.record.generation),
            filled_at: Millis(now.0.saturating_sub(self.record.age_ms)),
            fresh_ms: self.record.fresh_ms,
            stale_ms: self.record.stale_ms,
            stale_if_error_ms: self.record.stale_if_error_ms,
        }
    }
}

/// Roughly how long an item is in a message.
#[must_use]
pub fn weight(item: &Item) -> usize {
    RECORD_BYTES
        + match item {
            Item::Entry(entry) | Item::Spare(entry) => entry.key().len() + entry.value().len(),
            Item::Void(void) => void.key.len(),
            Item::Keep(partitions, _) => size_of::<u64>() + partitions.len() * size_of::<u16>(),
        }
}

/// A batch of these items, sent at `now`.
#[must_use]
pub fn batch(items: &[Item], mark: u64, is_warm: bool, now: Millis) -> HandOverBatch {
    let mut bytes = BytesMut::with_capacity(items.iter().map(weight).sum());
    let record = |item: &Item| match item {
        Item::Entry(entry) | Item::Spare(entry) => {
            bytes.extend_from_slice(entry.key());
            bytes.extend_from_slice(entry.value());
            HandOverItem {
                is_spare: matches!(item, Item::Spare(_)),
                ..record(entry, now)
            }
        }
        Item::Void(void) => {
            bytes.extend_from_slice(&void.key);
            let kind = match void.verb {
                Verb::Delete => WireKind::Deleted,
                Verb::Expire => WireKind::Expired,
            };
            HandOverItem {
                kind: kind.into(),
                group: void.group.0,
                key_bytes: short(void.key.len()),
                ..HandOverItem::default()
            }
        }
        Item::Keep(partitions, stamp) => {
            let before = bytes.len();
            bytes.put_u64_le(stamp.0);
            partitions.iter().for_each(|at| bytes.put_u16_le(at.0));
            HandOverItem {
                kind: WireKind::Kept.into(),
                key_bytes: short(bytes.len() - before),
                ..HandOverItem::default()
            }
        }
    };
    let items = items.iter().map(record).collect();
    HandOverBatch {
        items,
        bytes: bytes.freeze(),
        mark,
        is_warm,
        used: Vec::new(),
    }
}

/// Returns what the old owner has for a key, as the answer to question `id`.
#[must_use]
pub fn found(id: u64, entry: Option<&Entry>, now: Millis) -> HandOverFound {
    let bytes = entry.map(|entry| [entry.key(), entry.value()].concat());
    HandOverFound {
        id,
        item: entry.map(|entry| record(entry, now)),
        bytes: bytes.unwrap_or_default().into(),
    }
}

/// The entry in an answer, if there is one and it adds up.
#[must_use]
pub fn came(found: HandOverFound) -> Option<CameEntry> {
    let item = found.item?;
    let mut all = items(vec![item], found.bytes)?;
    match all.next()? {
        Came::Entry(entry) => Some(entry),
        Came::Void(_) | Came::Keep(..) => None,
    }
}

/// The items of a batch; none if they do not add up.
pub fn items(records: Vec<HandOverItem>, bytes: Bytes) -> Option<impl Iterator<Item = Came>> {
    let len = |item: &HandOverItem| item.key_bytes as usize + item.value_bytes as usize;
    if records.iter().map(len).sum::<usize>() != bytes.len() {
        return None;
    }
    let mut bytes = bytes;
    Some(records.into_iter().map(move |record| {
        let key = bytes.split_to(record.key_bytes as usize);
        let value = bytes.split_to(record.value_bytes as usize);
        let void = |verb| {
            let group = GroupId(record.group);
            Came::Void(Void {
                group,
                hash: KeyHash::of(group, &key),
                key: key[..].into(),
                verb,
            })
        };
        match record.kind() {
            WireKind::Deleted => void(Verb::Delete),
            WireKind::Expired => void(Verb::Expire),
            WireKind::Kept => kept(&key),
            WireKind::Value | WireKind::Absent => Came::Entry(CameEntry { record, key, value }),
        }
    }))
}

/// Returns what a record says of copies; a number that is no partition's is left out.
fn kept(mut bytes: &[u8]) -> Came {
    let stamp = bytes.try_get_u64_le().unwrap_or_default();
    let mut partitions = Vec::with_capacity(bytes.len() / size_of::<u16>());
    while let Ok(partition) = bytes.try_get_u16_le() {
        partitions.push(Partition(partition));
    }
    partitions.retain(|partition| usize::from(partition.0) < PARTITIONS);
    Came::Keep(partitions, Tenure(stamp))
}

fn record(entry: &Entry, now: Millis) -> HandOverItem {
    let parts = entry.parts();
    let kind = match parts.kind {
        Kind::Negative => WireKind::Absent,
        Kind::Value | Kind::Error(_) => WireKind::Value,
    };
    HandOverItem {
        kind: kind.into(),
        group: parts.group.0,
        key_bytes: short(parts.key.len()),
        value_bytes: short(parts.value.len()),
        generation: parts.generation.0,
        age_ms: entry.age_ms(now),
        fresh_ms: parts.fresh_ms,
        stale_ms: parts.stale_ms,
        stale_if_error_ms: parts.stale_if_error_ms,
        is_spare: false,
    }
}

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("keys and values are bounded far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_as_they_went_in_and_older_by_what_they_were() {
        let group = GroupId(3);
        let entry = Entry::new(&EntryParts {
            partition: KeyHash::of(group, b"Tom").partition(),
            group,
            key: b"Tom",
            value: b"630",
            kind: Kind::Value,
            standby: false,
            tenure: Tenure(5),
            generation: Generation(2),
            filled_at: Millis(1_000),
            fresh_ms: 100,
            stale_ms: 50,
            stale_if_error_ms: 200,
        });
        let void = Void {
            group,
            key: b"Ann"[..].into(),
            hash: KeyHash::of(group, b"Ann"),
            verb: Verb::Expire,
        };
        let all: Box<[_]> = [Partition(7), Partition(4_095)].into();
        let sent = [
            Item::Void(void.clone()),
            Item::Entry(entry.clone()),
            Item::Keep(all.clone(), Tenure(1 << 40)),
        ];
        let message = batch(&sent, 7, true, Millis(1_040));
        assert_eq!((message.mark, message.is_warm), (7, true));
        let mut came = items(message.items.clone(), message.bytes.clone()).unwrap();
        assert!(matches!(came.next(), Some(Came::Void(back)) if back == void));
        let Some(Came::Entry(back)) = came.next() else {
            panic!("the second is an entry");
        };
        let last = came.next();
        assert!(
            matches!(last, Some(Came::Keep(back, Tenure(stamp))) if *back == *all && stamp == 1 << 40)
        );
        // By the receiver's clock.
        let expected = EntryParts {
            tenure: Tenure(9),
            filled_at: Millis(70_000 - 40),
            ..entry.parts()
        };
        assert_eq!(back.parts(Millis(70_000), Tenure(9)), expected);
        assert_ne!(expected.partition, Partition(u16::MAX));
        assert!(items(message.items, Bytes::from_static(b"short")).is_none());
        let answer = super::came(found(1, Some(&entry), Millis(1_040))).unwrap();
        assert_eq!(answer.parts(Millis(70_000), Tenure(9)), expected);
        assert!(super::came(found(1, None, Millis(0))).is_none());
    }
}
