//! Which key a request asks for, and how it is written. Pure.
//!
//! A request's key is a function of the seed, its stream and its number in the stream: the sequence
//! does not depend on how many workers share it, and no worker keeps another's state.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::distr::{Distribution as _, Uniform};
use rand::rngs::SmallRng;
use rand_distr::Zipf;

use super::plan::{Distribution, Plan, Target};
use crate::client::{escape, key_url};

/// The chunk that paths are cut from: one allocation for about a thousand requests.
const PATHS_CHUNK_BYTES: usize = 32 << 10;

/// The key space of a plan.
#[derive(Debug)]
pub(super) struct Keys {
    sample: Sample,
    seed: u64,
    /// Unescaped: what the origin is asked for.
    before: String,
    after: String,
    /// Escaped: what stands after the index in a path.
    path_end: String,
}

#[derive(Debug)]
enum Sample {
    Zipf { ranks: Zipf<f64>, scatter: Scatter },
    Even(Uniform<u64>),
}

impl Keys {
    /// The keys of a checked plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let even = |keys| {
            let range = Uniform::new_inclusive(1, keys);
            Sample::Even(range.expect("a plan has at least one key"))
        };
        let (before, after) = plan.key_parts();
        Self {
            sample: match plan.distribution {
                Distribution::Zipf(exponent) => Sample::Zipf {
                    ranks: Zipf::new(plan.keys as f64, exponent)
                        .expect("a plan's exponent and keys were checked"),
                    scatter: Scatter::new(plan.keys, plan.seed),
                },
                Distribution::Uniform => even(plan.keys),
                Distribution::Hot(keys) => even(keys),
            },
            seed: plan.seed,
            before: before.to_owned(),
            after: after.to_owned(),
            path_end: escape(after.as_bytes()).to_string(),
        }
    }

    /// The index, from 1, of the key that this request asks for.
    pub(super) fn index(&self, stream: u64, request: u64) -> u64 {
        let seed = mix(mix(self.seed ^ mix(stream)).wrapping_add(request));
        let mut random = SmallRng::seed_from_u64(seed);
        match &self.sample {
            Sample::Zipf { ranks, scatter } => {
                // Ranks are whole numbers from 1 to the number of keys.
                let rank = ranks.sample(&mut random) as u64;
                scatter.place(rank - 1) + 1
            }
            Sample::Even(range) => range.sample(&mut random),
        }
    }

    /// The key with this index, as the origin knows it.
    pub(super) fn key(&self, index: u64) -> Bytes {
        format!("{}{index}{}", self.before, self.after).into()
    }

    /// Returns what stands before the index in a path of this target.
    pub(super) fn path_start(&self, target: &Target, group: &str) -> String {
        key_url(&target.base, group, self.before.as_bytes())
    }
}

/// Cuts paths from a chunk, so that a request's path costs no allocation of its own.
#[derive(Debug)]
pub(super) struct Paths {
    start: String,
    chunk: BytesMut,
}

impl Paths {
    /// Paths that begin with `start`.
    pub(super) fn new(start: String) -> Self {
        Self {
            start,
            chunk: BytesMut::new(),
        }
    }

    /// The path of the key with this index.
    pub(super) fn path(&mut self, keys: &Keys, index: u64) -> Bytes {
        /// The digits of the largest 64-bit number.
        const DIGITS: usize = 20;
        let room = self.start.len() + DIGITS + keys.path_end.len();
        if self.chunk.capacity() < room {
            self.chunk = BytesMut::with_capacity(PATHS_CHUNK_BYTES.max(room));
        }
        self.chunk.extend_from_slice(self.start.as_bytes());
        write!(self.chunk, "{index}").expect("there is room");
        self.chunk.extend_from_slice(keys.path_end.as_bytes());
        self.chunk.split().freeze()
    }
}

/// A bijection of `0..keys` onto itself without pattern: ranks that are neighbours, the hottest, are
/// none in the table, as rows that are asked for together seldom are.
///
/// Rounds of what is invertible on the next power of two (add, multiply by an odd number, fold the
/// upper half into the lower); a result outside of the key space goes through again, on average
/// less than once.
#[derive(Debug)]
struct Scatter {
    keys: u64,
    mask: u64,
    fold: u32,
    rounds: [(u64, u64); ROUNDS],
}

const ROUNDS: usize = 3;

impl Scatter {
    fn new(keys: u64, seed: u64) -> Self {
        let bits = keys.next_power_of_two().trailing_zeros();
        let round = |round: usize| {
            let first = mix(seed.wrapping_add(2 * round as u64));
            (first, mix(first) | 1)
        };
        Self {
            keys,
            mask: (1 << bits) - 1,
            fold: bits.div_ceil(2).max(1),
            rounds: std::array::from_fn(round),
        }
    }

    /// Returns where this rank, from 0, lies.
    fn place(&self, rank: u64) -> u64 {
        let mut place = rank;
        loop {
            for (add, multiply) in self.rounds {
                place = place.wrapping_add(add).wrapping_mul(multiply) & self.mask;
                place ^= place >> self.fold;
            }
            if place < self.keys {
                return place;
            }
        }
    }
}

/// SplitMix64: a bijection of 64 bits in which every input bit moves every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::options;
    use super::super::plan::{MAX_KEYS, Options};
    use super::*;

    fn keys(keys: u64, distribution: Distribution, seed: u64) -> Keys {
        let options = Options {
            keys,
            distribution,
            seed,
            key_format: "a b/{}.x".into(),
            ..options()
        };
        Keys::new(&Plan::new(options).unwrap())
    }

    #[test]
    fn the_scatter_is_a_bijection_without_neighbours() {
        for count in [1, 2, 3, 7, 8, 1000, 4097] {
            let scatter = Scatter::new(count, 7);
            let mut places: Vec<_> = (0..count).map(|rank| scatter.place(rank)).collect();
            if count >= 1000 {
                let neighbours = places
                    .windows(2)
                    .filter(|pair| pair[0].abs_diff(pair[1]) < 4);
                assert!(neighbours.count() < count as usize / 50, "{count}");
            }
            places.sort_unstable();
            assert!(places.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_keys_and_another_gives_others() {
        for distribution in [Distribution::Zipf(0.99), Distribution::Uniform] {
            let sequence = |seed, stream| -> Vec<u64> {
                let keys = keys(100_000, distribution, seed);
                (0..100).map(|n| keys.index(stream, n)).collect()
            };
            assert_eq!(sequence(1, 0), sequence(1, 0));
            assert_ne!(sequence(1, 0), sequence(2, 0));
            assert_ne!(sequence(1, 0), sequence(1, 1));
        }
    }

    #[test]
    fn a_zipf_sample_has_the_hottest_key_in_its_place_and_stays_in_bounds() {
        const DRAWS: u64 = 20_000;
        let keys = keys(1000, Distribution::Zipf(1.0), 3);
        let Sample::Zipf { scatter, .. } = &keys.sample else {
            panic!("a zipf sample");
        };
        let hottest = scatter.place(0) + 1;
        let drawn: Vec<_> = (0..DRAWS).map(|n| keys.index(0, n)).collect();
        assert!(drawn.iter().all(|index| (1..=1000).contains(index)));
        let hot = drawn.iter().filter(|index| **index == hottest).count() as f64;
        // The first of 1000 ranks has 1 / H(1000) = 13.4 % of them.
        let expected = DRAWS as f64 * 0.1336;
        assert!((hot - expected).abs() < expected * 0.1, "{hot} {expected}");
    }

    #[test]
    fn hot_keys_are_the_first_and_evenly_asked_for() {
        let keys = keys(1000, Distribution::Hot(4), 3);
        let mut counts = [0; 4];
        for n in 0..4000 {
            counts[usize::try_from(keys.index(0, n)).unwrap() - 1] += 1;
        }
        assert!(counts.iter().all(|count| *count > 850), "{counts:?}");
    }

    #[test]
    fn a_billion_keys_need_no_table() {
        let keys = keys(MAX_KEYS, Distribution::Zipf(0.99), 3);
        assert!((0..1000).all(|n| (1..=MAX_KEYS).contains(&keys.index(0, n))));
    }

    #[test]
    fn a_path_is_escaped_and_a_key_is_not() {
        let keys = keys(1000, Distribution::Uniform, 3);
        let target = Plan::new(options()).unwrap().targets.remove(0);
        let mut paths = Paths::new(keys.path_start(&target, "scores"));
        for index in [17, 1, 1_000_000_000] {
            let path = paths.path(&keys, index);
            assert_eq!(path, format!("/v1/scores/a%20b%2F{index}.x"));
            assert_eq!(keys.key(index), format!("a b/{index}.x"));
        }
    }
}
