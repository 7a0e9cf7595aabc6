//! Clients: they propose and read, at whoever says it leads or at anybody.

use bytes::Bytes;
use gcache::ids::NodeId;
use gcache::raft::event::{Event, RequestId};
use gcache::topology::model::quorum::QuorumChange;

use crate::check::requests::What;
use crate::cluster;
use crate::faults::Fault;
use crate::queue::MILLISECOND;
use crate::violation::{Checked, Violation};
use crate::world::{Happening, World};

/// Requests that wait for their outcome, at most.
const OPEN_MAX: usize = 24;

impl World {
    /// A client asks for something, and the next time is planned.
    pub(crate) fn client(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        let leaders = self.up(|node| node.role.is_leader);
        // While two say that they lead, an old answer is most likely.
        let pause = if leaders.len() > 1 { 20 } else { 120 };
        let after = self.dice.within(5 * MILLISECOND..pause * MILLISECOND);
        self.queue.push(after, Happening::Ask);
        let all = self.up(|_| true);
        let is_any = self.dice.chance(100);
        let leader = self.dice.pick(&leaders).filter(|_| !is_any);
        let Some(node) = leader.or_else(|| self.dice.pick(&all)) else {
            return Ok(());
        };
        if self.checks.requests.open() >= OPEN_MAX {
            return Ok(());
        }
        if self.dice.chance(300) {
            return self.propose_any(node);
        }
        // Everybody who says it leads is asked at once, so that one that no longer does is found out.
        for node in leaders {
            self.read(node)?;
        }
        Ok(())
    }

    fn propose_any(&mut self, node: u64) -> Checked {
        if self.dice.chance(30) {
            return self.ask(node, What::Other, Event::Compact).map(|_| ());
        }
        let Some(state) = self.nodes.get(&node).and_then(|node| node.state.clone()) else {
            return Ok(());
        };
        let command = match self.newer_command(&state) {
            Some(command) => command,
            None if self.has_leases || self.is_wild(Fault::Stall) => {
                cluster::group_command(&mut self.dice, &state)
            }
            None => cluster::command(&mut self.dice, &state),
        };
        let command = command.encode();
        self.propose(node, command).map(|_| ())
    }

    /// Proposes this command at `node`.
    pub(crate) fn propose(&mut self, node: u64, command: Bytes) -> Result<RequestId, Violation> {
        let what = What::Command(command.clone());
        self.ask(node, what, |request| Event::Propose(request, command))
    }

    /// Asks `node` to change the quorum.
    pub(crate) fn change(
        &mut self,
        node: u64,
        change: QuorumChange,
    ) -> Result<RequestId, Violation> {
        self.ask(node, What::Other, |request| {
            Event::ChangeQuorum(request, change)
        })
    }

    /// Asks `node` to hand over to another.
    pub(crate) fn transfer(&mut self, node: u64, to: NodeId) -> Result<RequestId, Violation> {
        self.ask(node, What::Other, |request| Event::Transfer(request, to))
    }

    /// Reads at `node`.
    pub(crate) fn read(&mut self, node: u64) -> Checked {
        let what = self.checks.requests.read();
        self.ask(node, what, Event::Read).map(|_| ())
    }

    /// Asks node `id` something, if it runs.
    pub(crate) fn ask(
        &mut self,
        id: u64,
        what: What,
        event: impl FnOnce(RequestId) -> Event,
    ) -> Result<RequestId, Violation> {
        let request = self.checks.requests.next();
        let Some(node) = self.nodes.get(&id).filter(|node| node.is_up()) else {
            return Ok(request);
        };
        let start = node.start;
        let (event, now) = (event(request), self.queue.now());
        self.checks.requests.ask((id, start), now, what);
        self.trace.note(&[id, request.0]);
        self.trace
            .tell(now, format_args!("client at node {id}: {event:?}"));
        self.give(id, start, event)?;
        Ok(request)
    }
}
