//! The network between the nodes: who reaches whom, and how badly.
//!
//! A link is one direction between two nodes. In good weather a lane of a link keeps its order, as a
//! stream does; in bad weather messages are lost, doubled, late and in any order.

use std::collections::{BTreeMap, BTreeSet};

use gcache::raft::envelope::Lane;

use crate::dice::Dice;
use crate::faults::{Fault, Seen};
use crate::queue::{MILLISECOND, Micros};

/// The longest a message is late.
const LATEST: Micros = 3_000 * MILLISECOND;

/// How often, in a thousand, what goes wrong with a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// It is lost.
    pub(crate) loss: u32,
    /// It arrives twice.
    pub(crate) duplicates: u32,
    /// It is late, up to seconds.
    pub(crate) late: u32,
    /// The only node that messages reach late, if it is not everyone.
    pub(crate) late_to: Option<u64>,
    /// Messages overtake each other.
    pub(crate) is_unordered: bool,
}

/// All links.
#[derive(Default)]
pub(crate) struct Network {
    /// The links that carry nothing: from, to.
    cut: BTreeSet<(u64, u64)>,
    /// The weather everywhere.
    pub(crate) weather: Weather,
    /// When the last message in order arrives.
    last: BTreeMap<(u64, u64, Lane), Micros>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives after this long.
    Arrives(Micros),
    /// It arrives after these long, twice.
    ArrivesTwice(Micros, Micros),
    /// It does not arrive.
    Lost,
}

impl Network {
    /// Decides what becomes of a message of `from` that leaves for `to` at `leaves`.
    pub(crate) fn fate(
        &mut self,
        dice: &mut Dice,
        seen: &mut Seen,
        (from, to, lane): (u64, u64, Lane),
        leaves: Micros,
    ) -> Fate {
        if self.cut.contains(&(from, to)) {
            return Fate::Lost;
        }
        if dice.chance(self.weather.loss) {
            seen.add(Fault::Loss);
            return Fate::Lost;
        }
        let first = self.arrival(dice, seen, (from, to, lane), leaves);
        if !dice.chance(self.weather.duplicates) {
            return Fate::Arrives(first);
        }
        seen.add(Fault::Duplicate);
        Fate::ArrivesTwice(first, first + dice.within(1..LATEST))
    }

    /// When a message arrives.
    fn arrival(
        &mut self,
        dice: &mut Dice,
        seen: &mut Seen,
        link: (u64, u64, Lane),
        leaves: Micros,
    ) -> Micros {
        let may_be_late = self.weather.late_to.is_none_or(|to| to == link.1);
        if may_be_late && dice.chance(self.weather.late) {
            seen.add(Fault::Late);
            return leaves + dice.within(10 * MILLISECOND..LATEST);
        }
        let last = self.last.entry(link).or_default();
        if self.weather.is_unordered {
            let arrives = leaves + dice.within(100..20 * MILLISECOND);
            if arrives < *last {
                seen.add(Fault::Reorder);
            }
            *last = arrives.max(*last);
            return arrives;
        }
        *last = (leaves + dice.within(100..2 * MILLISECOND)).max(*last);
        *last
    }

    /// Whether a link carries nothing.
    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Cuts one link.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Cuts the links between two sides, both ways.
    pub(crate) fn split(&mut self, one: &[u64], other: &[u64]) {
        for &a in one {
            for &b in other {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// Node `id` is another process now: what it says waits behind nothing that the one before said.
    pub(crate) fn reconnect(&mut self, id: u64) {
        self.last
            .retain(|(from, to, _), _| *from != id && *to != id);
    }

    /// All links carry again.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }
}

#[test]
fn a_link_in_good_weather_keeps_its_order() {
    let (mut network, mut dice) = (Network::default(), Dice::new(1));
    let mut last = 0;
    for leaves in 0..500 {
        let link = (1, 2, Lane::Append);
        let fate = network.fate(&mut dice, &mut Seen::default(), link, leaves);
        let Fate::Arrives(at) = fate else {
            panic!("{fate:?}");
        };
        assert!(at >= last && at > leaves);
        last = at;
    }
}

#[test]
fn a_cut_link_carries_nothing_and_only_in_its_direction() {
    let (mut network, mut dice) = (Network::default(), Dice::new(1));
    network.cut(1, 2);
    let mut fate = |from, to| {
        let link = (from, to, Lane::Append);
        network.fate(&mut dice, &mut Seen::default(), link, 0)
    };
    assert_eq!(fate(1, 2), Fate::Lost);
    assert!(matches!(fate(2, 1), Fate::Arrives(_)));
}
