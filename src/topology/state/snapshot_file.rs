//! The snapshot file, in which operators keep a state: `gcache cluster snapshot` writes it, `recover` reads
//! it. Pure.
//!
//! ```text
//! 0   8  the bytes "gcachess"
//! 8   4  the format's version, little-endian: 1
//! 12  8  the length of the state in bytes, little-endian
//! 20  8  xxh3 of the state, little-endian
//! 28     the state as the log's snapshots have it
//! ```

use super::State;
use super::codec::DecodeError;

/// The first bytes of a snapshot file.
const MAGIC: &[u8; 8] = b"gcachess";

/// The version of the layout. Other versions are refused.
const FORMAT: u32 = 1;

/// Bytes before the state.
const HEADER_BYTES: usize = 28;

/// The reason why a file cannot be read: it is no snapshot file, or it is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// It does not begin like a snapshot file.
    #[error(
        "it is no snapshot file of gcache: those are written by `gcache cluster snapshot FILE`"
    )]
    Foreign,
    /// Written by another version of gcache.
    #[error("it has format {found}, and this version of gcache reads {FORMAT}")]
    Format {
        /// The format of the file.
        found: u32,
    },
    /// The file has fewer or more bytes than were written.
    #[error("it holds {found} bytes of a state of {wanted}: it was not copied whole")]
    Length {
        /// The length in the header.
        wanted: u64,
        /// The length of the rest of the file.
        found: u64,
    },
    /// The bytes are not those that were written.
    #[error("its checksum is wrong: it is damaged, take another copy")]
    Checksum,
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] DecodeError),
}

/// Encodes `state` as the content of a snapshot file.
#[must_use]
pub fn encode(state: &State) -> Vec<u8> {
    let encoded = state.encode();
    let mut file = Vec::with_capacity(HEADER_BYTES + encoded.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&FORMAT.to_le_bytes());
    file.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
    file.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&encoded).to_le_bytes());
    file.extend_from_slice(&encoded);
    file
}

/// Decodes the state in the content of a snapshot file.
///
/// # Errors
/// [`BadFile`]. Every damage is noticed.
pub fn decode(file: &[u8]) -> Result<State, BadFile> {
    let rest = file.strip_prefix(MAGIC).ok_or(BadFile::Foreign)?;
    let (format, rest) = rest.split_first_chunk().ok_or(BadFile::Foreign)?;
    let found = u32::from_le_bytes(*format);
    if found != FORMAT {
        return Err(BadFile::Format { found });
    }
    let (length, rest) = rest.split_first_chunk().ok_or(BadFile::Foreign)?;
    let (checksum, state) = rest.split_first_chunk().ok_or(BadFile::Foreign)?;
    let (wanted, found) = (u64::from_le_bytes(*length), state.len() as u64);
    if wanted != found {
        return Err(BadFile::Length { wanted, found });
    }
    if xxhash_rust::xxh3::xxh3_64(state) != u64::from_le_bytes(*checksum) {
        return Err(BadFile::Checksum);
    }
    Ok(State::decode(state)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures::cluster;

    #[test]
    fn a_written_state_is_read_back() {
        let state = cluster(3);
        assert_eq!(decode(&encode(&state)), Ok(state));
    }

    #[test]
    fn every_damage_is_reported() {
        let file = encode(&cluster(2));
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "cut at {length}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert!(decode(&damaged).is_err(), "flipped at {place}");
        }
        let mut longer = file.clone();
        longer.push(0);
        let bad = decode(&longer).unwrap_err();
        assert!(matches!(bad, BadFile::Length { .. }));
        let mut later = file;
        later[8] = 2;
        assert_eq!(decode(&later), Err(BadFile::Format { found: 2 }));
        assert_eq!(decode(b"[groups.scores]"), Err(BadFile::Foreign));
    }
}
