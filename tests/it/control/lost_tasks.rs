//! A cluster of tasks, whose names never come back, after the loss of all of them: recovered by one command, which is
//! a task as well, while their successors wait.

use nix::sys::signal::Signal;

use super::identity::{VARIABLE, endpoint};
use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::wait::until;

/// The id of the task that recovers the cluster.
const RESCUER: &str = "0f6c1d7a9b2e4c5d8e3f1a2b3c4d5e6f";

/// As tasks of ECS have it.
const LEAVES: &str = "node.leave_on_term=true";

async fn serves(grown: &Grown) {
    until("Tom is served", async || {
        let answer = grown.get(0, "/v1/scores/Tom").await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer),
        }
    })
    .await;
}

#[tokio::test]
async fn one_command_recovers_a_cluster_of_tasks_while_new_ones_wait() {
    let mut grown = Grown::named(3);
    grown.set_nodes = vec![LEAVES.into()];
    grown.resolve(&[0, 1, 2]);
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    grown.complete(3).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    serves(&grown).await;

    grown.kill(&[0, 1, 2]);
    let new: Vec<_> = (0..3).map(|_| grown.another()).collect();
    grown.resolve(&new);
    for node in &new {
        grown.run(*node);
    }
    for name in ["n4", "n5", "n6"] {
        let log = grown
            .folder()
            .join(format!("data/nodes/{name}/log/CURRENT"));
        until("the new task waits on an empty log", async || {
            log.exists().then_some(()).ok_or("there is none")
        })
        .await;
    }

    // In no service, so that no name of DNS leads to it.
    let rescuer = grown.another();
    let metadata = endpoint(RESCUER, grown.hosts[rescuer]).await;
    let data = grown.data[rescuer].display().to_string();
    let recover = [
        "cluster",
        "recover",
        "--data-dir",
        &data,
        "--id",
        "from-task-metadata",
    ];
    let node = ["--", "--origin", "memory:rows.jsonl", "--set", LEAVES];
    let command = [&recover[..], &node].concat();
    grown.run_as(rescuer, &[(VARIABLE, &metadata)], &command);
    grown.complete(4).await;
    serves(&grown).await;

    // It is a task like any other: stopped, it leaves.
    grown.process(rescuer).signal(Signal::SIGTERM);
    let ended = grown.nodes[rescuer].take().expect("it runs").ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("once others vote, stop it"),
        "{}",
        ended.stdout
    );
    grown.complete(3).await;
    serves(&grown).await;
    let members = grown.json(&["cluster", "members"]).await;
    let removed = members["tombstones"].as_array().expect("a list").iter();
    let mut removed: Vec<_> = removed.filter_map(|it| it["name"].as_str()).collect();
    removed.sort_unstable();
    assert_eq!(removed, [RESCUER, "n1", "n2", "n3"]);
}
