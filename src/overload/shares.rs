//! Places for calls that wait. They are bounded in total and for each group, and no group ever gets more
//! places than are still free. Pure except for a lock.
//!
//! The last rule keeps several groups with slow origins from taking all places together: `n` such groups get
//! at most `n` of `n + 1` parts, so there is always room for the first calls of another group. It is the
//! dynamic threshold of shared-memory switches, with α = 1 (Choudhury and Hahne, IEEE/ACM Transactions on
//! Networking 6(2), 1998). Both ends of a pipeline use it, and so does a frontend for all its look-ups.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ids::GroupId;

/// The number of places.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For all groups together, at least 1.
    pub in_all: usize,
    /// For one group.
    pub per_group: usize,
}

/// The bound because of which a call gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`Bounds::in_all`]: no more places are free than the group has already.
    InAll,
    /// [`Bounds::per_group`].
    PerGroup,
}

/// The places and the groups that have them.
#[derive(Debug)]
pub(crate) struct Shares {
    bounds: Bounds,
    taken: usize,
    by_group: HashMap<u64, usize, BuildHasherDefault<NumberHasher>>,
}

impl Shares {
    /// All places are free.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            taken: 0,
            by_group: HashMap::default(),
        }
    }

    /// Takes a place for `group`. The caller gives it back with [`Shares::leave`].
    pub(crate) fn enter(&mut self, group: GroupId) -> Result<(), Full> {
        let own = self.by_group.entry(group.0.into()).or_default();
        let full = if *own >= self.bounds.per_group {
            Some(Full::PerGroup)
        } else if *own >= self.bounds.in_all - self.taken {
            Some(Full::InAll)
        } else {
            None
        };
        match full {
            None => {
                *own += 1;
                self.taken += 1;
                Ok(())
            }
            Some(full) => {
                if *own == 0 {
                    self.by_group.remove(&group.0.into());
                }
                Err(full)
            }
        }
    }

    /// Gives back a place that `group` took.
    pub(crate) fn leave(&mut self, group: GroupId) {
        let own = self.by_group.get_mut(&group.0.into());
        let own = own.expect("a group that leaves has entered");
        *own -= 1;
        self.taken -= 1;
        if *own == 0 {
            self.by_group.remove(&group.0.into());
        }
    }
}

/// Places that are shared between tasks. Clones share them.
#[derive(Clone, Debug)]
pub struct Gate {
    shares: Arc<Mutex<Shares>>,
}

/// A place at a gate. It is given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place {
    gate: Gate,
    group: GroupId,
}

impl Gate {
    /// A gate with all places free.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            shares: Arc::new(Mutex::new(Shares::new(bounds))),
        }
    }

    /// Takes a place for `group`. Never waits.
    ///
    /// # Errors
    /// The bound because of which there is no place.
    pub fn enter(&self, group: GroupId) -> Result<Place, Full> {
        self.shares.lock().enter(group)?;
        Ok(Place {
            gate: self.clone(),
            group,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.shares.lock().leave(self.group);
    }
}

/// Spreads consecutive numbers with one multiplication. The numbers are our own, so no client can choose ones
/// that collide, against which the standard hasher spends its time.
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        /// 2⁶⁴ over the golden ratio: Knuth's multiplicative hashing.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many places the group gets if it takes all it can.
    fn greedy(shares: &mut Shares, group: u32) -> (usize, Full) {
        let mut got = 0;
        loop {
            match shares.enter(GroupId(group)) {
                Ok(()) => got += 1,
                Err(full) => return (got, full),
            }
        }
    }

    #[test]
    fn a_group_has_its_bound_and_a_place_that_is_given_back_is_free() {
        let mut shares = Shares::new(Bounds {
            in_all: 100,
            per_group: 10,
        });
        assert_eq!(greedy(&mut shares, 1), (10, Full::PerGroup));
        assert_eq!(greedy(&mut shares, 2), (10, Full::PerGroup));
        shares.leave(GroupId(1));
        assert_eq!(greedy(&mut shares, 1), (1, Full::PerGroup));
    }

    #[test]
    fn another_group_finds_a_place_however_many_take_all_they_can() {
        let mut shares = Shares::new(Bounds {
            in_all: 1024,
            per_group: 1024,
        });
        for group in 1..=9 {
            let (got, full) = greedy(&mut shares, group);
            assert_eq!((got, full), (1 << (10 - group), Full::InAll));
        }
    }

    #[test]
    fn a_group_without_places_is_not_remembered() {
        let gate = Gate::new(Bounds {
            in_all: 1,
            per_group: 1,
        });
        let place = gate.enter(GroupId(1)).unwrap();
        assert_eq!(gate.enter(GroupId(2)).unwrap_err(), Full::InAll);
        drop(place);
        assert!(gate.shares.lock().by_group.is_empty());
        drop(gate.enter(GroupId(2)).unwrap());
    }
}
