//! Whatever becomes of a log's bytes, it is reported: no driver starts on others than were written, and none
//! panics on any.

use gcache::raft::disk::{Batch, Column, Disk, DiskError, Row};
use gcache::raft::driver::{Driver, Settings};
use gcache::raft::log::OpenError;
use gcache::topology::commands::Command;
use gcache::topology::state::State;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::check::disk::{payload, snapshot_state};
use crate::cluster;
use crate::dice::Dice;
use crate::disk::Rows;
use crate::run::Kind;
use crate::world::World;

/// Damages of each kind that are tried.
const TRIES: u64 = 400;

/// Events after which the disks are looked at.
const EVENTS: u64 = 1_500;

/// A disk that is read once.
struct Still(Rows);

impl Disk for Still {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        let own = self.0.iter().filter(|((of, _), _)| *of == column);
        let row = |((_, key), value): (&(Column, Vec<u8>), &Vec<u8>)| (key.clone(), value.clone());
        Ok(own.map(row).collect())
    }

    fn write(&mut self, _: &Batch, _: bool) -> Result<(), DiskError> {
        Ok(())
    }
}

/// The rows of every node of a cluster that has run for a while.
fn disks() -> Vec<Rows> {
    let mut world = World::new(1, Kind::Plain, None, false).expect("a founded cluster");
    while world.events < EVENTS {
        world.step().expect("a seed that breaks nothing");
    }
    let disks = world.disks.values();
    disks.map(|disk| disk.synced(Clone::clone)).collect()
}

fn open(rows: Rows) -> Result<(), OpenError> {
    Driver::open(Still(rows), Settings::default()).map(|_| ())
}

/// Flips one bit of `bytes`.
fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let bit = dice.within(0..bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

/// The bytes of a row with the checksum that they would have been written with.
fn sealed(column: Column, key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let place = xxh3_64_with_seed(key, u64::from(column == Column::Meta));
    let content = xxh3_64_with_seed(&payload, place);
    payload.extend(xxh3_64(&content.to_le_bytes()).to_le_bytes());
    payload
}

#[test]
fn no_driver_starts_on_a_row_with_another_bit() {
    let (mut dice, disks) = (Dice::new(0), disks());
    for rows in &disks {
        open(rows.clone()).expect("a log that was written so");
    }
    for number in 0..TRIES {
        let mut rows = disks[number as usize % disks.len()].clone();
        let at = dice.within(0..rows.len() as u64) as usize;
        let (key, value) = rows.iter_mut().nth(at).expect("there is a row");
        let key = key.clone();
        flip(value, &mut dice);
        let opened = open(rows);
        let is_reported = matches!(opened, Err(OpenError::Corrupt(_)));
        assert!(is_reported, "{key:?}: {opened:?}");
    }
}

#[test]
fn no_driver_starts_on_rows_that_are_cut_or_changed_places() {
    let (mut dice, disks) = (Dice::new(1), disks());
    for number in 0..TRIES {
        let mut rows = disks[number as usize % disks.len()].clone();
        let keys: Vec<_> = rows.keys().cloned().collect();
        let key = &keys[dice.within(0..keys.len() as u64) as usize];
        let other = &keys[dice.within(0..keys.len() as u64) as usize];
        let value = rows[key].clone();
        if number % 2 == 0 {
            let left = dice.within(0..value.len() as u64) as usize;
            rows.insert(key.clone(), value[..left].to_vec());
        } else if key != other {
            rows.insert(other.clone(), value);
        } else {
            continue;
        }
        assert!(open(rows).is_err(), "{key:?} {other:?}");
    }
}

/// A checksum finds damage, no lie: what it covers may say anything, and a driver says no or starts on it.
#[test]
fn no_row_makes_a_driver_panic_at_its_start() {
    let (mut dice, disks) = (Dice::new(2), disks());
    let mut refused = 0;
    for number in 0..TRIES {
        let mut rows = disks[number as usize % disks.len()].clone();
        let at = dice.within(0..rows.len() as u64) as usize;
        let ((column, key), value) = rows.iter_mut().nth(at).expect("there is a row");
        let mut bytes = payload(value).to_vec();
        if !bytes.is_empty() {
            flip(&mut bytes, &mut dice);
        }
        *value = sealed(*column, key, bytes);
        refused += u64::from(open(rows).is_err());
    }
    assert!(refused > 0 && refused < TRIES, "{refused}");
}

/// Bytes that are read mean what they say, and nothing of them is left out.
#[test]
fn no_damaged_state_or_command_is_read_as_another_that_it_does_not_spell() {
    let mut dice = Dice::new(3);
    let states: Vec<_> = disks().iter().filter_map(snapshot_state).collect();
    for number in 0..TRIES {
        let state = &states[number as usize % states.len()];
        let mut bytes = state.encode().to_vec();
        flip(&mut bytes, &mut dice);
        if let Ok(read) = State::decode(&bytes) {
            assert!(read.encode() == bytes && read != *state);
        }
        let command = cluster::command(&mut dice, state);
        let mut bytes = command.encode().to_vec();
        flip(&mut bytes, &mut dice);
        if let Ok(read) = Command::decode(&bytes) {
            assert!(read.encode() == bytes && read != command);
        }
    }
}
