//! Executables of two versions in one cluster: members that know less, upgrades, and one that is rolled back.

use gcache::ids::{Incarnation, NodeId};
use gcache::topology::commands::{COMMAND_VERSION, Command, Joiner, Resume};
use gcache::topology::state::State;

use crate::check::disk::snapshot_state;
use crate::cluster;
use crate::faults::Fault;
use crate::queue::MILLISECOND;
use crate::violation::Checked;
use crate::world::{Happening, World};

/// The version before ours.
const OLDER: u32 = COMMAND_VERSION - 1;

/// How often, in a thousand, a client asks for something that only the newer version knows: where members are
/// upgraded; while a node joins, which may be one of the older version; and where one is rolled back.
const NEWER: u32 = 10;
const NEWER_THAN_A_JOINER: u32 = 800;
const NEWER_BEFORE_A_ROLLBACK: u32 = 300;

/// How often, in a thousand, a member runs the older version at first.
const OLD: u64 = 500;

impl super::Wild {
    /// The version that is in use at first: nobody has finalized an upgrade.
    pub(crate) fn version_in_use(&self) -> u32 {
        match self.has(Fault::OldVersion) || self.has(Fault::Rollback) {
            true => OLDER,
            false => COMMAND_VERSION,
        }
    }

    /// The version that the node of this number runs at first.
    pub(crate) fn version(&self, number: u64) -> u32 {
        let dice = xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), self.seed);
        match self.has(Fault::OldVersion) && dice % 1_000 < OLD {
            true => OLDER,
            false => COMMAND_VERSION,
        }
    }
}

impl World {
    /// The version that the node of this number runs at first.
    pub(crate) fn version(&self, number: u64) -> u32 {
        let wild = self.wild.as_ref();
        wild.map_or(COMMAND_VERSION, |wild| wild.version(number))
    }

    /// What the node of this number says of itself when it joins.
    pub(crate) fn joiner(&mut self, number: u64) -> Joiner {
        let is_flawed = self.wild.as_ref().is_some_and(|wild| wild.is_flawed);
        let version = match is_flawed {
            true => COMMAND_VERSION,
            false => self.version(number),
        };
        if version < COMMAND_VERSION {
            self.seen.add(Fault::OldVersion);
        }
        Joiner {
            version,
            ..cluster::joiner(number)
        }
    }

    /// A command that the older version does not know, now and then.
    pub(crate) fn newer_command(&mut self, state: &State) -> Option<Command> {
        if state.version() == COMMAND_VERSION {
            return None;
        }
        let chance = match self.churn.is_joining() {
            _ if self.is_wild(Fault::Rollback) => NEWER_BEFORE_A_ROLLBACK,
            _ if !self.is_wild(Fault::OldVersion) => return None,
            true => NEWER_THAN_A_JOINER,
            false => NEWER,
        };
        self.dice
            .chance(chance)
            .then_some(Command::Finalize(COMMAND_VERSION))
    }

    /// A node starts with the newer version, and one that did so before says so.
    pub(super) fn upgrade(&mut self) -> Checked {
        let state = self.checks.log.state();
        if state.known_version() < COMMAND_VERSION {
            self.seen.add(Fault::OldVersion);
        }
        let unsaid = state.members().filter(|member| {
            let node = self.nodes.get(&member.id.0);
            node.is_some_and(|node| node.is_up() && node.version > member.version)
        });
        let unsaid: Vec<NodeId> = unsaid.map(|member| member.id).collect();
        if let Some(id) = self.dice.pick(&unsaid) {
            return self.resume(id);
        }
        let old = self.up(|node| node.version < COMMAND_VERSION);
        if let Some(id) = self.dice.pick(&old) {
            self.terminate(id);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.version = COMMAND_VERSION;
            }
        }
        Ok(())
    }

    /// A member says which version it runs now.
    fn resume(&mut self, id: NodeId) -> Checked {
        let leaders = self.up(|node| node.role.is_leader);
        let state = self.checks.log.state();
        let (Some(leader), Some(record)) = (self.dice.pick(&leaders), state.member(id)) else {
            return Ok(());
        };
        let node = &self.nodes[&id.0];
        let node = Joiner {
            name: record.name.clone(),
            host: record.host.clone(),
            version: node.version,
            incarnation: Incarnation(node.incarnation),
            ..cluster::joiner(record.nonce)
        };
        let resume = Command::Resume(Resume { id, node });
        self.propose(leader, resume.encode()).map(|_| ())
    }

    /// A member that has applied what only the newer version knows is started with the older one.
    pub(super) fn roll_back(&mut self) {
        let is_newer = |state: &State| state.version() == COMMAND_VERSION;
        let knows = self.up(|node| {
            let newer = node.state.as_deref().is_some_and(is_newer);
            newer && node.version == COMMAND_VERSION
        });
        let is_flawed = self.wild.as_ref().is_some_and(|wild| wild.is_flawed);
        let Some(id) = self.dice.pick(&knows) else {
            return;
        };
        let snapshot = self.nodes[&id].disk.synced(snapshot_state);
        // Such a log is refused at once, which is a fault of its own.
        if is_flawed && snapshot.as_ref().is_none_or(is_newer) {
            return;
        }
        self.terminate(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.version = OLDER;
            self.seen.add(Fault::Rollback);
        }
    }

    /// Whether a node was rolled back.
    pub(super) fn is_rolled_back(&self, id: u64) -> bool {
        let node = self.nodes.get(&id);
        self.is_wild(Fault::Rollback) && node.is_some_and(|node| node.version < COMMAND_VERSION)
    }

    /// A node that was rolled back is started with the newer version again.
    pub(super) fn roll_forward(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.disk.close();
        node.stop();
        node.version = COMMAND_VERSION;
        self.checks.requests.ended(id);
        self.queue.push(500 * MILLISECOND, Happening::Restart(id));
    }
}
