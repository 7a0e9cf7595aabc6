//! Nodes that crash, freeze or move: the cluster stays the one it was, and keeps what it acknowledged.

use std::time::Duration;

use gcache::rpc::control_proto::StatusReply;
use gcache::rpc::control_proto::enter_reply::Outcome;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::control::{Absent, Controlled, present};

/// An election takes one to four seconds; the rest is for a starved machine.
const ELECTED: Duration = Duration::from_secs(20);

/// Longer than any election timeout.
const FROZEN: Duration = Duration::from_secs(3);

/// Asserts that it is the cluster it was, with the members it had, and has forgotten nothing.
fn assert_same(before: &[StatusReply], after: &[StatusReply], absent: &Absent) {
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.cluster, after.cluster);
        assert_eq!(before.node, after.node);
        assert!(after.epoch >= before.epoch, "{before:#?} {after:#?}");
        assert!(after.term >= before.term, "{before:#?} {after:#?}");
        assert!(after.commit >= before.commit, "{before:#?} {after:#?}");
        let ids = |status| -> Vec<_> { present(status).iter().map(|member| member.id).collect() };
        assert_eq!(ids(before), ids(after));
    }
    Controlled::assert_kept(after, absent);
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_another_and_comes_back_as_a_follower() {
    let mut controlled = Controlled::start(3, &[]).await;
    let before = controlled.settled().await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let old = controlled.leader().await;
    controlled.kill(&[old]);
    let began = Instant::now();
    let new = controlled.leader().await;
    let took = began.elapsed();
    assert!(took < ELECTED, "{took:?}");
    controlled.commit(&mut absent).await;
    let term = controlled.status(new).await.unwrap().term;
    controlled.run(old);
    let after = controlled.settled().await;
    assert_same(&before, &after, &absent);
    assert_eq!(after[old].incarnation, before[old].incarnation + 1);
    // On a starved machine there may have been another election since.
    assert!(after[old].term > term || after[old].leader == after[new].node);
    controlled.commit(&mut absent).await;
}

#[tokio::test]
async fn killed_followers_leaders_and_all_at_once_lose_nothing() {
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    for victims in 0..4 {
        controlled.commit(&mut absent).await;
        let before = controlled.settled().await;
        let leader = controlled.leader().await;
        let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let killed: &[usize] = match victims {
            0 => &[one],
            1 => &[one, other],
            2 => &[leader, one],
            _ => &[0, 1, 2],
        };
        controlled.commit(&mut absent).await;
        controlled.kill(killed);
        match controlled.running()[..] {
            [_, _] => controlled.commit(&mut absent).await,
            [alone] => assert_commits_nothing(&controlled, alone, &absent).await,
            _ => {}
        }
        for &node in killed {
            controlled.run(node);
        }
        controlled.commit(&mut absent).await;
        let after = controlled.settled().await;
        assert_same(&before, &after, &absent);
        for (node, status) in after.iter().enumerate() {
            let starts = u64::from(killed.contains(&node));
            assert_eq!(status.incarnation, before[node].incarnation + starts);
        }
    }
}

/// One of three never says that it has committed something.
async fn assert_commits_nothing(controlled: &Controlled, alone: usize, absent: &Absent) {
    let command = absent.next();
    let outcome = controlled.enter(alone, &[], command).await;
    let is_settled = matches!(outcome, Ok(Outcome::Entered(_) | Outcome::Refused(_)));
    assert!(!is_settled, "{outcome:?}");
    controlled.assert_serving(alone).await;
}

#[tokio::test]
async fn all_nodes_restarted_elsewhere_find_each_other() {
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let before = controlled.settled().await;
    controlled.kill(&[0, 1, 2]);
    controlled.move_all();
    controlled.run_all();
    let after = controlled.settled().await;
    assert_same(&before, &after, &absent);
    for member in present(&after[0]) {
        let old = before[0].members.iter().find(|old| old.id == member.id);
        assert_ne!(old.unwrap().host, member.host);
        assert!(
            controlled
                .hosts
                .contains(&member.host.parse().expect("an address")),
            "{member:?}"
        );
    }
    controlled.commit(&mut absent).await;
}

#[tokio::test]
async fn a_frozen_leader_is_followed_by_another_and_steps_down() {
    let controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let before = controlled.settled().await;
    let old = controlled.leader().await;
    let others: Vec<_> = (0..3).filter(|&node| node != old).collect();
    controlled.process(old).signal(Signal::SIGSTOP);
    let began = Instant::now();
    controlled.leader_among(&others).await;
    controlled.commit_at(&others, &mut absent).await;
    while began.elapsed() < FROZEN {
        controlled.commit_at(&others, &mut absent).await;
    }
    controlled.process(old).signal(Signal::SIGCONT);
    let after = controlled.settled().await;
    assert_same(&before, &after, &absent);
    assert!(after[old].term > before[old].term);
    controlled.commit(&mut absent).await;
}
