//! What strangers say is refused: another cluster, a removed member, an earlier start of a member, whoever
//! means another node, and whatever no node says.

use std::collections::{BTreeMap, BTreeSet};

use gcache::ids::Incarnation;
use gcache::raft::envelope::{Envelope, Sender};
use gcache::raft::event::{Effect, Event};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::node::{CLUSTER, Node, Timed};
use crate::violation::{Checked, Promise, ensure};

/// What was heard, and what has to be refused.
#[derive(Default)]
pub(crate) struct Strangers {
    /// By node: its start, and by sender the newest start that this one has heard.
    heard: BTreeMap<u64, (u64, BTreeMap<u64, Incarnation>)>,
    /// The hashes of messages that were damaged on their way.
    damaged: BTreeSet<u64>,
    /// What the node that turns now must refuse.
    due: Vec<Sender>,
    /// What it may hear of members: the sender and its start.
    new: Vec<(u64, Incarnation)>,
}

impl Strangers {
    /// This message is not as any node made it.
    pub(crate) fn damaged(&mut self, envelope: &Envelope) {
        self.damaged.insert(print(envelope));
    }

    /// `node` is about to turn on its inbox.
    pub(crate) fn begins(&mut self, node: &Node) {
        self.due.clear();
        self.new.clear();
        let heard = self.heard.entry(node.id).or_default();
        if heard.0 != node.start {
            *heard = (node.start, BTreeMap::new());
        }
        let state = node.driver.as_ref().map(|driver| driver.state());
        let is_member = |id| state.is_some_and(|state| state.member(id).is_some());
        for event in &node.inbox {
            let Event::Receive(envelope) = event else {
                continue;
            };
            let newest = self.heard[&node.id].1.get(&envelope.from.0).copied();
            if self.is_strange(node, envelope, newest) {
                self.due.push(Sender::from(envelope));
            } else if is_member(envelope.from) {
                self.new.push((envelope.from.0, envelope.incarnation));
            }
        }
    }

    fn is_strange(&self, node: &Node, envelope: &Envelope, newest: Option<Incarnation>) -> bool {
        let driver = node.driver.as_ref().expect("only a node that runs turns");
        let (state, from) = (driver.state(), envelope.from);
        let known = state.member(from).map(|member| member.incarnation);
        envelope.cluster != CLUSTER
            || envelope.to != driver.ident().node
            || state.is_tombstone(from)
            || newest.max(known) > Some(envelope.incarnation)
            || !self.damaged.is_empty() && self.damaged.contains(&print(envelope))
    }

    /// `node` has turned, and goes on.
    pub(crate) fn turned(&mut self, node: &Node, effects: &[Timed]) -> Checked {
        for (from, incarnation) in self.new.drain(..) {
            let heard = self.heard.entry(node.id).or_default();
            let newest = heard.1.entry(from).or_default();
            *newest = incarnation.max(*newest);
        }
        let refused = effects.iter().filter_map(|(_, effect)| match effect {
            Effect::Refused(sender, _) => Some(sender),
            _ => None,
        });
        for sender in refused {
            if let Some(at) = self.due.iter().position(|due| due == sender) {
                self.due.swap_remove(at);
            }
        }
        ensure(self.due.is_empty(), Promise::StrangersAreRefused, || {
            format!("node {} does not refuse {:?}", node.id, self.due)
        })
    }
}

/// The hash of a message and of its two ends: the same bytes may be right between two others.
fn print(envelope: &Envelope) -> u64 {
    let ends = envelope.from.0 << 32 | envelope.to.0;
    xxh3_64_with_seed(&envelope.message, ends)
}
