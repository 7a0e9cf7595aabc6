//! Whoever hears no quorum neither goes on leading nor begins a term.
//!
//! Time is each node's own, in ticks: a promise about a node that stands still would be worth nothing.

use std::collections::{BTreeMap, BTreeSet};

use gcache::ids::NodeId;
use gcache::raft::driver::ELECTION_TICKS;
use gcache::raft::event::Event;
use gcache::topology::model::quorum::Quorum;

use crate::node::Node;
use crate::violation::{Checked, Promise, ensure};
use crate::wire::{Message, kind};

/// Ticks without a quorum after which a leader leads no more. It looks once in an election timeout, at what it
/// has heard since it looked before; handing over may put one look off.
const LEADS_FOR: u64 = 3 * ELECTION_TICKS as u64;

/// Ticks after which nobody waits any more for an answer to the question whether he could win.
const ASKS_FOR: u64 = 2 * ELECTION_TICKS as u64;

/// What each node has heard.
#[derive(Default)]
pub(crate) struct Heard {
    nodes: BTreeMap<u64, Ears>,
    /// Who was asked by its leader to campaign, and in which term.
    asked: BTreeSet<(u64, u64)>,
}

/// What one start of a node has heard.
#[derive(Default)]
struct Ears {
    start: u64,
    ticks: u64,
    /// By sender: the tick at which something of it came last.
    last: BTreeMap<NodeId, u64>,
    /// Who counted in the quorum when that was looked at last.
    counted: Quorum,
    /// The term in which it leads, if it does, and since which tick that is no accident.
    leads: Option<(u64, u64)>,
    /// It may begin a term in this turn.
    may_begin: bool,
    /// The last term that it began.
    began: u64,
}

impl Ears {
    /// Whether a quorum was heard within the last `ticks`.
    fn hears(&self, own: NodeId, quorum: &Quorum, ticks: u64) -> bool {
        let lately = |id: NodeId| {
            let last = self.last.get(&id);
            id == own || last.is_some_and(|last| last + ticks >= self.ticks)
        };
        quorum.is_quorum(lately)
    }
}

impl Heard {
    /// `node` is about to turn on its inbox.
    pub(crate) fn begins(&mut self, node: &Node) {
        let driver = node.driver.as_ref().expect("only a node that runs turns");
        let ears = self.nodes.entry(node.id).or_default();
        if ears.start != node.start {
            *ears = Ears {
                start: node.start,
                ..Ears::default()
            };
        }
        let is_tick = |event: &&Event| matches!(event, Event::Tick);
        ears.ticks += node.inbox.iter().filter(is_tick).count() as u64;
        for event in &node.inbox {
            match event {
                Event::Receive(envelope) => {
                    ears.last.insert(envelope.from, ears.ticks);
                }
                Event::Transfer(..) => {
                    let now = ears.ticks;
                    ears.leads = ears.leads.map(|(term, _)| (term, now));
                }
                _ => {}
            }
        }
        let (own, state) = (driver.ident().node, driver.state());
        ears.may_begin = ears.hears(own, state.quorum(), ASKS_FOR);
    }

    /// `message` leaves `node` in the turn that has begun.
    pub(crate) fn leaves(&mut self, node: u64, message: &Message) -> Checked {
        if message.kind == kind::TIMEOUT_NOW {
            self.asked.insert((message.to, message.term));
        }
        let Some(ears) = self.nodes.get_mut(&node) else {
            return Ok(());
        };
        if message.kind != kind::REQUEST_VOTE || message.term <= ears.began {
            return Ok(());
        }
        ears.began = message.term;
        let is_asked = self.asked.contains(&(message.from, message.term - 1));
        ensure(
            is_asked || ears.may_begin,
            Promise::TermsNeedAQuorum,
            || {
                format!(
                    "node {node} begins term {} and hears no quorum",
                    message.term
                )
            },
        )
    }

    /// `node` has turned, and goes on.
    pub(crate) fn turned(&mut self, node: &Node) -> Checked {
        let (Some(driver), Some(ears)) = (&node.driver, self.nodes.get_mut(&node.id)) else {
            return Ok(());
        };
        let role = driver.role();
        if !role.is_leader {
            ears.leads = None;
            return Ok(());
        }
        if ears.leads.is_none_or(|(term, _)| term != role.term) {
            ears.leads = Some((role.term, ears.ticks));
        }
        let (state, now) = (driver.state(), ears.ticks);
        if ears.counted != *state.quorum() {
            ears.counted = state.quorum().clone();
            // Who is new gets his time.
            ears.leads = Some((role.term, now));
        }
        let since = ears.leads.map_or(now, |(_, since)| since);
        let is_early = now <= since + LEADS_FOR;
        let own = driver.ident().node;
        ensure(
            is_early || ears.hears(own, state.quorum(), LEADS_FOR),
            Promise::LeadersAreHeard,
            || {
                format!(
                    "node {} leads in term {} at its tick {now}, and heard {:?}",
                    node.id, role.term, ears.last
                )
            },
        )
    }
}
