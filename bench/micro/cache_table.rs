//! Hit ratio and memory per entry of the cache engine and of its rivals, as a table.
//!
//! `cargo bench --bench cache_table`. Apart from the timings, because counting every allocation
//! would distort them. Memory is what was asked of the allocator, without its own rounding.

#![expect(clippy::print_stdout, reason = "the table is the result")]

mod contenders;
mod requests;

use cap::Cap;
use contenders::{Contender, Gcache, Lru, Moka, QuickCache};
use requests::{KEY_BYTES, Key, VALUE_BYTES};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn row<C: Contender>(keys: &[Key]) {
    let before = ALLOCATOR.allocated();
    let cache = C::new();
    let value = [7u8; VALUE_BYTES];
    let (warm_up, measured) = keys.split_at(keys.len() / 2);
    for key in warm_up {
        cache.get_or_insert(key, &value);
    }
    let hits = measured
        .iter()
        .filter(|key| cache.get_or_insert(key, &value))
        .count();
    let entries = cache.len();
    let bytes = ALLOCATOR.allocated() - before;
    let each = bytes as f64 / entries as f64;
    println!(
        "{:<12} {:>9} {:>10.2} {:>16.1} {:>16.1}",
        C::NAME,
        entries,
        100.0 * hits as f64 / measured.len() as f64,
        each,
        each - (KEY_BYTES + VALUE_BYTES) as f64,
    );
}

fn main() {
    let keys = contenders::workload(4_000_000, 1);
    println!(
        "{:<12} {:>9} {:>10} {:>16} {:>16}",
        "cache", "entries", "hits in %", "bytes per entry", "beyond payload"
    );
    row::<Gcache>(&keys);
    row::<Moka>(&keys);
    row::<QuickCache>(&keys);
    row::<Lru>(&keys);
}
