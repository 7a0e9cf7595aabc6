//! Which members a member sends entries to, by its view, and which entries it may keep of those that come. Pure.
//!
//! A move sends the entries of partitions to their next owner; copies go to standbys. `cache::feed` and
//! `cache::arrivals` have the reasons, [`mod@crate::topology::moves`] the steps of a move.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::{Entry, Phase};
use crate::ids::{Epoch, Generation, GroupId, Millis, NodeId, Partition, Tenure};
use crate::topology::moves::copies::Unheard;
use crate::topology::view::{Role, View};

/// The stamps of copies, by partition.
pub type CopyStamps = BTreeMap<Partition, Tenure>;

/// The partitions that move away from member `me`, by their next owner and their future tenure.
#[must_use]
pub fn moves_out(view: &View, me: NodeId) -> BTreeMap<(NodeId, Tenure), BTreeSet<Partition>> {
    let mut out: BTreeMap<_, BTreeSet<Partition>> = BTreeMap::new();
    for moving in view.moving().iter().filter(|moving| moving.from == me) {
        let partitions = out.entry((moving.to, moving.tenure)).or_default();
        partitions.insert(moving.partition);
    }
    out
}

/// The owners that send entries to member `me`, by the tenure of the move.
#[must_use]
pub fn moves_in(view: &View, me: NodeId) -> BTreeMap<Tenure, BTreeSet<NodeId>> {
    let mut givers: BTreeMap<Tenure, BTreeSet<NodeId>> = BTreeMap::new();
    for moving in view.moving().iter().filter(|moving| moving.to == me) {
        givers.entry(moving.tenure).or_default().insert(moving.from);
    }
    givers
}

/// Whether a partition still moves from `from` to `to` for `tenure`.
#[must_use]
pub fn is_moving(view: &View, (from, to): (NodeId, NodeId), tenure: Tenure) -> bool {
    let mut moving = view.moving().iter();
    moving.any(|moving| (moving.from, moving.to, moving.tenure) == (from, to, tenure))
}

/// Whether `to` owns `partition` by the move for `tenure`.
#[must_use]
pub fn has_moved(view: &View, to: NodeId, tenure: Tenure, partition: Partition) -> bool {
    view.is_owner(to, partition) && view.route_of(partition).tenure == tenure
}

/// Whether member `me` goes on to expect entries of `partition` for `tenure`: it comes, or has come, or this
/// view does not know the tenure yet.
#[must_use]
pub fn expects(view: &View, me: NodeId, partition: Partition, tenure: Tenure) -> bool {
    let mut moving = view.moving().iter();
    let comes = moving.any(|moving| (moving.partition, moving.to) == (partition, me));
    let route = view.route_of(partition);
    let has_come =
        view.is_owner(me, partition) && (route.tenure == tenure || route.inherits == Some(tenure));
    comes || has_come || view.epoch().0 < tenure.0
}

/// Whether member `me` goes on to expect copies of `partition` that count from `stamp` on: it stands by for it,
/// or this view does not know the stamp yet.
#[must_use]
pub fn expects_copies(view: &View, me: NodeId, partition: Partition, stamp: Tenure) -> bool {
    let is_mine = view.role_of(me, partition) == Role::Standby
        && view.copies_of(partition).stamp() == Some(stamp);
    is_mine || view.epoch().0 < stamp.0
}

/// Whether, by this view, member `me` may begin to keep copies that count from `stamp` on. An owner of the
/// partition may not. But a member that owns it by a view older than `stamp` is about to become its standby, and
/// may.
#[must_use]
pub fn may_keep_copies(view: &View, me: NodeId, partition: Partition, stamp: Tenure) -> bool {
    view.epoch().0 < stamp.0 || !view.is_owner(me, partition)
}

/// The groups that are copied, and by standby those of `partitions` that it should have copies of from member
/// `me`, with their stamps.
#[must_use]
pub fn copies_out(
    view: &View,
    me: NodeId,
    partitions: impl Iterator<Item = Partition>,
) -> (Box<[GroupId]>, BTreeMap<NodeId, CopyStamps>) {
    let copied = view.groups().filter(|group| group.spec.copies > 1);
    let groups: Box<[GroupId]> = copied.map(|group| group.id).collect();
    let mut wanted: BTreeMap<NodeId, CopyStamps> = BTreeMap::new();
    let Some(own) = view.index_of(me).filter(|_| !groups.is_empty()) else {
        return (groups, wanted);
    };
    let routes = partitions.map(|partition| view.route_of(partition));
    for route in routes.filter(|route| route.owner == Some(own)) {
        let stamp = view.copies_of(route.partition).stamp();
        if let (Some(standby), Some(stamp)) = (route.standby, stamp) {
            let stamps = wanted.entry(view.at(standby).id).or_default();
            stamps.insert(route.partition, stamp);
        }
    }
    (groups, wanted)
}

/// Whether a new stream of copies may begin after one that broke: its standby is unheard up to the stamp
/// `broken`, and all of `stamps` are later.
#[must_use]
pub fn may_begin_anew(broken: Tenure, stamps: &CopyStamps) -> bool {
    stamps.values().all(|stamp| *stamp > broken)
}

/// The report that `standby` is unheard: up to the stamp `broken`, and for all that it should have by now.
#[must_use]
pub fn unheard(standby: NodeId, broken: Tenure, stamps: &CopyStamps) -> Unheard {
    let latest = stamps.values().copied().max().unwrap_or_default();
    Unheard {
        standby,
        since: Epoch(broken.max(latest).0),
    }
}

/// Whether an owner that gives a partition away may answer the next owner's question with this entry, which
/// has to be of a tenure that the owner's view accepted, `tenure` or `inherits`, and of the asker's `generation`.
#[must_use]
pub fn may_give(
    entry: &Entry,
    (tenure, inherits): (Tenure, Option<Tenure>),
    generation: Generation,
    now: Millis,
) -> bool {
    let is_ours = entry.tenure() == tenure || Some(entry.tenure()) == inherits;
    let is_same = entry.generation() == generation;
    // An entry that is due for a refresh would still be due at the new owner.
    let is_fresh = entry.phase(now) == Phase::Fresh;
    let is_answer = !entry.is_standby() && entry.error().is_none();
    is_ours && is_same && is_fresh && is_answer
}

/// Whether a member that followed the view `before` has lost `partition` by `view`: its flights are closed.
#[must_use]
pub fn is_lost(before: &View, view: &View, me: NodeId, partition: Partition) -> bool {
    before.is_owner(me, partition) && !view.is_owner(me, partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures::cluster;
    use crate::topology::model::member::{Member, MemberRecord};
    use crate::topology::model::partitions::{Copies, PartitionTable, PendingMove};
    use crate::topology::{Assignment, place};

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    /// A view at epoch 5 of two members, with the first partition that each owns. `change` changes mine.
    fn view(change: impl Fn(&mut Assignment)) -> (View, Partition, Partition) {
        let members: Vec<Member> = cluster(2).members().map(MemberRecord::member).collect();
        let placed = place(&members, None, Epoch(1));
        let first = |owner| {
            let mut owned = placed.iter().filter(|(_, at)| at.owner == Some(owner));
            owned.next().unwrap().0
        };
        let (mine, theirs) = (first(ME), first(OTHER));
        let table = PartitionTable::from_fn(|partition| {
            let mut at = placed[partition];
            at.copies = Copies {
                since: Epoch(3),
                are_kept: true,
            };
            if partition == mine {
                change(&mut at);
            }
            at
        });
        let view = View::new("test", Epoch(5), members, &table, vec![]).unwrap();
        (view, mine, theirs)
    }

    #[test]
    fn what_moves_is_sent_and_expected_until_the_move_is_over() {
        let (moving, mine, theirs) = view(|at| {
            at.move_to = Some(PendingMove {
                to: OTHER,
                tenure: Tenure(5),
            });
        });
        let out = moves_out(&moving, ME);
        assert_eq!(out[&(OTHER, Tenure(5))], BTreeSet::from([mine]));
        assert_eq!(moves_in(&moving, OTHER)[&Tenure(5)], BTreeSet::from([ME]));
        assert!(moves_out(&moving, OTHER).is_empty() && moves_in(&moving, ME).is_empty());
        assert!(is_moving(&moving, (ME, OTHER), Tenure(5)));
        assert!(!is_moving(&moving, (ME, OTHER), Tenure(4)));
        assert!(!has_moved(&moving, OTHER, Tenure(5), mine));
        let (moved, ..) = view(|at| {
            at.owner = Some(OTHER);
            at.standby = Some(ME);
            at.tenure = Tenure(5);
            at.since = Epoch(5);
        });
        assert!(
            has_moved(&moved, OTHER, Tenure(5), mine) && !is_moving(&moved, (ME, OTHER), Tenure(5))
        );
        assert!(is_lost(&moving, &moved, ME, mine) && !is_lost(&moving, &moved, ME, theirs));
        let (still, ..) = view(|_| {});
        // The view, the tenure, and whether the next owner expects entries.
        for (view, tenure, expected) in [
            (&moving, 5, true),
            (&moved, 5, true),
            (&still, 5, false),
            (&still, 6, true),
        ] {
            let found = expects(view, OTHER, mine, Tenure(tenure));
            assert_eq!(found, expected, "{tenure}");
        }
    }

    #[test]
    fn a_standby_expects_copies_of_its_stamp_and_of_later_ones() {
        let (view, mine, theirs) = view(|_| {});
        // The member, the partition, the stamp, and whether it expects copies.
        let table = [
            (OTHER, mine, 3, true),
            (OTHER, mine, 4, false),
            (OTHER, mine, 6, true),
            (ME, mine, 3, false),
            (ME, theirs, 3, true),
        ];
        for (me, partition, stamp, expected) in table {
            let found = expects_copies(&view, me, partition, Tenure(stamp));
            assert_eq!(found, expected, "{me} {partition} {stamp}");
        }
    }

    #[test]
    fn an_owner_by_an_older_view_may_keep_copies_as_the_standby_it_becomes() {
        let (view, mine, _) = view(|_| {});
        // The member, the copies' stamp, and whether it may keep them.
        for (me, stamp, expected) in [(ME, 5, false), (ME, 6, true), (OTHER, 5, true)] {
            let may = may_keep_copies(&view, me, mine, Tenure(stamp));
            assert_eq!(may, expected, "{me} {stamp}");
        }
    }

    #[test]
    fn a_standby_that_was_not_heard_is_unheard_for_all_that_it_should_have() {
        let stamps = |stamp| CopyStamps::from([(Partition(1), Tenure(stamp))]);
        // The stamp up to which the stream broke, the stamps now, whether a new stream may begin, and since
        // when the standby is unheard.
        for (broken, now, anew, since) in [(5, 5, false, 5), (5, 6, true, 6), (5, 4, false, 5)] {
            assert_eq!(may_begin_anew(Tenure(broken), &stamps(now)), anew);
            let found = unheard(OTHER, Tenure(broken), &stamps(now));
            assert_eq!((found.standby, found.since), (OTHER, Epoch(since)));
        }
    }
}
