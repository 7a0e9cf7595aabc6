//! The rows of the log: their keys, and their values with a checksum each.
//!
//! A checksum covers the row's place as well, so that a row in another's place is as wrong as one with a
//! flipped bit. Used by the log alone.

use prost_for_raft::Message;
use raft::eraftpb::Entry;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::disk::{Batch, Column, Row};

use super::ident::Ident;
use super::shape::Position;

/// The version of the rows' layout. Stamped in the log; another one is refused.
pub const FORMAT: u32 = 1;

/// Row of `Meta`: [`FORMAT`].
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Row of `Meta`: whose log it is.
pub(super) const IDENT_KEY: &[u8] = b"ident";
/// Row of `Meta`: raft's hard state.
pub(super) const HARD_KEY: &[u8] = b"hard";
/// Row of `Meta`: the snapshot that the log begins from; absent until there is one.
pub(super) const SNAPSHOT_KEY: &[u8] = b"snapshot";
/// Row of `Meta`: the last entry that was dropped.
pub(super) const TRUNCATED_KEY: &[u8] = b"truncated";

/// What a row is too short or too wrong for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRow {
    /// Its bytes are not those that were written, or not in this place.
    Checksum,
    /// Its bytes are those that were written, and say nothing.
    Content,
}

impl BadRow {
    /// Describes what is wrong, for an operator to read.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Checksum => "a wrong checksum",
            Self::Content => "no meaning",
        }
    }
}

/// The key of the entry at `index`: ordered as the indexes are.
pub(super) fn entry_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// Puts `payload` and its checksum.
pub(super) fn put(batch: &mut Batch, column: Column, key: &[u8], mut payload: Vec<u8>) {
    let sum = checksum(column, key, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    batch.put(column, key, payload);
}

/// Returns what [`put`] was given for this row.
pub(super) fn payload<'row>(
    column: Column,
    key: &[u8],
    value: &'row [u8],
) -> Result<&'row [u8], BadRow> {
    let (payload, sum) = value.split_last_chunk().ok_or(BadRow::Checksum)?;
    if u64::from_le_bytes(*sum) != checksum(column, key, payload) {
        return Err(BadRow::Checksum);
    }
    Ok(payload)
}

fn checksum(column: Column, key: &[u8], payload: &[u8]) -> u64 {
    let place = xxh3_64_with_seed(
        key,
        match column {
            Column::Log => 0,
            Column::Meta => 1,
        },
    );
    let content = xxh3_64_with_seed(payload, place);
    // Zeroed blocks must not verify, whatever the hash makes of nothing.
    xxh3_64(&content.to_le_bytes())
}

/// Puts one of raft's own messages.
pub(super) fn put_message(batch: &mut Batch, key: &[u8], message: &impl Message) {
    put(batch, Column::Meta, key, message.encode_to_vec());
}

/// Puts an entry at its place.
pub(super) fn put_entry(batch: &mut Batch, entry: &Entry) {
    let key = entry_key(entry.index);
    put(batch, Column::Log, &key, entry.encode_to_vec());
}

/// The entry of a row.
pub(super) fn entry((key, value): &Row) -> Result<Entry, BadRow> {
    let payload = payload(Column::Log, key, value)?;
    let entry = Entry::decode(payload).map_err(|_| BadRow::Content)?;
    if entry_key(entry.index) != key[..] {
        return Err(BadRow::Content);
    }
    Ok(entry)
}

/// A message that [`put_message`] put.
pub(super) fn message<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, BadRow> {
    M::decode(payload(Column::Meta, key, value)?).map_err(|_| BadRow::Content)
}

/// Puts [`FORMAT`].
pub(super) fn put_format(batch: &mut Batch) {
    put(
        batch,
        Column::Meta,
        FORMAT_KEY,
        FORMAT.to_le_bytes().to_vec(),
    );
}

/// The version that [`put_format`] stamped, by whatever version of gcache.
pub(super) fn format(value: &[u8]) -> Result<u32, BadRow> {
    let payload = payload(Column::Meta, FORMAT_KEY, value)?;
    let bytes = payload.try_into().map_err(|_| BadRow::Content)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Puts whose log it is.
pub(super) fn put_ident(batch: &mut Batch, ident: &Ident) {
    let mut payload = ident.cluster.0.to_le_bytes().to_vec();
    payload.extend_from_slice(&ident.node.0.to_le_bytes());
    payload.extend_from_slice(&ident.incarnation.0.to_le_bytes());
    put(batch, Column::Meta, IDENT_KEY, payload);
}

/// Whose log it is.
pub(super) fn ident(value: &[u8]) -> Result<Ident, BadRow> {
    let payload = payload(Column::Meta, IDENT_KEY, value)?;
    let (cluster, rest) = payload.split_first_chunk().ok_or(BadRow::Content)?;
    let (node, incarnation) = two_numbers(rest)?;
    Ok(Ident {
        cluster: ClusterId(u128::from_le_bytes(*cluster)),
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    })
}

/// Puts the last entry that was dropped.
pub(super) fn put_truncated(batch: &mut Batch, at: Position) {
    let mut payload = at.index.to_le_bytes().to_vec();
    payload.extend_from_slice(&at.term.to_le_bytes());
    put(batch, Column::Meta, TRUNCATED_KEY, payload);
}

/// The last entry that was dropped.
pub(super) fn truncated(value: &[u8]) -> Result<Position, BadRow> {
    let payload = payload(Column::Meta, TRUNCATED_KEY, value)?;
    let (index, term) = two_numbers(payload)?;
    Ok(Position { index, term })
}

fn two_numbers(bytes: &[u8]) -> Result<(u64, u64), BadRow> {
    let (first, second) = bytes.split_first_chunk().ok_or(BadRow::Content)?;
    let second = second.try_into().map_err(|_| BadRow::Content)?;
    Ok((u64::from_le_bytes(*first), u64::from_le_bytes(second)))
}
