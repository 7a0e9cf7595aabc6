//! What a leader may propose: assignments that follow from who is up now. Pure.
//!
//! A plan is made once, by the leader, and then stands in the log in full; a later version may plan in
//! another way without old entries meaning anything else.

use super::epoch::next_epoch;
use crate::ids::{NodeId, Partition};
use crate::topology::commands::runs::runs;
use crate::topology::commands::{Assign, Command, FailOver, Run};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::{Assignment, PartitionTable};
use crate::topology::placement::place;
use crate::topology::state::State;

impl State {
    /// The command that gives every member that is up its share, if anything is to change.
    ///
    /// Partitions that are moving stay out of it, and nothing is planned while nobody is up: a member
    /// that is down then keeps what it owns.
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

    /// The command that gives partitions which nobody can answer for, since they have no owner or one that
    /// is down, to members that are up; if there are such. It is all that is due while the ring is paused:
    /// [`plan_fail_over`](Self::plan_fail_over) leaves such partitions where nobody was up to take them.
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

    /// The command that sets a member down and gives what it owns to the standbys, or where there is
    /// none to whom placement would give it; and what it stands by for, to others. None if there is no
    /// such member or it is down and has nothing.
    ///
    /// A partition that was about to move goes where it was about to go, and what was sent there stays
    /// valid; so is what a standby has copies of. Shares are uneven afterwards, until [`plan_assign`](Self::plan_assign).
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
                // Of the others' partitions that are moving, even the standby stays.
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

    /// What `pick` wants of each partition, an owner, a standby and whether the owner inherits, where it is
    /// other than what there is: as few runs as can be.
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

/// Who stands by for `owner` in place of whom `target` has: its standby, or its owner if that is not
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
