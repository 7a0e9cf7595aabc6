//! A disk that hangs costs its node its part in agreement, and nobody a read or a commit.

use serde_json::json;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::disk::Freezer;
use crate::testkit::wait::until;

/// The node whose disk hangs.
const SICK: usize = 2;

#[expect(
    clippy::print_stderr,
    reason = "whoever reads the results should know what was not tested"
)]
fn skip() {
    eprintln!("SKIPPED: no disk can be frozen here: needs root and loop devices");
}

async fn status_of(grown: &Grown, node: usize) -> String {
    let told = grown.json(&["cluster", "members"]).await;
    let members = told["members"].as_array().cloned().unwrap_or_default();
    let name = json!(format!("n{}", node + 1));
    let found = members.iter().find(|member| member["name"] == name);
    found.map_or_else(String::new, |member| member["status"].to_string())
}

async fn read_all(grown: &Grown) {
    for key in 0..64 {
        let answer = grown.get(0, &format!("/v1/scores/key-{key}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_costs_no_read_and_no_commit_and_its_node_comes_back() {
    let mut grown = Grown::new(3);
    let at = grown.folder().join("sick");
    // Declared last: it thaws before the processes are killed, which could not die of it otherwise.
    let Some(disk) = Freezer::mount(&at) else {
        return skip();
    };
    for node in 0..3 {
        let data = if node == SICK { "sick/data" } else { "data" };
        grown.run_in(data, node, &[]);
    }
    grown.front();
    grown.complete(3).await;
    // Who hangs must not lead, or the first of what follows would wait for another leader.
    if grown.leader().await == SICK {
        grown.json(&["cluster", "transfer", "n1"]).await;
    }
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown.ready(0).await;
    read_all(&grown).await;

    disk.freeze();
    // Commits go on; this one is known to all once the sick node has lost its lease.
    grown.write("groups.toml", &group("scores", "ttl = '50s'"));
    let applied = grown.json(&["group", "apply", "groups.toml"]).await;
    assert_eq!(applied["revision"], 2);
    until("the sick node is down", async || {
        read_all(&grown).await;
        let status = status_of(&grown, SICK).await;
        if status == "\"down\"" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    read_all(&grown).await;

    disk.thaw();
    grown.complete(3).await;
    read_all(&grown).await;
}
