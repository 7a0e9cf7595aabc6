//! A lease means that nobody else acts: not for a partition, not on what everybody was told is void.

use std::collections::BTreeMap;

use gcache::ids::{Epoch, Generation, GroupId, NodeId, Partition};
use gcache::ownership::Duty;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;
use gcache::topology::view::Route;

use super::log::Committed;
use crate::leases::Leasing;
use crate::node::Node;
use crate::queue::Micros;
use crate::violation::{Checked, Promise, ensure};

/// What was acknowledged.
#[derive(Default)]
pub(crate) struct Leases {
    /// By group: the generation that a reset made, once that was acknowledged.
    resets: BTreeMap<GroupId, Generation>,
}

/// When members were failed over, and which epochs share a partition table.
#[derive(Default)]
pub(crate) struct Downs {
    /// By member: the epoch that last set it down.
    since: BTreeMap<NodeId, Epoch>,
    /// By epoch: the number of its table.
    tables: BTreeMap<Epoch, usize>,
    count: usize,
}

/// A member that holds a lease.
struct Holder<'a> {
    id: NodeId,
    leasing: &'a Leasing,
    state: &'a State,
    now: Micros,
}

impl Downs {
    /// One entry made the one state into the other.
    pub(crate) fn seen(&mut self, before: &State, after: &State) {
        let is_down = |state: &State, id| {
            let record = state.member(id);
            record.is_some_and(|record| record.status == MemberStatus::Down)
        };
        for member in after.members() {
            if is_down(after, member.id) && !is_down(before, member.id) {
                self.since.insert(member.id, after.epoch());
            }
        }
        // A state that leaves its table alone shares it with the one before.
        if !std::ptr::eq(before.table(), after.table()) {
            self.count += 1;
        }
        self.tables.insert(after.epoch(), self.count);
    }
}

impl Leases {
    /// It was acknowledged that `group` is reset, and this is its generation.
    pub(crate) fn was_reset(&mut self, group: GroupId, generation: Generation) {
        let known = self.resets.entry(group).or_default();
        *known = generation.max(*known);
    }

    /// All promises, of all nodes that hold a lease `now`.
    pub(crate) fn check(
        &self,
        nodes: &BTreeMap<u64, Node>,
        log: &Committed,
        now: Micros,
    ) -> Checked {
        // A process that is suspended does nothing.
        let running = nodes
            .values()
            .filter(|node| node.is_up() && node.frozen_until <= now);
        let holders: Vec<Holder<'_>> = running
            .filter_map(|node| {
                let leasing = node.leasing.as_ref()?;
                let is_holder = leasing.is_valid(now);
                let state = node.state.as_deref().filter(|_| is_holder)?;
                let id = NodeId(node.id);
                Some(Holder {
                    id,
                    leasing,
                    state,
                    now,
                })
            })
            .collect();
        for holder in &holders {
            self.alone(holder, &log.downs)?;
        }
        for (at, one) in holders.iter().enumerate() {
            for other in &holders[at + 1..] {
                apart(one, other, &log.downs)?;
            }
        }
        Ok(())
    }

    /// What one holder must not believe.
    fn alone(&self, holder: &Holder<'_>, downs: &Downs) -> Checked {
        let Holder { id, state, .. } = holder;
        let since = downs.since.get(id).copied().unwrap_or_default();
        ensure(state.epoch() >= since, Promise::OneOwner, || {
            format!(
                "node {id} was failed over at epoch {since} and holds a lease at {}",
                state.epoch()
            )
        })?;
        for group in state.groups() {
            let least = self.resets.get(&group.id).copied().unwrap_or_default();
            ensure(group.generation >= least, Promise::ResetsAreKnown, || {
                format!(
                    "node {id} holds a lease at generation {} of group {}, and {least} was acknowledged",
                    group.generation, group.id
                )
            })?;
        }
        Ok(())
    }
}

impl Holder<'_> {
    /// Whether this member acts for the partition.
    fn acts_for(&self, partition: Partition) -> bool {
        let at = self.state.table()[partition];
        let route = Route {
            partition,
            owner: None,
            standby: None,
            tenure: at.tenure,
            inherits: at.inherits,
            since: at.since,
        };
        at.owner == Some(self.id) && self.leasing.duty(&route, self.now) == Duty::Acts
    }
}

/// Two holders must not act for one partition.
fn apart(one: &Holder<'_>, other: &Holder<'_>, downs: &Downs) -> Checked {
    let table = |holder: &Holder<'_>| downs.tables.get(&holder.state.epoch());
    if table(one) == table(other) {
        return Ok(());
    }
    let shared = one.state.table().iter().map(|(partition, _)| partition);
    let mut shared =
        shared.filter(|partition| one.acts_for(*partition) && other.acts_for(*partition));
    let shared = shared.next();
    ensure(shared.is_none(), Promise::OneOwner, || {
        format!(
            "nodes {} and {} act for partition {shared:?}, at epochs {} and {}",
            one.id,
            other.id,
            one.state.epoch(),
            other.state.epoch()
        )
    })
}
