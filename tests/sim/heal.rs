//! After all is healed: within a named time the nodes agree, commit again and owe nobody an answer.

use gcache::ids::NodeId;
use gcache::raft::event::RequestId;

use crate::cluster;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// Within this long after everything is well there is one leader, and all that the quorum names agree.
const HEALED_WITHIN: Micros = 40 * SECOND;

/// How often it is looked whether they do.
const LOOK_EVERY: Micros = 250 * MILLISECOND;

impl World {
    /// Heals everything and waits for the nodes to agree, and for one more commit on all of them.
    pub(crate) fn recover(&mut self) -> Checked {
        self.heal();
        let until = self.queue.now() + HEALED_WITHIN;
        let mut proposed: Option<RequestId> = None;
        loop {
            self.pass(LOOK_EVERY)?;
            let now = self.agreed();
            let is_answered =
                proposed.is_some_and(|request| !self.checks.requests.is_open(request));
            let is_over = is_answered && self.owed().is_ok();
            match now {
                Ok(_) if is_over => return self.finish(),
                Ok(leader) => {
                    let probe = cluster::probe();
                    proposed = Some(self.propose(leader, probe.encode())?);
                }
                Err(why) if self.queue.now() > until => {
                    return Err(Violation::new(Promise::Progress, why));
                }
                Err(_) => {}
            }
            if self.queue.now() > until {
                self.owed()?;
                let told = "no proposal is committed any more";
                return Err(Violation::new(Promise::Progress, told));
            }
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Micros) -> Checked {
        self.queue.push(time, Happening::Look);
        let until = self.queue.now() + time;
        while self.queue.now() < until {
            self.step()?;
        }
        Ok(())
    }

    /// The leader that all agree with, or why there is none.
    fn agreed(&self) -> Result<u64, String> {
        let quorum = self.checks.log.state().quorum();
        if quorum.is_joint() {
            return Err(format!("the joint configuration is never left: {quorum:?}"));
        }
        let leaders = self.up(|node| node.role.is_leader && quorum.contains(NodeId(node.id)));
        let [leader] = leaders[..] else {
            return Err(format!("these lead: {leaders:?}"));
        };
        let last = self.checks.log.last();
        for id in quorum.voters.iter().chain(&quorum.learners) {
            let Some(node) = self.nodes.get(&id.0).filter(|node| !node.is_gone) else {
                continue;
            };
            // That it has the right state there was compared when it applied it.
            let applied = node.driver.as_ref().map(|driver| driver.applied());
            if applied != Some(last) {
                return Err(format!("node {id} has applied {applied:?} of {last}"));
            }
        }
        Ok(leader)
    }

    /// Whether a node owes an answer. One that was removed hears no more of what it proposed.
    fn owed(&self) -> Checked {
        let quorum = self.checks.log.state().quorum();
        self.checks
            .requests
            .owed(|node| quorum.contains(NodeId(node)))
    }

    /// At the end: all that runs and has applied all has the same state, and all is answered.
    fn finish(&self) -> Checked {
        let last = self.checks.log.last();
        for node in self.nodes.values() {
            let driver = node
                .driver
                .as_ref()
                .filter(|driver| driver.applied() == last);
            if let Some(driver) = driver {
                self.checks.log.ended(node.id, driver.state())?;
            }
        }
        self.owed()?;
        self.checks.log.finish()
    }
}
