//! What all rivals hold and are asked for: keys of 16 bytes, values of 100, and a Zipf sequence.

use std::fmt::Write;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::StdRng;
use rand_distr::Zipf;

use crate::place::Place;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16;

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 100;

/// Keys that every rival holds while it is asked.
pub(crate) const KEYS: usize = 100_000;

/// Requests after which the sequence begins again.
const SEQUENCE: usize = 1 << 18;

/// Key number `index`, written as redis-benchmark writes its own.
pub(crate) fn key(index: usize) -> String {
    format!("key:{index:012}")
}

/// The value of `key`: text that only this key has.
pub(crate) fn value(key: &str) -> String {
    let mut value = key.repeat(VALUE_BYTES / KEY_BYTES + 1);
    value.truncate(VALUE_BYTES);
    value
}

/// The path of a key, at every rival that speaks HTTP.
pub(crate) fn path(key: &str) -> String {
    format!("/v1/rows/{key}")
}

/// A CSV file with all rows. Its name is that of the table.
pub(crate) fn rows_file(place: &Place) -> anyhow::Result<PathBuf> {
    let mut rows = String::from("k,v\n");
    for key in (0..KEYS).map(key) {
        let _ = writeln!(rows, "{key},{}", value(&key));
    }
    place.write("rows.csv", &rows)
}

/// The paths that wrk asks for: Zipf with exponent 0.99, the same in every run.
pub(crate) fn paths_file(place: &Place) -> anyhow::Result<PathBuf> {
    let zipf = Zipf::new(KEYS as f64, 0.99)?;
    let mut random = StdRng::seed_from_u64(1);
    let mut paths = String::new();
    for _ in 0..SEQUENCE {
        let rank = zipf.sample(&mut random) as usize;
        let _ = writeln!(paths, "{}", path(&key(rank.min(KEYS) - 1)));
    }
    place.write("paths.txt", &paths)
}
