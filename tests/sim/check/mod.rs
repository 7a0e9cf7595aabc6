//! The checkers: each watches one promise over a whole run.
//!
//! They see what a driver writes, sends and answers, and nothing of its inside but its committed entries.

pub(crate) mod disk;
pub(crate) mod heard;
pub(crate) mod leaders;
pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod members;
pub(crate) mod quorum;
pub(crate) mod requests;
pub(crate) mod sends;
pub(crate) mod strangers;

use bytes::Bytes;
use gcache::topology::state::State;
use prost::Message as _;

use self::disk::Disks;
use self::heard::Heard;
use self::leaders::Leaders;
use self::leases::Leases;
use self::log::Committed;
use self::requests::Requests;
use self::sends::Sends;
use self::strangers::Strangers;
use crate::node::{Node, Timed};
use crate::violation::{Checked, Promise, ensure};
use crate::wire::Entry;

/// All of them.
pub(crate) struct Checks {
    pub(crate) leaders: Leaders,
    pub(crate) log: Committed,
    pub(crate) disks: Disks,
    pub(crate) sends: Sends,
    pub(crate) requests: Requests,
    pub(crate) leases: Leases,
    pub(crate) heard: Heard,
    pub(crate) strangers: Strangers,
}

impl Checks {
    /// Nothing was seen but the state that the cluster was founded with.
    pub(crate) fn new(founding: State) -> Self {
        Self {
            leaders: Leaders::default(),
            log: Committed::new(founding),
            disks: Disks::default(),
            sends: Sends::default(),
            requests: Requests::default(),
            leases: Leases::default(),
            heard: Heard::default(),
            strangers: Strangers::default(),
        }
    }

    /// `node` is about to turn on its inbox.
    pub(crate) fn begins(&mut self, node: &Node) {
        self.heard.begins(node);
        self.strangers.begins(node);
    }

    /// `node` has turned, goes on, and wants this done.
    pub(crate) fn goes_on(&mut self, node: &Node, effects: &[Timed]) -> Checked {
        self.heard.turned(node)?;
        self.strangers.turned(node, effects)
    }

    /// After a turn of `node`: its committed entries, its state, its disk. `is_held` says whether a node
    /// has synced the entry of an index and a term.
    pub(crate) fn turned(
        &mut self,
        node: &mut Node,
        is_held: impl Fn(u64, u64, u64) -> bool,
    ) -> Checked {
        self.disks.check(node)?;
        let Some(driver) = &node.driver else {
            return Ok(());
        };
        if driver.commit() >= node.checked.max(1) {
            let entries = self.entries(node);
            self.log
                .committed(node.id, &entries, &self.leaders, is_held)?;
            node.checked = driver.commit() + 1;
        }
        if driver.applied() != node.compared {
            node.compared = driver.applied();
            if !node.is_diverged {
                self.log.applied(node.id, node.compared, driver.state())?;
            }
        }
        self.sends.verify(&self.log)?;
        let is_ahead = driver.applied() <= driver.commit();
        ensure(is_ahead, Promise::SameState, || {
            format!(
                "node {} applied {} of {}",
                node.id,
                driver.applied(),
                driver.commit()
            )
        })
    }

    /// The committed entries of `node` that were not compared yet. What it dropped in the very turn that
    /// it committed it is taken from its disk.
    fn entries(&self, node: &Node) -> Vec<(u64, u64, Bytes)> {
        let driver = node
            .driver
            .as_ref()
            .expect("only a node that runs is looked at");
        let kept = driver.entries(node.checked);
        let first = kept.first().map_or(0, |(index, ..)| *index);
        let dropped = (self.log.last() + 1..first).filter_map(|index| {
            let row = node.disk.deleted(&index.to_be_bytes())?;
            let bytes = disk::payload(&row).to_vec();
            let entry = Entry::decode(&bytes[..]).ok()?;
            Some((index, entry.term, bytes.into()))
        });
        dropped.chain(kept.iter().cloned()).collect()
    }
}
