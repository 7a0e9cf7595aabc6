//! Snapshots, joiners and restarts: the state is the same however a node came to it.

use super::cluster::{CLUSTER, Cluster, MemoryDisk, joiner};
use crate::ids::{Incarnation, NodeId};
use crate::membership::opening::Found;
use crate::raft::disk::{Column, Disk};
use crate::raft::driver::{CHECKPOINT_EVERY, Driver, Fatal, Settings};
use crate::raft::event::{Event, RequestId};
use crate::raft::log::OpenError;
use crate::topology::commands::{Agreed, Command, Joiner};
#[cfg(feature = "simulation")]
use crate::topology::state::codec::as_version;
use crate::topology::state::{Founding, State};

fn eager() -> Settings {
    Settings {
        snapshot_every: 10,
        keep: 3,
        ..Settings::default()
    }
}

fn assert_alike(cluster: &Cluster) {
    let first = cluster.driver(1);
    for driver in cluster.drivers.values() {
        assert_eq!(driver.applied(), first.applied());
        assert_eq!(driver.state(), first.state());
        assert_eq!(driver.state().hash(), first.state().hash());
    }
}

#[test]
fn a_cluster_begins_with_a_snapshot_and_a_joiner_gets_one_with_itself_in_it() {
    let cluster = Cluster::of_three();
    // The founder's first entry comes after the snapshot, so a joiner cannot begin without one.
    assert_eq!(cluster.driver(1).first_index(), 2);
    assert!(cluster.driver(3).first_index() > 2);
    for driver in cluster.drivers.values() {
        assert!(driver.state().quorum().contains(NodeId(3)));
        assert_eq!(driver.state().cluster(), CLUSTER);
    }
    assert_alike(&cluster);
}

#[test]
fn a_node_that_starts_again_has_the_state_that_it_had() {
    let mut cluster = Cluster::of_three();
    for _ in 0..5 {
        cluster.propose(1);
    }
    cluster.settle();
    cluster.tick_all();
    let before = cluster.driver(2).state().clone();
    let incarnation = cluster.driver(2).incarnation();
    cluster.start(2);
    assert_eq!(
        cluster.driver(2).incarnation(),
        Incarnation(incarnation.0 + 1)
    );
    // What was applied after the snapshot is applied again.
    cluster.tick(2);
    assert_eq!(*cluster.driver(2).state(), before);
    for node in [1, 3] {
        cluster.start(node);
    }
    cluster.tick_until_other_leader(0);
    cluster.tick_all();
    assert_alike(&cluster);
}

#[test]
#[cfg(feature = "simulation")]
fn a_log_of_a_later_version_is_refused_with_both_versions_and_left_as_it_is() {
    let founder = Joiner {
        version: 2,
        ..joiner("n1")
    };
    let mut state = State::found(Founding {
        cluster: CLUSTER,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: founder,
    });
    state.apply(&Command::SetPaused(true)).unwrap();
    let mut disk = MemoryDisk::default();
    Driver::found(&mut disk, CLUSTER, NodeId(1), &state).unwrap();
    let rows = || Column::ALL.map(|column| disk.rows(column).unwrap());
    let before = rows();
    let open = || Driver::open(disk.clone(), Settings::default());
    let refused = as_version(1, open).err().unwrap();
    let (found, known) = (2, 1);
    assert_eq!(refused, OpenError::Newer { found, known });
    let text = refused.to_string();
    assert!(text.contains("version 2 is in use there"), "{text}");
    let found = Found::<()>::from(refused);
    assert!(matches!(found, Found::Unusable(_)), "{found:?}");
    assert_eq!(rows(), before);
    assert_eq!(*open().unwrap().state().as_ref(), state);
}

#[test]
fn the_log_is_compacted_and_keeps_a_tail() {
    let mut cluster = Cluster::of_three();
    for node in 1..=3 {
        cluster.settings = eager();
        cluster.start(node);
    }
    let leader = cluster.tick_until_other_leader(0);
    for _ in 0..40 {
        cluster.propose(leader);
        cluster.settle();
    }
    cluster.tick_all();
    for driver in cluster.drivers.values() {
        let kept = driver.last_index() + 1 - driver.first_index();
        assert!((3..=13).contains(&kept), "{kept}");
    }
    cluster.start(2);
    cluster.tick_all();
    assert_alike(&cluster);
}

#[test]
fn whoever_lags_behind_the_log_gets_a_snapshot_of_what_is_applied() {
    let mut cluster = Cluster::of_three();
    for node in 1..=3 {
        cluster.settings = eager();
        cluster.start(node);
    }
    let leader = cluster.tick_until_other_leader(0);
    let lagging = leader % 3 + 1;
    cluster.cut.push(NodeId(lagging));
    for _ in 0..40 {
        cluster.propose(leader);
        cluster.settle();
    }
    let behind = cluster.driver(lagging).applied();
    assert!(behind < cluster.driver(leader).first_index());
    cluster.cut.clear();
    for _ in 0..30 {
        cluster.tick_all();
    }
    assert!(cluster.driver(lagging).first_index() > behind + 1);
    assert_alike(&cluster);
}

#[test]
fn a_peer_with_another_state_at_the_same_index_is_found_out() {
    let mut cluster = Cluster::of_three();
    for _ in 0..CHECKPOINT_EVERY {
        cluster.propose(1);
        cluster.settle();
    }
    cluster.tick_all();
    assert_eq!(cluster.diverged, []);
    cluster.tick(1);
    let heartbeat = cluster.queue.iter_mut().find(|sent| sent.to == NodeId(3));
    let (index, hash) = heartbeat.unwrap().checkpoint.as_mut().unwrap();
    *hash ^= 1;
    let index = *index;
    cluster.settle();
    assert_eq!(cluster.diverged, [(NodeId(1), index)]);
}

#[test]
fn large_entries_are_compacted_early_and_not_kept() {
    let mut cluster = Cluster::founded();
    cluster.settings.log_bytes = 2_000;
    cluster.start(1);
    cluster.tick_until_leader(1);
    for _ in 0..100 {
        cluster.propose(1);
        let driver = cluster.driver(1);
        let held = driver.last_index() + 1 - driver.first_index();
        // As many bytes since the last snapshot, and as many that are kept.
        assert!(held <= 50, "{held}");
    }
    assert!(cluster.driver(1).first_index() > 50);
}

#[test]
fn a_snapshot_can_be_asked_for() {
    let mut cluster = Cluster::of_three();
    for _ in 0..8 {
        cluster.propose(1);
        cluster.settle();
    }
    cluster.settings.keep = 2;
    cluster.start(1);
    cluster.tick(1);
    let applied = cluster.driver(1).applied();
    cluster.request(1, Event::Compact);
    assert_eq!(cluster.driver(1).first_index(), applied - 1);
}

#[test]
fn a_snapshot_that_could_not_be_written_is_not_said_to_be_taken() {
    let mut cluster = Cluster::of_three();
    cluster.propose(1);
    cluster.settle();
    cluster.disk(1).fail();
    let request = RequestId(9_000);
    let ended = cluster.turn(1, vec![Event::Compact(request)]);
    assert!(matches!(ended, Err(Fatal::Disk(_))), "{ended:?}");
    assert!(!cluster.outcomes.contains_key(&request));
}

#[test]
fn who_votes_alone_leads_at_its_first_tick_and_no_other_does() {
    let mut alone = Cluster::founded();
    let term = alone.driver(1).term();
    alone.start(1);
    assert!(!alone.driver(1).role().is_leader);
    alone.tick(1);
    assert!(alone.driver(1).role().is_leader);
    assert_eq!(alone.driver(1).term(), term + 1);
    let mut three = Cluster::of_three();
    three.start(1);
    three.tick(1);
    three.settle();
    assert!(!three.driver(1).role().is_leader);
    // A node that applies all that it knows before it has heard of any other is none the less one of three.
    assert_eq!(three.driver(1).state().quorum().voters.len(), 3);
}
