//! What operators do about members that are gone, and about a cluster that is lost.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use gcache::rpc::control::enter;
use gcache::rpc::control_proto::EnterRequest;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::rpc::pipeline::Target;
use serde_json::{Value, json};

use crate::harness::control::Absent;
use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::process::Ended;
use crate::testkit::wait::until;

/// A cluster of three nodes and this many frontends that serves the group scores.
async fn serving(frontends: usize) -> Grown {
    let grown = Grown::start(3, frontends).await;
    apply(&grown).await;
    grown
}

async fn apply(grown: &Grown) {
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
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

/// Runs a command that needs no seeds; what it prints as JSON.
async fn offline(grown: &Grown, args: &[&str]) -> Value {
    let ended = grown.operate(args).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("it is JSON")
}

fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} in {}", ended.stderr);
    }
}

/// The status of a member, as the leader's state has it.
async fn status(grown: &Grown, name: &str) -> Value {
    let told = grown.json(&["cluster", "members"]).await;
    let members = told["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["name"] == name);
    member.map_or(Value::Null, |member| member["status"].clone())
}

#[tokio::test]
async fn everything_is_told_of_every_member() {
    let grown = Grown::start(3, 0).await;
    let told = grown.json(&["cluster", "members"]).await;
    assert_eq!(told["tombstones"], json!([]));
    let members = told["members"].as_array().expect("members");
    assert_eq!(members.len(), 3);
    for (n, member) in members.iter().enumerate() {
        assert_eq!(member["id"], json!(n + 1));
        assert_eq!(member["status"], "up");
        assert_eq!(member["role"], "voter");
        assert_eq!(member["zone"], "default");
        assert_eq!(member["raft_port"], 7000);
        assert_eq!(member["incarnation"], 1);
        assert_eq!(member["replaced_by"], Value::Null);
        assert!(member["weight"].as_u64() > Some(0) && member["host"].is_string());
    }
    let table = grown.operate(&["cluster", "members"]).await.stdout;
    assert!(table.starts_with("ID"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[tokio::test]
async fn a_member_that_leads_lives_or_is_unknown_is_not_removed() {
    let grown = Grown::start(3, 0).await;
    let leader = format!("n{}", grown.leader().await + 1);
    let other = match leader.as_str() {
        "n1" => "n2",
        _ => "n1",
    };
    let ended = grown.operate(&["cluster", "remove", &leader]).await;
    assert_refused(&ended, 1, &["leads: use gcache cluster transfer"]);
    let ended = grown.operate(&["cluster", "remove", other]).await;
    assert_refused(&ended, 1, &["is alive: stop it first"]);
    let ended = grown.operate(&["cluster", "remove", "n9"]).await;
    assert_refused(&ended, 1, &["no member \"n9\"", " (1), ", " (3)"]);
    grown.complete(3).await;
}

#[tokio::test]
async fn a_snapshot_is_written_once_and_says_what_it_holds() {
    let mut grown = serving(0).await;
    let told = grown.json(&["cluster", "snapshot", "state"]).await;
    assert_eq!(told["groups"], json!(["scores"]));
    assert_eq!(told["members"], json!(["n1", "n2", "n3"]));
    assert_eq!(told["confirmed"], true);
    let file = grown.folder().join("state");
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(told["bytes"], json!(metadata.len()));
    let ended = grown.operate(&["cluster", "snapshot", "state"]).await;
    assert_refused(&ended, 1, &["state is there already"]);
    for node in [0, 1] {
        grown.kill(&[node]);
    }
    let ended = grown.operate(&["cluster", "snapshot", "other"]).await;
    assert_refused(&ended, 1, &["no quorum"]);
    assert!(!grown.folder().join("other").exists());
    let any = grown.json(&["cluster", "snapshot", "other", "--any"]).await;
    assert_eq!(any["confirmed"], false);
    assert_eq!(any["epoch"], told["epoch"]);
    let ended = grown.operate(&["cluster", "remove", "n1"]).await;
    assert_refused(&ended, 1, &["no quorum", "gcache cluster recover"]);
    let text = grown
        .operate(&["cluster", "snapshot", "third", "--any"])
        .await;
    assert!(text.stdout.contains("groups      scores"), "{text:?}");
}

#[tokio::test]
async fn a_lost_cluster_is_recovered_and_frontends_follow() {
    let mut grown = serving(1).await;
    serves(&grown, 0).await;
    let before = grown.json(&["cluster", "status"]).await;
    let dry = ["cluster", "recover", "--data-dir", "data", "--dry-run"];
    let ended = grown.operate(&dry).await;
    assert_refused(&ended, 1, &["runs, its log", "stop all nodes"]);
    for node in 0..3 {
        grown.kill(&[node]);
    }
    let ended = grown.operate(&dry).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("nothing was done"),
        "{}",
        ended.stdout
    );
    let intact =
        "all 3 logs of the voters n1, n2, n3 are intact and in place: just start the nodes";
    assert!(ended.stdout.contains(intact), "{}", ended.stdout);
    let recover = ["cluster", "recover", "--data-dir", "data", "--json"];
    let ended = grown.operate(&recover).await;
    assert_refused(&ended, 1, &[intact, "--force"]);
    let told = offline(&grown, &[&recover[..], &["--force"]].concat()).await;
    assert_eq!(told["is_recovered"], true);
    let again = offline(&grown, &recover).await;
    for same in ["cluster_id", "founder", "founder_id", "epoch"] {
        assert_eq!(again[same], told[same], "{again}");
    }
    assert_eq!(told["continues"]["cluster_id"], before["cluster_id"]);
    assert_eq!(told["continues"]["groups"], json!(["scores"]));
    assert_eq!(told["founder_id"], 4);
    for node in 0..3 {
        grown.run(node);
    }
    let after = grown.completed(3).await;
    assert_eq!(after["cluster_id"], told["cluster_id"]);
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["name"], "scores");
    assert_eq!(listed["groups"][0]["generation"], 2);
    // The frontend was never started again.
    until("the frontend follows", async || {
        let readiness = grown.readiness(0).await?;
        let log = grown.frontends[0].stderr();
        let cluster = told["cluster_id"].as_str().unwrap_or_default();
        match readiness.status == 200 && log.contains(cluster) {
            true => Ok(()),
            false => Err(readiness.text()),
        }
    })
    .await;
    serves(&grown, 0).await;
    let aside = std::fs::read_dir(grown.folder().join("data/nodes")).unwrap();
    let aside = aside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with("~1")
    });
    assert_eq!(aside.count(), 3);
    let tombstones = grown.json(&["cluster", "members"]).await["tombstones"].clone();
    assert_eq!(tombstones.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_cluster_is_recovered_from_a_file_on_an_empty_directory() {
    let mut grown = serving(0).await;
    grown.json(&["cluster", "snapshot", "state"]).await;
    for node in 0..3 {
        grown.kill(&[node]);
    }
    std::fs::remove_dir_all(grown.folder().join("data")).unwrap();
    let recover = ["cluster", "recover", "--data-dir", "data", "--json"];
    let ended = grown.operate(&recover).await;
    assert_refused(&ended, 2, &["data is no data directory"]);
    let from = [&recover[..], &["--from", "state"]].concat();
    let ended = grown.operate(&from).await;
    assert_refused(&ended, 2, &["give --id with one of n1, n2, n3"]);
    assert!(!grown.folder().join("data").exists());
    let told = offline(&grown, &[&from[..], &["--id", "n2"]].concat()).await;
    assert_eq!(told["founder"], "n2");
    for node in 0..3 {
        grown.run(node);
    }
    grown.complete(3).await;
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["name"], "scores");

    let mut damaged = std::fs::read(grown.folder().join("state")).unwrap();
    damaged[40] ^= 1;
    std::fs::write(grown.folder().join("damaged"), damaged).unwrap();
    let from = [&recover[..], &["--from", "damaged"]].concat();
    assert_refused(&grown.operate(&from).await, 1, &["its checksum is wrong"]);
    let from = [&recover[..], &["--from", "groups.toml"]].concat();
    assert_refused(&grown.operate(&from).await, 1, &["no snapshot file"]);
}

#[tokio::test]
async fn nodes_with_directories_of_their_own_follow_a_recovery() {
    let mut grown = Grown::new(3);
    let own = ["one", "two", "three"];
    for (node, data) in own.into_iter().enumerate() {
        let more: &[&str] = if node == 0 { &["--bootstrap"] } else { &[] };
        grown.run_in(data, node, more);
    }
    grown.complete(3).await;
    apply(&grown).await;
    for node in 0..3 {
        grown.kill(&[node]);
    }
    let recover = ["cluster", "recover", "--data-dir", "two", "--json"];
    let told = offline(&grown, &recover).await;
    assert_eq!(told["founder"], "n2");
    grown.run_in("two", 1, &[]);
    until("the founder leads", async || {
        let ended = grown.operate(&["cluster", "status", "--json"]).await;
        match ended.stdout.contains("\"quorum\": true") {
            true => Ok(()),
            false => Err(ended),
        }
    })
    .await;
    // Each has a log and a latch of the old cluster, of which two would be a majority.
    grown.run_in("one", 0, &[]);
    grown.run_in("three", 2, &[]);
    let after = grown.completed(3).await;
    assert_eq!(after["cluster_id"], told["cluster_id"]);
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["name"], "scores");
}

#[tokio::test]
async fn who_joined_and_never_came_is_removed_for_ever() {
    let grown = Grown::start(3, 0).await;
    until("the member joins", async || {
        for seed in grown.seeds().split(',') {
            let target = Target {
                host: seed.to_owned(),
                port: 8001,
                from: Ipv4Addr::UNSPECIFIED.into(),
            };
            let request = EnterRequest {
                cluster: Vec::new().into(),
                command: Absent::default().next().into(),
            };
            let answer = enter(&target, request, Duration::from_secs(3)).await;
            if let Some(Outcome::Entered(_)) = answer.map_err(|error| error.to_string())?.outcome {
                return Ok(());
            }
        }
        Err("nobody leads".to_owned())
    })
    .await;
    // It is asked for by whatever node answers first, and done by the one that leads.
    let removed = grown.json(&["cluster", "remove", "absent"]).await;
    assert_eq!(removed["id"], 4);
    assert_eq!(removed["was_gone"], false);
    let told = grown.json(&["cluster", "members"]).await;
    assert_eq!(told["members"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["tombstones"][0]["name"], "absent");
    for name in ["absent", "4"] {
        let again = grown.json(&["cluster", "remove", name]).await;
        assert_eq!(again["was_gone"], true);
    }
    let text = grown.operate(&["cluster", "remove", "absent"]).await;
    assert_eq!(text.stdout, "absent is gone already\n", "{text:?}");
}

#[tokio::test]
async fn a_member_that_joined_and_went_is_removed() {
    let mut grown = Grown::start(4, 0).await;
    let told = grown.json(&["cluster", "members"]).await;
    let members = told["members"].as_array().expect("members");
    let learner = members.iter().find(|member| member["role"] == "learner");
    let name = learner.expect("three of four vote")["name"].as_str();
    let name = name.expect("members have names").to_owned();
    let node: usize = name[1..].parse().expect("nodes are numbered");
    grown.kill(&[node - 1]);
    until("the member is down", async || {
        match status(&grown, &name).await {
            down if down == "down" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let removed = grown.json(&["cluster", "remove", &name]).await;
    assert_eq!(removed["was_gone"], false);
    grown.complete(3).await;
    let again = grown.json(&["cluster", "remove", &name]).await;
    assert_eq!(again["was_gone"], true);
    let told = grown.json(&["cluster", "members"]).await;
    assert_eq!(told["tombstones"][0]["name"], json!(name));
    // Its node finds that it is no member any more, and joins anew.
    grown.run(node - 1);
    grown.complete(4).await;
}
