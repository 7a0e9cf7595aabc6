//! Plans that a leader may propose: assignments that follow from the members that are up now. Pure.
//!
//! The leader makes a plan once, and the log then contains all of it. So a later version may plan in another
//! way without a change of the meaning of old entries.

use super::epoch::next_epoch;
use crate::ids::{NodeId, Partition};
use crate::topology::commands::runs::runs;
use crate::topology::commands::{Assign, Command, FailOver, Run};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::{Assignment, PartitionTable};
use crate::topology::placement::place;
use crate::topology::state::State;

impl State {
    /// The command that gives every member that is up its share; none if nothing has to change.
    ///
    /// Partitions that are moving are left out. If no member is up there is no plan: members that are down
    /// then keep what they own.
    #[must_use]
    pub fn plan_assign(&self) -> Option<Command> {
        let ring = self.ring();
        if !ring.iter().any(|member| member.may_own()) {
            return None;
        }
        let target = place(&ring, Some(&self.table), next_epoch(self));
        let runs = self.difference(|partition, was| {
            let is_moving = was.move_to.is_some();
            (!is_moving).then(|| (target[partition].owner, target[partition].standby, false))
        });
        let expected = self.epoch;
        (!runs.is_empty()).then_some(Command::Assign(Assign { expected, runs }))
    }

    /// The command that gives partitions without an owner, or with one that is down, to members that are up;
    /// none if there are no such partitions. While the ring is paused, no other assignment is due. Such
    /// partitions remain when [`plan_fail_over`](Self::plan_fail_over) finds no member that is up to take
    /// them.
    #[must_use]
    pub fn plan_rescue(&self) -> Option<Command> {
        let ring = self.ring();
        if !ring.iter().any(|member| member.may_own()) {
            return None;
        }
        let is_lost = |owner: Option<NodeId>| {
            let owner = owner.and_then(|id| self.members.get(&id));
            owner.is_none_or(|owner| owner.status == MemberStatus::Down)
        };
        let target = place(&ring, Some(&self.table), next_epoch(self));
        let runs = self.difference(|partition, was| {
            let is_due = is_lost(was.owner) && was.move_to.is_none();
            is_due.then(|| (target[partition].owner, target[partition].standby, false))
        });
        let expected = self.epoch;
        (!runs.is_empty()).then_some(Command::Assign(Assign { expected, runs }))
    }

    /// The command that takes a member down. It gives what the member owns to the standbys, or, where there
    /// is none, to the member that placement chooses; and it gives other standbys to partitions that the
    /// member is the standby of. None if there is no such member, or if it is down and has no partitions.
    ///
    /// A partition that was moving goes to the target of its move, and the entries that were sent there stay
    /// valid; so do the copies of a standby that takes over. Shares are uneven afterwards, until
    /// [`plan_assign`](Self::plan_assign).
    #[must_use]
    pub fn plan_fail_over(&self, id: NodeId) -> Option<Command> {
        let record = self.members.get(&id)?;
        let mut ring = self.ring();
        for member in ring.iter_mut().filter(|member| member.id == id) {
            member.status = MemberStatus::Down;
        }
        let mut runs = Vec::new();
        if ring.iter().any(|member| member.may_own()) {
            let is_up = |id: &NodeId| ring.iter().any(|other| other.id == *id && other.may_own());
            let target = place(&ring, Some(&self.table), next_epoch(self));
            runs = self.difference(|partition, was| {
                // Of other members' partitions that are moving to others, even the standby stays.
                let is_others = was.move_to.is_some_and(|moving| moving.to != id);
                let moving_to = was.move_to.map(|moving| moving.to).filter(is_up);
                if was.owner == Some(id) {
                    let heir = moving_to.or(was.standby.filter(is_up));
                    let heir = heir.or(target[partition].owner);
                    let standby = standby_for(heir, &target, partition);
                    let has_copies = was.copies.are_kept && heir == was.standby;
                    Some((heir, standby, moving_to.is_some() || has_copies))
                } else if was.standby == Some(id) && !is_others {
                    let standby = standby_for(was.owner, &target, partition);
                    Some((was.owner, standby, false))
                } else {
                    None
                }
            });
        }
        if runs.is_empty() && record.status == MemberStatus::Down {
            return None;
        }
        Some(Command::FailOver(FailOver {
            expected: self.epoch,
            id,
            incarnation: record.incarnation,
            runs,
        }))
    }

    /// The changes that `pick` wants, in as few runs as possible. For each partition `pick` returns an owner,
    /// a standby and whether the owner inherits; partitions that already have this owner and standby are left
    /// out.
    fn difference(
        &self,
        pick: impl Fn(Partition, &Assignment) -> Option<(Option<NodeId>, Option<NodeId>, bool)>,
    ) -> Vec<Run> {
        let picked = self.table.iter().filter_map(|(partition, was)| {
            let picked = pick(partition, was)?;
            let (owner, standby, _) = picked;
            ((owner, standby) != (was.owner, was.standby)).then_some((partition, picked))
        });
        let run = |(first, count, (owner, standby, is_inheriting))| Run {
            first,
            count,
            owner,
            standby,
            is_inheriting,
        };
        runs(picked).into_iter().map(run).collect()
    }
}

/// The standby for `owner`, chosen from `target`: its standby of the partition, or else its owner; never
/// `owner` itself.
fn standby_for(
    owner: Option<NodeId>,
    target: &PartitionTable,
    partition: Partition,
) -> Option<NodeId> {
    let Assignment {
        owner: placed,
        standby,
        ..
    } = target[partition];
    owner?;
    [standby, placed]
        .into_iter()
        .flatten()
        .find(|id| Some(*id) != owner)
}
