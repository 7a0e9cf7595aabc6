//! Distinguishes a write-ahead log that a crash cut off from one whose end only seems to be missing.
//!
//! RocksDB takes a record that reaches beyond the file's end for one that a crash left unfinished, and
//! forgets it and all that follows. A flipped bit in a record's length looks the same, and what follows
//! was synced. After a cut nothing follows: so a whole record behind an unfinished one is damage.

use std::io;
use std::path::Path;

/// Records do not cross the bounds of these.
const BLOCK: usize = 32 << 10;

/// A record's checksum, length and type.
const HEADER: usize = 4 + 2 + 1;

/// Types of records and of their parts.
const TYPES: std::ops::RangeInclusive<u8> = 1..=4;

/// CRC-32C's polynomial, with its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Says why one of the write-ahead logs in `directory` is damaged; none if none is known to be. Reads only.
///
/// # Errors
/// A file cannot be read.
pub(super) fn damage(directory: &Path) -> io::Result<Option<String>> {
    let files = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        files => files?,
    };
    for file in files {
        let path = file?.path();
        if path.extension().is_none_or(|found| found != "log") {
            continue;
        }
        let bytes = match std::fs::read(&path) {
            // Another process that has the lock has deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        if let Some(at) = damaged_at(&bytes) {
            let reason = format!("{}: a record at {at} hides later ones", path.display());
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Returns where a record says that it reaches beyond the end of the log although others follow it.
fn damaged_at(log: &[u8]) -> Option<usize> {
    let begin = log.len().checked_sub(1)? / BLOCK * BLOCK;
    let block = log.get(begin..)?;
    let mut at = 0;
    while let Some(length) = record_bytes(block, at) {
        if length == HEADER && block[at..at + HEADER].iter().all(|byte| *byte == 0) {
            // Room that was allocated and never written.
            return None;
        }
        at += length;
        if at > block.len() {
            let begun = at - length;
            let follows = |later: usize| is_whole(block, later);
            return (begun + 1..block.len())
                .any(follows)
                .then_some(begin + begun);
        }
    }
    None
}

/// Returns how long the record at `at` says that it is, if there is room for its header.
fn record_bytes(block: &[u8], at: usize) -> Option<usize> {
    let header = block.get(at..at + HEADER)?;
    Some(HEADER + usize::from(u16::from_le_bytes([header[4], header[5]])))
}

/// Whether a record is at `at`, complete and with the checksum that it should have.
fn is_whole(block: &[u8], at: usize) -> bool {
    let record = record_bytes(block, at).and_then(|length| block.get(at..at + length));
    record.is_some_and(|record| {
        let stored = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        TYPES.contains(&record[6]) && stored == checksum(&record[6..])
    })
}

/// CRC-32C as RocksDB stores it: turned and moved, since data may hold checksums of its own.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
