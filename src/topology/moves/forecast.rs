//! Forecasts what a change of the members would move, for operators who plan one. Pure; it proposes nothing.
//!
//! A leader plans by the same placement, from the same table and with the same ids of joiners. So the
//! forecast comes true, unless something else changes meanwhile.

use std::collections::BTreeMap;

use crate::ids::{Epoch, NodeId};
use crate::topology::model::member::{MAX_WEIGHT, Member, MemberRecord, MemberStatus, Zone};
use crate::topology::model::partitions::PartitionTable;
use crate::topology::placement::place;
use crate::topology::state::State;

/// One change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member joins.
    Join {
        /// Its name.
        name: String,
        /// Its zone; by default the zone with the least weight.
        zone: Option<String>,
        /// Its weight; by default the mean of the members that are up.
        weight: Option<u32>,
    },
    /// The member of this name leaves.
    Leave(String),
    /// The member of this name gets this weight.
    Weight(String, u32),
}

/// The reason why a change is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// No member has the name.
    #[error("there is no member {name:?}: there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The name of a joiner belongs to a member already.
    #[error("{0:?} is a member already")]
    Taken(String),
    /// The weight is out of range.
    #[error("a weight is a whole number from 1 to {MAX_WEIGHT}, not {0}")]
    Weight(u32),
    /// No member that may own would be left.
    #[error("no member that is up would be left")]
    Nobody,
}

/// What one member owns before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The member after the change.
    pub member: Member,
    /// Partitions it owns now.
    pub before: usize,
    /// Partitions it would own.
    pub after: usize,
    /// Partitions it would own and does not own now.
    pub gained: usize,
    /// Partitions it owns now and would not own.
    pub lost: usize,
}

/// The moves that a change would cause.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The share of every member, in the order of their ids.
    pub shares: Vec<Share>,
    /// How many partitions move from one member to another.
    pub moved: BTreeMap<(NodeId, NodeId), usize>,
}

impl Forecast {
    /// Forecasts what `changes` would move if they were made all at once.
    ///
    /// # Errors
    /// [`Impossible`], for the first change that cannot be made.
    pub fn of(state: &State, changes: &[Change]) -> Result<Self, Impossible> {
        let mut members: Vec<Member> = state.members().map(MemberRecord::member).collect();
        let mut next = state.next_node();
        for change in changes {
            apply(&mut members, &mut next, change)?;
        }
        if !members.iter().any(Member::may_own) {
            return Err(Impossible::Nobody);
        }
        let before = state.table();
        let after = place(&members, Some(before), Epoch(state.epoch().0 + 1));
        Ok(Self::between(members, before, &after))
    }

    fn between(mut members: Vec<Member>, before: &PartitionTable, after: &PartitionTable) -> Self {
        members.sort_unstable_by_key(|member| member.id);
        let mut moved = BTreeMap::new();
        let (mut gained, mut lost) = (BTreeMap::new(), BTreeMap::new());
        for (partition, was) in before.iter() {
            let is = after[partition];
            if was.owner == is.owner {
                continue;
            }
            for (id, count) in [(was.owner, &mut lost), (is.owner, &mut gained)] {
                if let Some(id) = id {
                    *count.entry(id).or_default() += 1;
                }
            }
            if let (Some(from), Some(to)) = (was.owner, is.owner) {
                *moved.entry((from, to)).or_default() += 1;
            }
        }
        let share = |member: Member| Share {
            before: before.owned_by(member.id),
            after: after.owned_by(member.id),
            gained: gained.get(&member.id).copied().unwrap_or_default(),
            lost: lost.get(&member.id).copied().unwrap_or_default(),
            member,
        };
        Self {
            shares: members.into_iter().map(share).collect(),
            moved,
        }
    }
}

fn apply(members: &mut Vec<Member>, next: &mut NodeId, change: &Change) -> Result<(), Impossible> {
    match change {
        Change::Join { name, zone, weight } => {
            if members.iter().any(|member| *member.name == **name) {
                return Err(Impossible::Taken(name.clone()));
            }
            let zone = zone.as_deref().map(Zone::new);
            let weight = weight.map_or_else(|| Ok(mean_weight(members)), checked)?;
            members.push(Member {
                id: *next,
                name: name.as_str().into(),
                host: "".into(),
                grpc_port: 0,
                zone: zone.unwrap_or_else(|| lightest_zone(members)),
                weight,
                status: MemberStatus::Up,
            });
            next.0 += 1;
        }
        Change::Leave(name) => named(members, name)?.status = MemberStatus::Leaving,
        Change::Weight(name, weight) => named(members, name)?.weight = checked(*weight)?,
    }
    Ok(())
}

fn checked(weight: u32) -> Result<u32, Impossible> {
    match weight {
        1..=MAX_WEIGHT => Ok(weight),
        _ => Err(Impossible::Weight(weight)),
    }
}

fn named<'a>(members: &'a mut [Member], name: &str) -> Result<&'a mut Member, Impossible> {
    let place = members.iter().position(|member| *member.name == *name);
    match place {
        Some(place) => Ok(&mut members[place]),
        None => {
            let known: Vec<_> = members.iter().map(|member| &*member.name).collect();
            Err(Impossible::Unknown {
                name: name.to_owned(),
                known: known.join(", "),
            })
        }
    }
}

fn mean_weight(members: &[Member]) -> u32 {
    let up: Vec<_> = members.iter().filter(|member| member.may_own()).collect();
    let whole: u64 = up.iter().map(|member| u64::from(member.weight)).sum();
    let mean = whole.checked_div(up.len() as u64).unwrap_or(1);
    u32::try_from(mean).unwrap_or(MAX_WEIGHT).max(1)
}

/// The zone with the least weight, where a new member makes zones most even.
fn lightest_zone(members: &[Member]) -> Zone {
    let mut zones: BTreeMap<&Zone, u64> = BTreeMap::new();
    for member in members.iter().filter(|member| member.may_own()) {
        *zones.entry(&member.zone).or_default() += u64::from(member.weight);
    }
    let lightest = zones.into_iter().min_by_key(|(_, weight)| *weight);
    lightest.map_or_else(|| Zone::new("default"), |(zone, _)| zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::PARTITIONS;
    use crate::ids::ClusterId;
    use crate::topology::commands::{Agreed, Command, Joiner, SetStatus};
    use crate::topology::fixtures;
    use crate::topology::state::Founding;

    fn joiner(name: &str, zone: &str) -> Joiner {
        Joiner {
            zone: Zone::new(zone),
            weight: 256,
            ..fixtures::named(name)
        }
    }

    /// `n1` and `n2` in zone `a`, `n3` in zone `b`, each with its share.
    fn state() -> State {
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: joiner("n1", "a"),
        });
        for (name, zone) in [("n2", "a"), ("n3", "b")] {
            admit(&mut state, joiner(name, zone));
        }
        state
    }

    /// Does what happens when a node joins.
    fn admit(state: &mut State, joiner: Joiner) {
        let (id, incarnation) = (state.next_node(), joiner.incarnation);
        state.apply(&Command::Join(joiner)).unwrap();
        let up = SetStatus {
            id,
            incarnation,
            status: MemberStatus::Up,
        };
        state.apply(&Command::SetStatus(up)).unwrap();
        while let Some(assign) = state.plan_assign() {
            state.apply(&assign).unwrap();
        }
    }

    fn join(name: &str) -> Change {
        Change::Join {
            name: name.into(),
            zone: None,
            weight: None,
        }
    }

    #[test]
    fn the_forecast_of_a_join_comes_true() {
        let mut state = state();
        let forecast = Forecast::of(&state, &[join("n4")]).unwrap();
        let fourth = forecast.shares.last().unwrap();
        assert_eq!(
            (fourth.member.zone.as_str(), fourth.member.weight),
            ("b", 256)
        );
        assert_eq!(
            (fourth.before, fourth.after, fourth.gained),
            (0, 1024, 1024)
        );
        assert_eq!(forecast.moved.values().sum::<usize>(), 1024);
        admit(&mut state, joiner("n4", "b"));
        for share in forecast.shares {
            assert_eq!(state.table().owned_by(share.member.id), share.after);
        }
    }

    #[test]
    fn a_leaving_member_loses_all_and_changes_add_up() {
        let changes = [
            Change::Leave("n2".into()),
            join("n4"),
            Change::Weight("n3".into(), 512),
        ];
        let forecast = Forecast::of(&state(), &changes).unwrap();
        let after: Vec<_> = forecast.shares.iter().map(|share| share.after).collect();
        assert_eq!((after.iter().sum::<usize>(), after[1]), (PARTITIONS, 0));
        assert_eq!(after[2], 2 * after[0]);
        for share in &forecast.shares {
            assert_eq!(share.before + share.gained - share.lost, share.after);
        }
    }

    #[test]
    fn impossible_changes_are_reported() {
        let state = state();
        let of = |changes: &[Change]| Forecast::of(&state, changes).unwrap_err().to_string();
        assert_eq!(of(&[join("n1")]), "\"n1\" is a member already");
        let unknown = "there is no member \"n9\": there are n1, n2, n3";
        assert_eq!(of(&[Change::Leave("n9".into())]), unknown);
        assert!(of(&[Change::Weight("n1".into(), 0)]).contains("from 1 to 1000000"));
        let all = ["n1", "n2", "n3"].map(|name| Change::Leave(name.into()));
        assert_eq!(of(&all), "no member that is up would be left");
    }
}
