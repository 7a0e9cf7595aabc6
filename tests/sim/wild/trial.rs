//! At the end of a wild run: one node's state is made another, and somebody must report that.

use gcache::topology::commands::Command;

use crate::cluster;
use crate::faults::Fault;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::World;

/// Within this long it is reported: hashes are compared after so many entries, and at the next message.
const REPORTED_WITHIN: Micros = 20 * SECOND;

/// How often entries are proposed until then, and how many.
const PROPOSE_EVERY: Micros = 250 * MILLISECOND;
const PROPOSALS: usize = 16;

impl World {
    /// All agree: one is made to differ.
    pub(crate) fn try_divergence(&mut self) -> Checked {
        if !self.is_wild(Fault::Diverge) {
            return Ok(());
        }
        let Ok(leader) = self.agreed() else {
            return Ok(());
        };
        let quorum = self.checks.log.state().quorum().clone();
        let followers =
            self.up(|node| node.id != leader && quorum.contains(gcache::ids::NodeId(node.id)));
        let Some(id) = self.dice.pick(&followers) else {
            return Ok(());
        };
        self.diverge(id);
        let until = self.queue.now() + REPORTED_WITHIN;
        while !self.is_reported() && !self.is_replaced(id) {
            if self.queue.now() > until {
                let told = format!("node {id} has another state, and nobody says so");
                return Err(Violation::new(Promise::DivergenceIsReported, told));
            }
            // Another may lead by now.
            let leaders = self.up(|node| node.role.is_leader);
            for leader in leaders.iter().copied().cycle().take(PROPOSALS) {
                self.propose(leader, cluster::probe().encode())?;
            }
            self.pass(PROPOSE_EVERY)?;
        }
        Ok(())
    }

    fn diverge(&mut self, id: u64) {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(driver) = &mut node.driver else {
            return;
        };
        let command = Command::SetPaused(!driver.state().is_paused());
        if driver.diverge(&command) {
            node.is_diverged = true;
            self.seen.add(Fault::Diverge);
            self.trace.tell(now, format_args!("node {id} diverges"));
        }
    }

    /// Whether a node has the state of all again: a snapshot took the place of its own.
    fn is_replaced(&self, id: u64) -> bool {
        let (log, node) = (&self.checks.log, self.nodes.get(&id));
        let driver = node.and_then(|node| node.driver.as_ref());
        driver.is_some_and(|driver| {
            driver.applied() == log.last() && **driver.state() == *log.state()
        })
    }

    fn is_reported(&self) -> bool {
        let is_diverged = self.nodes.values().any(|node| node.is_diverged);
        !is_diverged || self.wild.as_ref().is_some_and(|wild| wild.is_reported)
    }

    /// A node has found another's state to differ. Gives whether one does.
    pub(crate) fn reported(&mut self) -> bool {
        if let Some(wild) = &mut self.wild {
            wild.is_reported = true;
        }
        self.nodes.values().any(|node| node.is_diverged)
    }
}
