//! The life of a task whose log has failed, until it ends or opens its log again.

use std::sync::Arc;

use gcache::ids::NodeId;
use gcache::membership::ending::{self, After, Outliving, is_relieved};
use gcache::topology::state::State as Topology;

use super::Deed;
use super::task::State;
use crate::disk::Trouble;
use crate::world::{Happening, World};

/// A task without a log.
pub(super) struct Without {
    /// The member that it was.
    pub(super) node: u64,
    /// The state that it knew last.
    known: Arc<Topology>,
    outliving: Outliving,
}

impl World {
    /// A task without a log ends, or opens its log again.
    pub(super) fn outlive_further(&mut self, number: u64, without: Box<Without>) {
        let Without {
            node,
            ref known,
            outliving,
        } = *without;
        let shown: Vec<_> = self.shown();
        let shown = shown.iter().map(|state| &**state);
        let is_relieved = is_relieved(known, NodeId(node), shown);
        match outliving.next(self.millis(), is_relieved) {
            ending::Next::Stops => {
                self.did(Deed::Relieved);
                self.replace_task();
            }
            ending::Next::Probes if self.nodes[&node].disk.failure() == Trouble::None => {
                self.did(Deed::Reopened);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.is_gone = false;
                }
                self.set(number, State::Member(node));
                self.queue.push(0, Happening::Restart(node));
            }
            ending::Next::Waits | ending::Next::Probes => {
                self.set(number, State::WithoutLog(without));
            }
        }
    }

    /// The log of a member has failed. True if its process lives on or ends as a task.
    pub(crate) fn log_failed(&mut self, id: u64) -> bool {
        if self.rollout.is_none() {
            return false;
        }
        let known = self.nodes.get(&id).and_then(|node| node.state.clone());
        let now = self.millis();
        self.end_task(id);
        let tasks = &mut self.rollout().tasks;
        let task = tasks.values_mut().find(|task| match task.state {
            State::Member(node) | State::Leaving(node, _) => node == id,
            State::Joining | State::WithoutLog(..) | State::Over => false,
        });
        if let Some(task) = task {
            task.state = match ending::after(known) {
                After::ServesOn(known) => State::WithoutLog(Box::new(Without {
                    node: id,
                    known,
                    outliving: Outliving::new(now),
                })),
                After::Stops => State::Over,
            };
        }
        true
    }
}
