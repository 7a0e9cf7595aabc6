//! Data directories of a cluster that serves: wiped, copied and full. No read fails, nothing that was
//! acknowledged is lost, and nobody acts under an identity that is another's.

use std::path::Path;

use gcache::rpc::control::enter;
use gcache::rpc::control_proto::EnterRequest;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::rpc::pipeline::Target;
use gcache::topology::commands::{COMMAND_VERSION, Command, Joiner};
use serde_json::{Value, json};

use crate::harness::control::Absent;
use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::setup::group;
use crate::testkit::disk::Disk;
use crate::testkit::process::Process;
use crate::testkit::wait::{PATIENCE, until};

/// Where each node has its data: nobody shares.
const OWN: [&str; 3] = ["one", "two", "three"];

/// A node that does not found, and is harmed.
const VICTIM: usize = 1;

/// Three nodes with a directory each, and a frontend, which serve `scores`.
async fn serving(data: [&str; 3]) -> Grown {
    let mut grown = Grown::new(3);
    for (node, data) in data.into_iter().enumerate() {
        let more: &[&str] = if node == 0 { &["--bootstrap"] } else { &[] };
        grown.run_in(data, node, more);
    }
    grown.front();
    grown.complete(3).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown.ready(0).await;
    grown
}

/// The members of this name, as the leader's state has them.
async fn members(grown: &Grown, name: &str) -> Vec<Value> {
    let told = grown.json(&["cluster", "members"]).await;
    let members = told["members"].as_array().expect("members");
    let named = members.iter().filter(|member| member["name"] == name);
    named.cloned().collect()
}

async fn says(process: &Process, words: &str) {
    until(&format!("{} says {words:?}", process.name()), async || {
        let log = process.stderr();
        if log.contains(words) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_directory_is_wiped_comes_back_as_another_and_costs_no_read() {
    let mut grown = serving(OWN).await;
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(500).await;
    let old = members(&grown, "n2").await.remove(0);
    grown.kill(&[VICTIM]);
    std::fs::remove_dir_all(grown.folder().join(OWN[VICTIM])).unwrap();
    grown.run_in(OWN[VICTIM], VICTIM, &[]);
    // Its name is free as soon as the member that it was is down.
    let new = until("it is another member", async || {
        let named = members(&grown, "n2").await;
        let new = named
            .iter()
            .find(|member| member["id"] != old["id"] && member["status"] == "up");
        new.cloned().ok_or(named)
    })
    .await;
    assert!(new["id"].as_u64() > old["id"].as_u64(), "{new}");
    assert_eq!(new["incarnation"], 1, "{new}");
    load.go_on_for(500).await;
    load.stop().await.assert_none_failed();
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["name"], "scores");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the test's folder is writable");
    for entry in std::fs::read_dir(from).expect("the test's folder is readable") {
        let entry = entry.expect("the test's folder is readable");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("the test's folder is writable");
        }
    }
}

/// Starts the victim, and waits until the others know that start by its number.
async fn goes_on(grown: &mut Grown, incarnation: u64) {
    grown.run_in(OWN[VICTIM], VICTIM, &[]);
    until("its start is known", async || {
        let member = members(grown, "n2").await.remove(0);
        match member["incarnation"] == incarnation && member["status"] == "up" {
            true => Ok(()),
            false => Err(member),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_directory_is_refused_elsewhere_and_harms_nobody() {
    let mut grown = serving(OWN).await;
    grown.kill(&[VICTIM]);
    copy(
        &grown.folder().join(OWN[VICTIM]),
        &grown.folder().join("copy"),
    );
    // The member goes on twice, so that the next start of the copy is an older one.
    goes_on(&mut grown, 2).await;
    grown.kill(&[VICTIM]);
    goes_on(&mut grown, 3).await;
    let before = members(&grown, "n2").await;
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(500).await;
    let original = grown.nodes[VICTIM].take();
    let elsewhere = grown.elsewhere(VICTIM);
    let host = std::mem::replace(&mut grown.hosts[VICTIM], elsewhere);
    grown.run_in("copy", VICTIM, &[]);
    let copied = std::mem::replace(&mut grown.nodes[VICTIM], original);
    grown.hosts[VICTIM] = host;
    let copied = copied.expect("it was started");
    says(&copied, "is an old copy: ").await;
    load.go_on_for(2_000).await;
    grown.json(&["group", "reset", "scores"]).await;
    load.stop().await.assert_none_failed();
    assert_eq!(members(&grown, "n2").await, before);
    grown.complete(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_read_and_nothing_that_was_acknowledged() {
    const SMALL: &str = "small";
    // Not in the cluster's folder, which goes first when a test ends.
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join(SMALL);
    let Some(disk) = Disk::mount(&at) else {
        panic!("this test fills a disk of its own, which needs root");
    };
    let small = at.to_string_lossy();
    let mut grown = serving(["one", &small, "three"]).await;
    // Resets go to the leader, which must not be the one whose disk is full.
    if grown.leader().await == VICTIM {
        grown.json(&["cluster", "transfer", "n1"]).await;
    }
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(500).await;
    disk.fill();
    let mut resets = 0;
    until("its raft ends", async || {
        grown.json(&["group", "reset", "scores"]).await;
        resets += 1;
        let log = grown.process(VICTIM).stderr();
        if log.contains("control plane ended") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    grown.tells(VICTIM, "No space left on device").await;
    // It lives, and others own what it owned.
    until("it is failed over", async || {
        let named = members(&grown, "n2").await;
        match named[0]["status"] == "down" {
            true => Ok(()),
            false => Err(named),
        }
    })
    .await;
    let process = grown.nodes[VICTIM].as_mut().expect("it was started");
    let _may_have_ended = process.status();
    load.go_on_for(500).await;
    disk.empty();
    grown.kill(&[VICTIM]);
    grown.run_in(&small, VICTIM, &[]);
    grown.complete(3).await;
    load.stop().await.assert_none_failed();
    let generation = u32::try_from(resets + 1).expect("few resets");
    grown.applies(VICTIM, "scores", generation).await;
    grown.kill(&[VICTIM]);
    drop(disk);
}

#[tokio::test]
async fn a_member_of_a_newer_version_joins_and_the_others_go_on() {
    let grown = serving(OWN).await;
    let command = Command::decode(&Absent::default().next()).unwrap();
    let Command::Join(joiner) = command else {
        panic!("it joins first: {command:?}");
    };
    let newer = Command::Join(Joiner {
        version: COMMAND_VERSION + 1,
        ..joiner
    });
    until("the newer member joins", async || {
        for host in &grown.hosts {
            let target = Target {
                host: host.to_string(),
                port: crate::testkit::address::GRPC,
                from: std::net::Ipv4Addr::UNSPECIFIED.into(),
            };
            let request = EnterRequest {
                cluster: Vec::new().into(),
                command: newer.encode(),
            };
            let answer = enter(&target, request, PATIENCE).await;
            if let Some(Outcome::Entered(_)) = answer.map_err(|error| error.to_string())?.outcome {
                return Ok(());
            }
        }
        Err("nobody leads".to_owned())
    })
    .await;
    let joined = members(&grown, "absent").await.remove(0);
    assert_eq!(joined["command_version"], json!(COMMAND_VERSION + 1));
    // What is proposed from now on is still what the older members can apply.
    let reset = grown.json(&["group", "reset", "scores"]).await;
    assert_eq!(reset["group"], "scores");
    for node in 0..grown.hosts.len() {
        grown.applies(node, "scores", 2).await;
    }
}

#[tokio::test]
async fn swapped_directories_are_refused_with_the_reason_and_harm_nobody() {
    let mut grown = serving(["one", "one", "one"]).await;
    grown.complete(3).await;
    let nodes = grown.folder().join("one/nodes");
    let swap = || {
        std::fs::rename(nodes.join("n2"), nodes.join("n0")).unwrap();
        std::fs::rename(nodes.join("n3"), nodes.join("n2")).unwrap();
        std::fs::rename(nodes.join("n0"), nodes.join("n3")).unwrap();
    };
    for node in [1, 2] {
        grown.kill(&[node]);
    }
    swap();
    for node in [1, 2] {
        grown.run_in("one", node, &[]);
    }
    for (node, own) in [(1, "n2"), (2, "n3")] {
        let refused = grown.nodes[node].take().expect("it was started");
        let ended = refused.ended().await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let told = format!("and not of \"{own}\": put back what was moved");
        assert!(ended.stderr.contains(&told), "{told} in {}", ended.stderr);
    }
    swap();
    for node in [1, 2] {
        grown.run_in("one", node, &[]);
    }
    grown.complete(3).await;
    grown.json(&["group", "reset", "scores"]).await;
    for node in 0..3 {
        grown.applies(node, "scores", 2).await;
    }
}
