//! Nodes that are stopped give away what they own before they go, and go for good if they are told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use serde_json::{Value, json};

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::process::{Ended, Process};
use crate::testkit::wait::until;

async fn stop(grown: &mut Grown, node: usize) -> Ended {
    let process = grown.nodes[node].take().expect("it runs");
    process.signal(SIGTERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

async fn members(grown: &Grown) -> Vec<Value> {
    let told = grown.json(&["cluster", "members"]).await;
    told["members"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_node_that_is_stopped_owns_nothing_by_then_and_has_its_share_when_it_is_back() {
    let mut grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    for node in [1, 0] {
        let ended = stop(&mut grown, node).await;
        assert!(ended.stderr.contains("left the ring"), "{}", ended.stderr);
        let ring = grown.json(&["ring", "show"]).await;
        let shares = ring["members"].as_array().cloned().unwrap_or_default();
        let own = shares
            .iter()
            .find(|member| member["name"] == json!(format!("n{}", node + 1)));
        assert_eq!(own.map(|own| &own["partitions"]), Some(&json!(0)), "{ring}");
        for key in 0..64 {
            let answer = grown.get(0, &format!("/v1/scores/key-{key}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        grown.run(node);
        grown.complete(3).await;
    }
}

/// How long a node of an idle cluster may take to end once it is told to.
const ENDS_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test]
async fn on_an_idle_cluster_every_node_ends_soon_after_it_is_told_to_alone_and_with_all_others() {
    let mut grown = Grown::start(3, 0).await;
    for node in [0, 1, 2] {
        let stopped = tokio::time::timeout(ENDS_WITHIN, stop(&mut grown, node)).await;
        let stopped = stopped.unwrap_or_else(|_| panic!("node {node} has not ended"));
        assert!(stopped.stderr.contains("left the ring"), "{stopped:?}");
        grown.run(node);
        grown.complete(3).await;
    }
    let all: Vec<_> = grown.nodes.iter_mut().filter_map(Option::take).collect();
    all.iter().for_each(|node| node.signal(SIGTERM));
    let ended = futures_util::future::join_all(all.into_iter().map(Process::ended));
    let ended = tokio::time::timeout(ENDS_WITHIN, ended).await;
    for ended in ended.expect("all end") {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// Operators who reset a group again and again.
const RESETTERS: usize = 3;

#[tokio::test]
async fn a_node_leaves_however_often_the_topology_changes_meanwhile() {
    let mut grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    let is_over = Arc::new(AtomicBool::new(false));
    // Each makes an epoch, and waits until all know it: with several there is always one on its way.
    let resets = (0..RESETTERS).map(|_| {
        let (operator, is_over) = (grown.operator(), Arc::clone(&is_over));
        tokio::task::spawn_blocking(move || {
            while !is_over.load(Ordering::Relaxed) {
                operator
                    .run(&["group", "reset", "scores"])
                    .expect("it was built");
            }
        })
    });
    let resets: Vec<_> = resets.collect();
    for node in [1, 2] {
        let stopped = tokio::time::timeout(ENDS_WITHIN, stop(&mut grown, node)).await;
        let stopped = stopped.unwrap_or_else(|_| panic!("node {node} has not ended"));
        assert!(stopped.stderr.contains("left the ring"), "{stopped:?}");
        grown.run(node);
        grown.complete(3).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for resets in resets {
        resets.await.expect("resets do not panic");
    }
}

#[tokio::test]
async fn a_lone_node_stops_without_waiting_for_anybody() {
    let mut grown = Grown::start(1, 0).await;
    stop(&mut grown, 0).await;
}

#[tokio::test]
async fn who_leaves_for_good_is_removed_and_its_vote_is_another_s() {
    let mut grown = Grown::new(4);
    for node in 0..4 {
        grown.run_in("data", node, &["--set", "node.leave_on_term=true"]);
    }
    grown.complete(4).await;
    // Here the leader is called so, and no voter.
    let told = grown.json(&["cluster", "status"]).await;
    let told = told["members"].as_array().cloned().unwrap_or_default();
    let follower = told.iter().find(|member| member["role"] == "voter");
    let name = follower.expect("two vote and follow")["name"].clone();
    let number: usize = name.as_str().expect("a name")[1..]
        .parse()
        .expect("n1 and up");
    stop(&mut grown, number - 1).await;
    until(&format!("{name} is gone and three vote"), async || {
        let members = members(&grown).await;
        let voters = members.iter().filter(|member| member["role"] == "voter");
        if members.len() == 3 && voters.count() == 3 {
            Ok(())
        } else {
            Err(members)
        }
    })
    .await;
    let told = grown.json(&["cluster", "members"]).await;
    assert_eq!(told["tombstones"][0]["name"], name);
    // Its directory is worth nothing any more: it is another member of the same name.
    grown.run_in("data", number - 1, &[]);
    grown.complete(4).await;
}
