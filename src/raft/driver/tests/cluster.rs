//! A few drivers, their disks, and a network in one queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use prost_for_raft::Message as _;
use raft::eraftpb::{Message, MessageType};

use crate::ids::{ClusterId, NodeId};
use crate::raft::disk::{Batch, Column, Disk, DiskError, Row, Write};
use crate::raft::driver::{Driver, Fatal, Settings};
use crate::raft::envelope::Envelope;
use crate::raft::event::{Effect, Event, Outcome, RequestId};
use crate::topology::commands::{Agreed, Change, Command, GroupRef, Joiner};
use crate::topology::fixtures::named;
use crate::topology::model::quorum::{QuorumChange, QuorumRole};
use crate::topology::state::{Founding, State};

pub(super) const CLUSTER: ClusterId = ClusterId(77);

/// What a disk and a network saw, in one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Wrote { is_synced: bool },
    Sent(MessageType),
    Led { term: u64 },
}

pub(super) type Journal = Arc<Mutex<Vec<Seen>>>;

#[derive(Default)]
struct Content {
    rows: BTreeMap<(Column, Vec<u8>), Vec<u8>>,
    error: Option<DiskError>,
}

/// A disk in memory that keeps all and can be made to fail.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk {
    content: Arc<Mutex<Content>>,
    journal: Journal,
}

impl MemoryDisk {
    pub(super) fn fail(&self) {
        self.content.lock().error = Some(DiskError::new("no space left"));
    }
}

impl Disk for MemoryDisk {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        let content = self.content.lock();
        let rows = content.rows.iter().filter(|((of, _), _)| *of == column);
        Ok(rows
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        let mut content = self.content.lock();
        if let Some(error) = &content.error {
            return Err(error.clone());
        }
        for write in batch.writes() {
            match write {
                Write::Put { column, key, value } => {
                    content.rows.insert((*column, key.clone()), value.clone());
                }
                Write::DeleteRange { column, from, to } => content
                    .rows
                    .retain(|(of, key), _| of != column || key < from || key >= to),
            }
        }
        self.journal.lock().push(Seen::Wrote { is_synced });
        Ok(())
    }
}

/// A node that says who it is.
pub(super) fn joiner(name: &str) -> Joiner {
    Joiner {
        weight: 100,
        version: 1,
        ..named(name)
    }
}

/// A command that the state accepts whenever the group is there, and refuses otherwise.
pub(super) fn command() -> Command {
    Command::ResetGroup(GroupRef::Name("nobody".into()))
}

pub(super) fn changes(changes: &[(u64, QuorumRole)]) -> QuorumChange {
    QuorumChange {
        changes: changes
            .iter()
            .map(|(id, role)| (NodeId(*id), *role))
            .collect(),
    }
}

/// The kind of the message in an envelope.
pub(super) fn kind(envelope: &Envelope) -> MessageType {
    let message = Message::decode(&envelope.message[..]).unwrap();
    message.get_msg_type()
}

pub(super) struct Cluster {
    pub(super) drivers: BTreeMap<NodeId, Driver<MemoryDisk>>,
    pub(super) disks: BTreeMap<NodeId, MemoryDisk>,
    pub(super) outcomes: BTreeMap<RequestId, Outcome>,
    pub(super) diverged: Vec<(NodeId, u64)>,
    pub(super) queue: VecDeque<Envelope>,
    /// Nodes that hear nothing and whose messages are lost.
    pub(super) cut: Vec<NodeId>,
    pub(super) settings: Settings,
    next_request: u64,
}

impl Cluster {
    /// A cluster of its founder alone, who leads.
    pub(super) fn founded() -> Self {
        let mut cluster = Self {
            drivers: BTreeMap::new(),
            disks: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            diverged: Vec::new(),
            queue: VecDeque::new(),
            cut: Vec::new(),
            settings: Settings::default(),
            next_request: 0,
        };
        let state = State::found(Founding {
            cluster: CLUSTER,
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: joiner("n1"),
        });
        let mut disk = MemoryDisk::default();
        Driver::found(&mut disk, CLUSTER, NodeId(1), &state).unwrap();
        cluster.disks.insert(NodeId(1), disk);
        cluster.start(1);
        cluster.tick_until_leader(1);
        cluster
    }

    /// A cluster of three voters, led by the first.
    pub(super) fn of_three() -> Self {
        let mut cluster = Self::founded();
        for name in ["n2", "n3"] {
            cluster.join(name);
        }
        let promote = changes(&[(2, QuorumRole::Voter), (3, QuorumRole::Voter)]);
        let request = cluster.request(1, |id| Event::ChangeQuorum(id, promote.clone()));
        cluster.settle();
        assert_eq!(cluster.committed(request), Change::Quorum);
        for _ in 0..3 {
            cluster.tick_all();
        }
        let quorum = cluster.drivers[&NodeId(1)].state().quorum().clone();
        assert_eq!(quorum.voters.len(), 3, "{quorum:?}");
        assert!(!quorum.is_joint(), "{quorum:?}");
        cluster
    }

    /// A member more, as a learner.
    pub(super) fn join(&mut self, name: &str) -> NodeId {
        let command = Command::Join(joiner(name)).encode();
        let request = self.request(1, |id| Event::Propose(id, command.clone()));
        self.settle();
        let Change::Joined(node) = self.committed(request) else {
            panic!("a join gives an id");
        };
        let mut disk = MemoryDisk::default();
        Driver::join(&mut disk, CLUSTER, node).unwrap();
        self.disks.insert(node, disk);
        self.start(node.0);
        let learn = changes(&[(node.0, QuorumRole::Learner)]);
        let request = self.request(1, |id| Event::ChangeQuorum(id, learn.clone()));
        self.settle();
        assert_eq!(self.committed(request), Change::Quorum);
        for _ in 0..3 {
            self.tick_all();
        }
        node
    }

    /// Opens the driver of a node on its disk, again if it runs.
    pub(super) fn start(&mut self, node: u64) {
        let node = NodeId(node);
        self.drivers.remove(&node);
        let settings = Settings {
            seed: node.0,
            ..self.settings.clone()
        };
        let driver = Driver::open(self.disks[&node].clone(), settings).unwrap();
        self.drivers.insert(node, driver);
    }

    pub(super) fn driver(&self, node: u64) -> &Driver<MemoryDisk> {
        &self.drivers[&NodeId(node)]
    }

    pub(super) fn disk(&self, node: u64) -> &MemoryDisk {
        &self.disks[&NodeId(node)]
    }

    /// One turn of a node. Its messages are in the queue then.
    pub(super) fn turn(&mut self, node: u64, events: Vec<Event>) -> Result<(), Fatal> {
        let id = NodeId(node);
        let driver = self.drivers.get_mut(&id).unwrap();
        let journal = self.disks[&id].journal.clone();
        let mut effects = |effect| match effect {
            Effect::Send(_, envelope) => {
                journal.lock().push(Seen::Sent(kind(&envelope)));
                self.queue.push_back(envelope);
            }
            Effect::Resolved(request, outcome) => {
                assert!(self.outcomes.insert(request, outcome).is_none());
            }
            Effect::Diverged(peer, index) => self.diverged.push((peer, index)),
            Effect::Role(role) if role.is_leader => {
                journal.lock().push(Seen::Led { term: role.term });
            }
            Effect::Applied(_) | Effect::Role(_) | Effect::Refused(..) => {}
        };
        driver.turn(&mut events.into_iter(), &mut effects)
    }

    /// What a node's disk and network saw since this was last asked.
    pub(super) fn journal(&self, node: u64) -> Vec<Seen> {
        std::mem::take(&mut *self.disk(node).journal.lock())
    }

    pub(super) fn request(&mut self, node: u64, event: impl Fn(RequestId) -> Event) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.turn(node, vec![event(request)]).unwrap();
        request
    }

    pub(super) fn propose(&mut self, node: u64) -> RequestId {
        self.request(node, |id| Event::Propose(id, command().encode()))
    }

    /// Delivers one message; false if there is none.
    pub(super) fn deliver(&mut self) -> bool {
        let Some(envelope) = self.queue.pop_front() else {
            return false;
        };
        let (from, to) = (envelope.from, envelope.to);
        let is_cut = self.cut.contains(&from) || self.cut.contains(&to);
        let is_snapshot = kind(&envelope) == MessageType::MsgSnapshot;
        let is_delivered = !is_cut && self.drivers.contains_key(&to);
        if is_delivered {
            self.turn(to.0, vec![Event::Receive(envelope)]).unwrap();
        }
        if is_snapshot && self.drivers.contains_key(&from) {
            let report = Event::SnapshotSent(to, is_delivered);
            self.turn(from.0, vec![report]).unwrap();
        }
        true
    }

    /// Delivers everything and what follows from it.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.deliver() {
                return;
            }
        }
        panic!("the messages never end");
    }

    pub(super) fn tick(&mut self, node: u64) {
        self.turn(node, vec![Event::Tick]).unwrap();
    }

    pub(super) fn tick_all(&mut self) {
        let nodes: Vec<_> = self.drivers.keys().copied().collect();
        for node in nodes {
            self.tick(node.0);
        }
        self.settle();
    }

    /// Ticks one node until it leads; the others' clocks stand still, their leases end.
    pub(super) fn tick_until_leader(&mut self, node: u64) {
        for _ in 0..200 {
            self.tick(node);
            self.settle();
            if self.driver(node).role().is_leader {
                return;
            }
        }
        panic!("node {node} never leads");
    }

    /// Ticks all until one of them leads in a term above `term`.
    pub(super) fn tick_until_other_leader(&mut self, term: u64) -> u64 {
        for _ in 0..200 {
            self.tick_all();
            let leader = self.drivers.iter().find(|(id, driver)| {
                driver.role().is_leader && driver.term() > term && !self.cut.contains(id)
            });
            if let Some((id, _)) = leader {
                return id.0;
            }
        }
        panic!("nobody leads");
    }

    /// What a request that was committed and accepted did.
    pub(super) fn committed(&self, request: RequestId) -> Change {
        match &self.outcomes[&request] {
            Outcome::Applied { result, .. } => result.clone().expect("it is accepted"),
            other => panic!("not committed: {other:?}"),
        }
    }
}
