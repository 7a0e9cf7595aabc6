//! Changes of the quorum: one at a time, left again, and never of the leader by itself.

use super::cluster::{Cluster, changes};
use crate::ids::NodeId;
use crate::raft::event::{Event, Outcome, RequestId};
use crate::topology::commands::{Change, Command};
use crate::topology::model::quorum::QuorumRole::{Learner, Removed, Voter};
use crate::topology::model::quorum::{QuorumChange, QuorumRole};

fn change(cluster: &mut Cluster, node: u64, wanted: &[(u64, QuorumRole)]) -> RequestId {
    let wanted: QuorumChange = changes(wanted);
    cluster.request(node, |id| Event::ChangeQuorum(id, wanted.clone()))
}

fn refusal(cluster: &Cluster, request: RequestId) -> &'static str {
    match cluster.outcomes.get(&request) {
        Some(Outcome::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn one_change_is_under_way_at_a_time() {
    let mut cluster = Cluster::of_three();
    let first = change(&mut cluster, 1, &[(3, Learner)]);
    let second = change(&mut cluster, 1, &[(2, Learner)]);
    assert!(refusal(&cluster, second).contains("under way"));
    cluster.settle();
    assert_eq!(cluster.committed(first), Change::Quorum);
    assert!(
        cluster
            .driver(2)
            .state()
            .quorum()
            .voters
            .contains(&NodeId(2))
    );
}

#[test]
fn several_changes_pass_through_a_joint_configuration_that_is_left() {
    let mut cluster = Cluster::of_three();
    let fourth = cluster.join("n4");
    let swap = change(&mut cluster, 1, &[(fourth.0, Voter), (3, Removed)]);
    cluster.settle();
    assert_eq!(cluster.committed(swap), Change::Quorum);
    for _ in 0..3 {
        cluster.tick_all();
    }
    let quorum = cluster.driver(2).state().quorum();
    let wanted = [1, 2, 4].map(NodeId);
    assert!(quorum.voters.iter().eq(&wanted), "{quorum:?}");
    assert!(!quorum.is_joint() && !quorum.contains(NodeId(3)));
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_of_the_old_one() {
    let mut cluster = Cluster::of_three();
    let fourth = cluster.join("n4");
    change(&mut cluster, 1, &[(fourth.0, Voter), (3, Removed)]);
    // The old leader goes away as soon as the others know of the change and nobody of its end.
    for _ in 0..500 {
        let known = |node| cluster.driver(node).last_index() >= cluster.driver(1).last_index();
        if known(2) && known(3) && known(4) {
            break;
        }
        assert!(cluster.deliver());
    }
    cluster.queue.clear();
    cluster.cut.push(NodeId(1));
    let term = cluster.driver(1).term();
    let leader = cluster.tick_until_other_leader(term);
    for _ in 0..40 {
        cluster.tick_all();
    }
    let alive = if leader == 3 { 2 } else { leader };
    let quorum = cluster.driver(alive).state().quorum();
    assert!(!quorum.is_joint(), "{quorum:?}");
    assert!(quorum.voters.contains(&fourth), "{quorum:?}");
    assert!(!cluster.driver(3).role().is_leader);
}

#[test]
fn a_leader_neither_removes_nor_demotes_itself() {
    let mut cluster = Cluster::of_three();
    for role in [Removed, Learner] {
        let request = change(&mut cluster, 1, &[(1, role)]);
        assert!(refusal(&cluster, request).contains("transfer"));
    }
    let request = cluster.request(1, |id| Event::Transfer(id, NodeId(2)));
    assert_eq!(cluster.outcomes[&request], Outcome::Done);
    cluster.settle();
    assert!(cluster.driver(2).role().is_leader);
    let request = change(&mut cluster, 2, &[(1, Removed)]);
    cluster.settle();
    assert_eq!(cluster.committed(request), Change::Quorum);
}

#[test]
fn a_voter_that_is_elected_to_commit_its_own_removal_steps_down() {
    let mut cluster = Cluster::of_three();
    change(&mut cluster, 1, &[(3, Removed)]);
    // Only the one that is to go hears of it; then the leader is gone.
    cluster.queue.retain(|sent| sent.to == NodeId(3));
    cluster.deliver();
    cluster.queue.clear();
    cluster.cut.push(NodeId(1));
    let term = cluster.driver(1).term();
    let is_there = |cluster: &Cluster| cluster.driver(2).state().quorum().contains(NodeId(3));
    for _ in 0..200 {
        cluster.tick_all();
        if !is_there(&cluster) {
            break;
        }
    }
    assert!(!is_there(&cluster) && cluster.driver(2).term() > term);
    assert!(!cluster.driver(3).role().is_leader);
    cluster.cut.clear();
    let leader = cluster.tick_until_other_leader(term);
    assert_ne!(leader, 3);
    let request = cluster.propose(leader);
    cluster.settle();
    assert!(matches!(
        cluster.outcomes[&request],
        Outcome::Applied { .. }
    ));
}

#[test]
fn the_quorum_is_not_given_to_the_silent() {
    let mut cluster = Cluster::of_three();
    cluster.cut.push(NodeId(3));
    for _ in 0..25 {
        cluster.tick_all();
    }
    let request = change(&mut cluster, 1, &[(2, Removed)]);
    assert!(refusal(&cluster, request).contains("silent"));
    let request = change(&mut cluster, 1, &[(3, Removed)]);
    cluster.settle();
    assert_eq!(cluster.committed(request), Change::Quorum);
}

#[test]
fn a_removed_member_is_refused_by_all() {
    let mut cluster = Cluster::of_three();
    change(&mut cluster, 1, &[(3, Removed)]);
    cluster.settle();
    let remove = Command::RemoveMember(NodeId(3)).encode();
    let request = cluster.request(1, |id| Event::Propose(id, remove.clone()));
    cluster.settle();
    assert!(matches!(cluster.committed(request), Change::Epoch(_)));
    // It has never heard of that, campaigns, and disturbs nobody.
    let term = cluster.driver(1).term();
    for _ in 0..100 {
        cluster.tick(3);
        cluster.settle();
    }
    assert_eq!(cluster.driver(1).term(), term);
    assert!(cluster.driver(1).role().is_leader);
}

#[test]
fn nobody_joins_the_quorum_who_is_no_member() {
    let mut cluster = Cluster::of_three();
    let request = change(&mut cluster, 1, &[(9, Learner)]);
    assert!(refusal(&cluster, request).contains("no member"));
    let request = change(&mut cluster, 1, &[]);
    assert!(refusal(&cluster, request).contains("empty"));
}

#[test]
fn leadership_goes_to_voters_only() {
    let mut cluster = Cluster::of_three();
    let learner = cluster.join("n4");
    let request = cluster.request(1, |id| Event::Transfer(id, learner));
    assert!(refusal(&cluster, request).contains("voter"));
}
