//! Clusters whose nodes are stopped, killed, frozen and moved while they are read.

use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::setup::group;
use crate::testkit::wait::until;

/// How long a leader is frozen: well beyond a lease and a fail-over. A longer one is asked for by name.
const FROZEN: Duration = Duration::from_secs(8);

/// Seconds to freeze a leader for, in place of [`FROZEN`].
const FROZEN_BY: &str = "GCACHE_FROZEN_SECONDS";

/// Three nodes and this many frontends, which serve `scores`.
async fn serving(frontends: usize) -> Grown {
    let grown = Grown::start(3, frontends).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown
}

fn load(grown: &Grown) -> Load {
    let frontends = 0..grown.frontends.len();
    let frontends: Vec<_> = frontends.map(|index| grown.http(index)).collect();
    Load::start(&frontends)
}

/// The member of this name, as the leader's state has it.
async fn member(grown: &Grown, name: &str) -> Value {
    let told = grown.json(&["cluster", "members"]).await;
    let members = told["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["name"] == name);
    member.cloned().unwrap_or_default()
}

/// The groups and their revision.
async fn groups(grown: &Grown) -> (Value, Value) {
    let listed = grown.json(&["group", "list"]).await;
    (listed["groups"].clone(), listed["revision"].clone())
}

async fn is_down(grown: &Grown, name: &str) {
    until(&format!("{name} is down"), async || {
        // While nobody leads the command fails after its deadline.
        let told = grown.operate(&["cluster", "members", "--json"]).await;
        let members: Value = serde_json::from_str(&told.stdout).map_err(|_| told.stderr)?;
        let mut members = members["members"].as_array().into_iter().flatten();
        let is_down = members.any(|member| member["name"] == name && member["status"] == "down");
        if is_down { Ok(()) } else { Err(told.stdout) }
    })
    .await;
}

/// Waits until a frontend serves Tom's score.
async fn serves(grown: &Grown, frontend: usize) {
    until("Tom is served", async || {
        let answer = grown.get(frontend, "/v1/scores/Tom").await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_no_read_and_no_group() {
    let mut grown = serving(2).await;
    let kept = groups(&grown).await;
    let load = load(&grown);
    load.go_on_for(500).await;
    for node in 0..3 {
        let process = grown.nodes[node].take().expect("it runs");
        process.signal(SIGTERM);
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        load.go_on_for(500).await;
        grown.run(node);
        grown.complete(3).await;
        load.go_on_for(500).await;
    }
    load.stop().await.assert_none_failed();
    assert_eq!(groups(&grown).await, kept);
    for node in 0..3 {
        let name = format!("n{}", node + 1);
        until(
            &format!("{name} has said that it started again"),
            async || {
                let member = member(&grown, &name).await;
                match member["incarnation"] == 2 {
                    true => Ok(()),
                    false => Err(member),
                }
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_frozen_for_long_costs_no_read_and_leads_no_more() {
    let freeze = std::env::var(FROZEN_BY).ok();
    let freeze = freeze.map_or(FROZEN, |seconds| {
        Duration::from_secs(seconds.parse().expect("a number of seconds"))
    });
    let grown = serving(2).await;
    let load = load(&grown);
    load.go_on_for(500).await;
    let leader = grown.leader().await;
    let process = grown.process(leader);
    process.signal(SIGSTOP);
    let began = Instant::now();
    is_down(&grown, &format!("n{}", leader + 1)).await;
    grown.write("other.toml", &group("teams", "ttl = '60s'"));
    grown.json(&["group", "apply", "other.toml"]).await;
    while began.elapsed() < freeze {
        load.go_on_for(100).await;
    }
    process.signal(SIGCONT);
    let status = grown.completed(3).await;
    assert_ne!(status["leader"], json!(format!("n{}", leader + 1)));
    load.go_on_for(500).await;
    load.stop().await.assert_none_failed();
    // It took over what was decided without it.
    grown.applies(leader, "teams", 1).await;
}

#[tokio::test]
async fn nodes_that_are_all_killed_and_start_elsewhere_are_the_same_cluster() {
    let mut grown = serving(0).await;
    let before = grown.json(&["cluster", "status"]).await;
    let kept = groups(&grown).await;
    let elsewhere: Vec<_> = (0..3).map(|node| grown.elsewhere(node)).collect();
    grown.more_seeds = elsewhere.clone();
    grown.front();
    grown.ready(0).await;
    serves(&grown, 0).await;
    for node in 0..3 {
        grown.kill(&[node]);
    }
    grown.more_seeds = Vec::new();
    grown.hosts = elsewhere;
    for node in 0..3 {
        grown.run(node);
    }
    for (node, host) in grown.hosts.iter().enumerate() {
        let name = format!("n{}", node + 1);
        until(&format!("{name} says where it is"), async || {
            let member = member(&grown, &name).await;
            match member["host"] == json!(host.to_string()) && member["incarnation"] == 2 {
                true => Ok(()),
                false => Err(member),
            }
        })
        .await;
    }
    let after = grown.completed(3).await;
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_eq!(groups(&grown).await, kept);
    // The frontend was never started again.
    serves(&grown, 0).await;
    grown.get(0, "/v1/scores/Tom").await.assert_value("630");
}

#[tokio::test]
async fn founders_that_race_are_one_cluster_each_time() {
    const ROUNDS: usize = 10;
    const AT_ONCE: usize = 5;
    for _ in 0..ROUNDS / AT_ONCE {
        let rounds = (0..AT_ONCE).map(|_| Grown::start(3, 0));
        for grown in join_all(rounds).await {
            let latch = std::fs::read_to_string(grown.folder().join("data/CLUSTER"));
            let latch = latch.expect("one was founded");
            for host in &grown.hosts {
                let status = grown
                    .operate_at(&host.to_string(), &["cluster", "status", "--json"])
                    .await;
                let status: Value = serde_json::from_str(&status.stdout).expect("it is JSON");
                assert_eq!(status["cluster_id"], json!(latch.trim()));
                assert_eq!(status["members"].as_array().map(Vec::len), Some(3));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_and_die_under_load_cost_no_read() {
    let mut grown = serving(1).await;
    let load = load(&grown);
    load.go_on_for(500).await;
    for members in 4..=5 {
        let node = grown.another();
        grown.run(node);
        grown.complete(members).await;
        load.go_on_for(500).await;
    }
    grown.kill(&[3]);
    load.go_on_for(500).await;
    is_down(&grown, "n4").await;
    load.go_on_for(500).await;
    load.stop().await.assert_none_failed();
}
