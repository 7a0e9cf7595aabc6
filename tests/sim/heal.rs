//! After all is healed: within a named time the nodes agree, commit again and owe nobody an answer.

use gcache::ids::NodeId;
use gcache::membership::ending::REOPEN_AFTER_MS;
use gcache::raft::event::RequestId;
use gcache::topology::model::member::MemberStatus;

use crate::cluster;
use crate::faults::Fault;
use crate::node::Node;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// Within this long after everything is well there is one leader, and all that the quorum names agree. Logs that
/// have failed are opened again first.
const HEALED_WITHIN: Micros = 40 * SECOND;

/// Within this long after that, under one leader, whoever runs is up with a lease, and whoever does not is down.
const LEASES_WITHIN: Micros = 10 * SECOND;

/// How often it is looked whether they do.
const LOOK_EVERY: Micros = 250 * MILLISECOND;

impl World {
    /// Heals everything and waits for the nodes to agree, and for one more commit on all of them.
    pub(crate) fn recover(&mut self) -> Checked {
        self.heal();
        let reopens = match self.is_wild(Fault::Stall) {
            true => REOPEN_AFTER_MS * MILLISECOND,
            false => 0,
        };
        let until = self.queue.now() + reopens + HEALED_WITHIN;
        let mut proposed: Option<RequestId> = None;
        let mut leases_by = None;
        loop {
            self.pass(LOOK_EVERY)?;
            let now = self.agreed();
            let is_answered =
                proposed.is_some_and(|request| !self.checks.requests.is_open(request));
            let leases = self.leases_are_well();
            let is_over = is_answered && self.owed().is_ok() && leases.is_ok();
            // A new leader has granted nothing yet, and takes nobody for down for a while.
            leases_by = leases_by.filter(|(leader, _)| now.as_ref() == Ok(leader));
            if let Ok(leader) = now {
                let new = (leader, self.queue.now() + LEASES_WITHIN);
                let (_, by) = *leases_by.get_or_insert(new);
                let is_late = self.queue.now() > by;
                if let Err(why) = leases.as_ref()
                    && is_late
                {
                    return Err(Violation::new(Promise::Progress, why));
                }
            }
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
    pub(crate) fn pass(&mut self, time: Micros) -> Checked {
        self.queue.push(time, Happening::Look);
        let until = self.queue.now() + time;
        while self.queue.now() < until {
            self.step()?;
        }
        Ok(())
    }

    /// The leader that all agree with, or why there is none.
    pub(crate) fn agreed(&self) -> Result<u64, String> {
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

    /// Whether whoever runs and hears the log is up and has a lease, and whoever does not is down and owns
    /// nothing; or why not. While half of the members are silent, nobody is taken for down.
    fn leases_are_well(&self) -> Result<(), String> {
        if !self.has_leases {
            return Ok(());
        }
        let (state, now) = (self.checks.log.state(), self.queue.now());
        let is_up = |id: NodeId| self.nodes.get(&id.0).is_some_and(Node::is_up);
        let has_lease = |id: NodeId| {
            let node = self.nodes.get(&id.0).filter(|node| node.is_up());
            let leasing = node.and_then(|node| node.leasing.as_ref());
            leasing.is_some_and(|leasing| leasing.is_valid(now))
        };
        let hears = |id| is_up(id) && state.quorum().contains(id);
        for member in state.members().filter(|member| hears(member.id)) {
            let is_well = member.status == MemberStatus::Up && has_lease(member.id);
            if !is_well && member.replaced_by.is_none() {
                let told = format!("node {} is {} without a lease", member.id, member.status);
                return Err(told);
            }
        }
        let counted: Vec<_> = state
            .members()
            .filter(|member| member.status != MemberStatus::Down)
            .map(|member| member.id)
            .collect();
        let silent: Vec<_> = counted.iter().filter(|id| !has_lease(**id)).collect();
        if silent.len() * 2 >= counted.len() {
            return Ok(());
        }
        if let Some(id) = silent.into_iter().find(|id| !is_up(**id)) {
            return Err(format!("node {id} is dead and not down"));
        }
        let mut down = state
            .members()
            .filter(|member| member.status == MemberStatus::Down);
        let owner = down.find(|member| state.table().owned_by(member.id) > 0);
        owner.map_or(Ok(()), |member| {
            Err(format!("node {} is down and owns", member.id))
        })
    }

    /// Whether a node owes an answer. One that was removed hears no more of what it proposed.
    fn owed(&self) -> Checked {
        let quorum = self.checks.log.state().quorum();
        self.checks
            .requests
            .owed(self.queue.now(), |node| quorum.contains(NodeId(node)))
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
        self.leaders_answer()?;
        self.checks.log.finish()
    }
}
