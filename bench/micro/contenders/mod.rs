//! The caches that are compared, behind one small interface, and the workload they all get: the
//! same sequence of keys, Zipf with exponent 0.99, in the same order.

use std::sync::Arc;

use gcache::cache::{Cache, Found, Loaded};
use parking_lot::Mutex;

use crate::requests::{Key, VALUE_BYTES, cache, fill, key, request};

/// Distinct keys.
pub(crate) const KEYS: usize = 1_000_000;

/// Entries every cache has room for.
pub(crate) const CAPACITY: usize = KEYS / 10;

/// A cache under comparison. All hold owned keys and shared values of any length.
pub(crate) trait Contender: Sync {
    /// As reports name it.
    const NAME: &'static str;

    /// One with room for [`CAPACITY`] entries.
    fn new() -> Self;

    /// Looks up, and returns a byte of the value so that nothing is optimised away.
    fn get(&self, key: &Key) -> Option<u8>;

    /// Stores a value, copying it, as a fill from the network does.
    fn insert(&self, key: &Key, value: &[u8]);

    /// Looks up and stores on a miss; true if it was a hit.
    fn get_or_insert(&self, key: &Key, value: &[u8]) -> bool {
        let is_hit = self.get(key).is_some();
        if !is_hit {
            self.insert(key, value);
        }
        is_hit
    }

    /// How many entries it holds, once it has done what it put off.
    fn len(&self) -> usize;
}

/// This project's cache, through the calls that the read path makes.
pub(crate) struct Gcache(Cache);

impl Contender for Gcache {
    const NAME: &'static str = "gcache";

    fn new() -> Self {
        let probe = Self(cache(1 << 20));
        probe.insert(&key(0), &[0; VALUE_BYTES]);
        Self(cache(probe.0.stats().bytes * CAPACITY as u64))
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.0.get(&request(key)).map(|entry| entry.value()[0])
    }

    fn insert(&self, key: &Key, value: &[u8]) {
        self.get_or_insert(key, value);
    }

    fn get_or_insert(&self, key: &Key, value: &[u8]) -> bool {
        match self.0.get_or_join(&request(key)) {
            Found::Lead { lead, .. } => {
                lead.finish(Loaded::Value(value), &fill());
                false
            }
            _ => true,
        }
    }

    fn len(&self) -> usize {
        self.0.stats().entries as usize
    }
}

/// moka's synchronous cache with its defaults (TinyLFU admission).
pub(crate) struct Moka(moka::sync::Cache<Box<[u8]>, Arc<[u8]>>);

impl Contender for Moka {
    const NAME: &'static str = "moka";

    fn new() -> Self {
        Self(moka::sync::Cache::new(CAPACITY as u64))
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.0.get(&key[..]).map(|value| value[0])
    }

    fn insert(&self, key: &Key, value: &[u8]) {
        self.0.insert(Box::from(&key[..]), Arc::from(value));
    }

    fn len(&self) -> usize {
        self.0.run_pending_tasks();
        self.0.entry_count() as usize
    }
}

/// quick_cache's synchronous cache with its defaults (a CLOCK-Pro variant).
pub(crate) struct QuickCache(quick_cache::sync::Cache<Box<[u8]>, Arc<[u8]>>);

impl Contender for QuickCache {
    const NAME: &'static str = "quick_cache";

    fn new() -> Self {
        Self(quick_cache::sync::Cache::new(CAPACITY))
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.0.get(&key[..]).map(|value| value[0])
    }

    fn insert(&self, key: &Key, value: &[u8]) {
        self.0.insert(Box::from(&key[..]), Arc::from(value));
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The `lru` crate in one mutex: what one would write in an afternoon.
pub(crate) struct Lru(Mutex<Entries>);

type Entries = lru::LruCache<Box<[u8]>, Arc<[u8]>>;

impl Contender for Lru {
    const NAME: &'static str = "lru+mutex";

    fn new() -> Self {
        let capacity = std::num::NonZeroUsize::new(CAPACITY).expect("the capacity is not zero");
        Self(Mutex::new(lru::LruCache::new(capacity)))
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.0.lock().get(&key[..]).cloned().map(|value| value[0])
    }

    fn insert(&self, key: &Key, value: &[u8]) {
        self.0.lock().put(Box::from(&key[..]), Arc::from(value));
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// `count` keys, Zipf 0.99 over [`KEYS`].
pub(crate) fn workload(count: usize, seed: u64) -> Vec<Key> {
    let zipf = Zipf::new(KEYS as f64, 0.99);
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count)
        .map(|_| key(zipf.rank(random.f64()) as u32 & 0x00ff_ffff))
        .collect()
}

/// The generator of Gray et al., "Quickly generating billion-record synthetic databases", which
/// YCSB uses too.
struct Zipf {
    n: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
    half_pow: f64,
}

impl Zipf {
    fn new(n: f64, theta: f64) -> Self {
        let zeta = |n: f64| (1..=n as u64).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (all, two) = (zeta(n), zeta(2.0));
        Self {
            n,
            alpha: 1.0 / (1.0 - theta),
            zeta: all,
            eta: (1.0 - (2.0 / n).powf(1.0 - theta)) / (1.0 - two / all),
            half_pow: 1.0 + 0.5f64.powf(theta),
        }
    }

    /// The rank, from 0, that a uniform `u` in 0..1 falls on.
    fn rank(&self, u: f64) -> u64 {
        let uz = u * self.zeta;
        if uz < 1.0 {
            0
        } else if uz < self.half_pow {
            1
        } else {
            (self.n * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64
        }
    }
}
