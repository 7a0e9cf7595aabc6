//! Whether a log that a node starts on is an old copy, by what others remember who can be reached: the product's rule,
//! with what the product asks the seeds for.

use gcache::ids::{Incarnation, NodeId};
use gcache::membership::promises::{Witness, stale};

use crate::faults::Fault;
use crate::node::CLUSTER;
use crate::violation::{Checked, Promise, Violation};
use crate::world::World;

impl World {
    /// A node that has started asks whether its log is an old copy, and sets it aside if it is. A log that is none
    /// must never be refused.
    pub(super) fn ask_witnesses(&mut self, id: u64) -> Checked {
        let Some(why) = self.fate_of_log(id) else {
            return Ok(());
        };
        let is_stale = self.nodes.get(&id).is_some_and(|node| node.is_stale);
        // Of two processes on one disk, the one has promised what the other overwrites.
        if is_stale || self.is_wild(Fault::LostLock) {
            self.set_aside(id);
            return Ok(());
        }
        let told = format!("node {id} sets a log aside that nothing is wrong with: {why}");
        Err(Violation::new(Promise::DriversLive, told))
    }

    /// What others who can be reached know against the log of a node.
    fn fate_of_log(&self, id: u64) -> Option<String> {
        // Here whoever has joined has started once by the state, and by its disk not yet.
        let node = self.nodes.get(&id).filter(|node| node.incarnation > 1)?;
        let own = node.driver.as_ref()?.own_log().ok()?;
        let now = self.queue.now();
        let others = self.nodes.values().filter(|other| {
            other.id != id
                && other.is_up()
                && now >= other.paused_until.max(other.frozen_until)
                && !self.network.is_cut(id, other.id)
                && !self.network.is_cut(other.id, id)
        });
        let witnesses = others.clone().filter_map(|other| {
            let driver = other.driver.as_ref()?;
            let mut promised = driver.heard_promises().into_iter();
            let promised = promised.find(|(node, _)| *node == own.node);
            Some(Witness {
                cluster: CLUSTER,
                node: NodeId(other.id),
                incarnation: Incarnation(other.incarnation),
                term: driver.term(),
                commit: driver.commit(),
                promised: promised.map(|(_, promised)| promised).unwrap_or_default(),
            })
        });
        let witnesses: Vec<_> = witnesses.collect();
        let states = others.filter_map(|other| other.state.as_deref());
        stale(&own, &witnesses, states).map(|fate| fate.to_string())
    }
}
