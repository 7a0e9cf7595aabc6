//! What is read from a log whose node does not run.

use super::cluster::{Cluster, MemoryDisk, changes, joiner};
use crate::ids::{Incarnation, NodeId};
use crate::raft::disk::{Column, Disk as _};
use crate::raft::driver::orphan::Orphan;
use crate::raft::driver::{Driver, Settings};
use crate::raft::event::Event;
use crate::raft::log::OpenError;
use crate::topology::commands::Command;
use crate::topology::model::quorum::QuorumRole;

fn read(cluster: &Cluster, node: u64) -> Orphan<MemoryDisk> {
    Orphan::read(cluster.disk(node).clone()).unwrap()
}

#[test]
fn every_log_says_in_the_end_what_its_node_knew() {
    let mut cluster = Cluster::of_three();
    cluster.settings = Settings {
        snapshot_every: 4,
        keep: 0,
        ..Settings::default()
    };
    cluster.start(3);
    for _ in 0..6 {
        cluster.propose(1);
        cluster.settle();
    }
    cluster.tick_all();
    let known = cluster.driver(1).state().clone();
    for node in [1, 2, 3] {
        let orphan = read(&cluster, node);
        // The quorum's changes among the entries are applied, too.
        assert_eq!(**orphan.state(), *known, "node {node}");
        assert_eq!(orphan.end().index, cluster.driver(node).last_index());
        assert_eq!(orphan.commit(), cluster.driver(node).commit());
    }
}

#[test]
fn what_nobody_knows_to_be_committed_counts() {
    let mut cluster = Cluster::of_three();
    let join = Command::Join(joiner("n4")).encode();
    cluster.request(1, |id| Event::Propose(id, join.clone()));
    let shorter = read(&cluster, 2);
    let longer = read(&cluster, 1);
    assert!(shorter.end().index < longer.end().index);
    assert!(longer.commit() < longer.end().index);
    assert!(longer.state().member(NodeId(4)).is_some());
    assert!(shorter.state().member(NodeId(4)).is_none());
    // So does a change of the quorum: a removal after it is refused or not as it was for all others.
    let learn = changes(&[(3, QuorumRole::Learner)]);
    cluster.settle();
    cluster.request(1, |id| Event::ChangeQuorum(id, learn.clone()));
    let quorum = read(&cluster, 1).state().quorum().clone();
    assert!(quorum.learners.contains(&NodeId(3)), "{quorum:?}");
}

#[test]
fn who_looks_writes_nothing_and_counts_no_start() {
    let cluster = Cluster::of_three();
    let rows = |disk: &MemoryDisk| Column::ALL.map(|column| disk.rows(column).unwrap());
    let before = rows(cluster.disk(2));
    let orphan = read(&cluster, 2);
    assert_eq!(orphan.ident().incarnation, Incarnation(1));
    assert_eq!(rows(cluster.disk(2)), before);
}

#[test]
fn a_joiner_that_heard_nothing_knows_nobody_and_an_empty_disk_is_no_log() {
    let cluster = Cluster::founded();
    let mut disk = MemoryDisk::default();
    let empty = Orphan::read(disk.clone()).unwrap_err();
    assert_eq!(empty, OpenError::Empty);
    let own = cluster.driver(1).ident().cluster;
    Driver::join(&mut disk, own, NodeId(2)).unwrap();
    let orphan = Orphan::read(disk).unwrap();
    assert_eq!(orphan.state().members().len(), 0);
    assert_eq!(orphan.end().index, 0);
}
