//! Partitions that move: nobody notices, the origin least of all, and no value that was deleted comes back.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::metrics::sum;
use crate::harness::setup::{ROWS, Setup, group, value};
use crate::harness::versions::{Versions, rows};
use crate::testkit::postgres::Postgres;
use crate::testkit::wait::until;

/// Three nodes and a frontend, which serve `scores`, with these settings besides.
async fn serving(set: &[&str]) -> Grown {
    let mut grown = Grown::new(3);
    grown.set = set.iter().map(|set| (*set).to_owned()).collect();
    let big = "v".repeat(8 << 10);
    let big = |row| format!("{{\"k\":\"big-{row}\",\"v\":\"{big}\"}}\n");
    let setup = Setup {
        rows: (0..BIG_ROWS).map(big).collect(),
        ..Setup::default()
    };
    grown.write("rows.jsonl", &setup.all_rows());
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    shared_out(&grown, 3).await;
    grown.write(
        "groups.toml",
        &group("scores", "ttl = '10m'\nttl_jitter = 0.0"),
    );
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown.ready(0).await;
    grown
}

/// Waits until `owners` members own all partitions evenly, each with a standby.
pub(crate) async fn shared_out(grown: &Grown, owners: usize) {
    until(&format!("{owners} members share all"), async || {
        let ended = grown.operate(&["ring", "show", "--json"]).await;
        let ring: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let members = ring["members"].as_array().cloned().unwrap_or_default();
        let count = |field: &str| {
            let counts = members.iter().map(|member| member[field].as_u64());
            counts.map(Option::unwrap_or_default).collect::<Vec<_>>()
        };
        let (owned, stood_by) = (count("partitions"), count("standby"));
        let fair = 4_096 / owners as u64;
        let owns: Vec<_> = owned.iter().filter(|owned| **owned > 0).collect();
        let is_even = owns.len() == owners && owns.iter().all(|owned| owned.abs_diff(fair) <= 1);
        match is_even && stood_by.iter().sum::<u64>() == 4_096 {
            true => Ok(()),
            false => Err(format!("{owned:?} {stood_by:?} {}", ended.stderr)),
        }
    })
    .await;
}

/// Asks for every row.
pub(crate) async fn ask_for_all(grown: &Grown) {
    for row in 0..ROWS {
        let answer = grown.get(0, &format!("/v1/scores/key-{row}")).await;
        assert_eq!((answer.status, answer.text()), (200, value(row)));
    }
}

/// How many keys all nodes together have asked the origin for.
async fn loaded(grown: &Grown) -> f64 {
    let mut loaded = 0.0;
    for node in 0..grown.hosts.len() {
        loaded += loaded_by(grown, node).await;
    }
    loaded
}

async fn loaded_by(grown: &Grown, node: usize) -> f64 {
    let admin = (grown.hosts[node], 2112).into();
    sum(admin, "gcache_origin_loaded_keys_total", &[]).await
}

async fn kept(grown: &Grown, node: usize) -> f64 {
    let admin = (grown.hosts[node], 2112).into();
    sum(
        admin,
        "gcache_node_transfer_entries_total",
        &["direction=\"kept\""],
    )
    .await
}

#[tokio::test]
async fn a_newcomer_has_what_the_others_kept_and_the_origin_hears_nothing() {
    let mut grown = serving(&[]).await;
    ask_for_all(&grown).await;
    let before = loaded(&grown).await;
    assert!(before >= ROWS as f64, "{before}");
    let newcomer = grown.another();
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(500).await;
    grown.run(newcomer);
    shared_out(&grown, 4).await;
    load.go_on_for(2_000).await;
    load.stop().await.assert_none_failed();
    ask_for_all(&grown).await;
    assert_eq!(loaded(&grown).await, before, "not one key was loaded again");
    assert!(kept(&grown, newcomer).await > 100.0);
}

#[tokio::test]
async fn without_transfers_a_newcomer_begins_empty() {
    let mut grown = serving(&["transfer.enabled=false"]).await;
    ask_for_all(&grown).await;
    let before = loaded(&grown).await;
    let newcomer = grown.another();
    grown.run(newcomer);
    shared_out(&grown, 4).await;
    ask_for_all(&grown).await;
    let again = loaded(&grown).await - before;
    assert!(again > 150.0, "{again} keys were loaded again");
    assert_eq!(kept(&grown, newcomer).await, 0.0);
}

/// Rows that are too much to be sent in time at the lowest rate.
const BIG_ROWS: usize = 400;

async fn ask_for_big(grown: &Grown) {
    for row in 0..BIG_ROWS {
        let answer = grown.get(0, &format!("/v1/scores/big-{row}")).await;
        assert_eq!((answer.status, answer.body.len()), (200, 8 << 10));
    }
}

#[tokio::test]
async fn what_is_not_sent_in_time_is_asked_of_the_owner_before() {
    let mut grown = serving(&["transfer.max_rate=64KiB"]).await;
    ask_for_big(&grown).await;
    let before = loaded(&grown).await;
    let newcomer = grown.another();
    grown.run(newcomer);
    shared_out(&grown, 4).await;
    ask_for_big(&grown).await;
    let admin = (grown.hosts[newcomer], 2112).into();
    let found = sum(
        admin,
        "gcache_node_peeked_keys_total",
        &["outcome=\"found\""],
    )
    .await;
    let kept = kept(&grown, newcomer).await;
    assert!(found > 10.0, "{found} asked for, {kept} sent");
    assert!(found + kept > 70.0, "{found} asked for, {kept} sent");
    let again = loaded(&grown).await - before;
    assert!(again < 20.0, "{again} were loaded again");
}

#[tokio::test]
async fn who_leaves_hands_over_and_who_comes_back_is_warmed() {
    let mut grown = serving(&[]).await;
    ask_for_all(&grown).await;
    let load = Load::start(&[grown.http(0)]);
    let mut before = loaded(&grown).await;
    let leaver = grown.nodes[1].take().expect("it runs");
    // What it has loaded itself is not counted any more once it is gone.
    let own = loaded_by(&grown, 1).await;
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    before -= own;
    ask_for_all(&grown).await;
    assert_eq!(loaded(&grown).await, before, "nothing was loaded again");
    grown.run(1);
    shared_out(&grown, 3).await;
    load.go_on_for(1_000).await;
    load.stop().await.assert_none_failed();
    ask_for_all(&grown).await;
    assert_eq!(loaded(&grown).await, before, "nothing was loaded again");
    assert!(kept(&grown, 1).await > 100.0);
}

#[tokio::test]
async fn who_leaves_hands_over_all_that_it_keeps_however_long_that_takes() {
    let mut grown = serving(&["transfer.max_rate=64KiB", "node.leave_timeout=60s"]).await;
    ask_for_big(&grown).await;
    let own = loaded_by(&grown, 1).await;
    // Two go on, at the lowest rate each: some eight times as much as may be sent in two seconds.
    assert!(own > BIG_ROWS as f64 / 5.0, "{own}");
    let before = loaded(&grown).await - own;
    let leaver = grown.nodes[1].take().expect("it runs");
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("left the ring"), "{}", ended.stderr);
    ask_for_big(&grown).await;
    assert_eq!(loaded(&grown).await, before, "nothing was loaded again");
    assert!(kept(&grown, 0).await + kept(&grown, 2).await >= own);
}

#[tokio::test]
async fn who_has_no_time_to_send_all_leaves_in_time_all_the_same() {
    let mut grown = serving(&["transfer.max_rate=64KiB", "node.leave_timeout=4s"]).await;
    ask_for_big(&grown).await;
    let load = Load::start(&[grown.http(0)]);
    let leaver = grown.nodes[1].take().expect("it runs");
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for told in ["time is up", "left the ring"] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    shared_out(&grown, 2).await;
    load.stop().await.assert_none_failed();
    ask_for_big(&grown).await;
}

#[tokio::test]
async fn who_is_ended_while_it_leaves_costs_no_read_and_what_it_had_sent_is_kept() {
    let mut grown = serving(&["transfer.max_rate=64KiB", "node.leave_timeout=60s"]).await;
    ask_for_big(&grown).await;
    let own = loaded_by(&grown, 1).await;
    let leaver = grown.nodes[1].take().expect("it runs");
    leaver.signal(Signal::SIGTERM);
    let sent = until("some of it is sent", async || {
        let sent = kept(&grown, 0).await + kept(&grown, 2).await;
        if sent > 20.0 { Ok(sent) } else { Err(sent) }
    })
    .await;
    // Not before: what it asks for would be sent first.
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(500).await;
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = "stopped at once by a second SIGTERM";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    shared_out(&grown, 2).await;
    load.go_on_for(1_000).await;
    load.stop().await.assert_none_failed();
    let before = loaded(&grown).await;
    ask_for_big(&grown).await;
    let again = loaded(&grown).await - before;
    assert!(
        again > 0.0 && again <= own - sent,
        "{again} of {own}, {sent} sent"
    );
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_while_partitions_move_to_and_fro() {
    let folder = tempfile::tempdir().expect("the machine has room for files");
    let postgres = Postgres::start(folder.path(), &[], None);
    postgres.sql(&rows());
    let mut grown = Grown::new(3);
    grown.origin = postgres.url().to_owned();
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    grown.front();
    shared_out(&grown, 3).await;
    let versions = Versions::over(&grown, &postgres).await;
    versions.go_on_for(3).await;
    let fourth = grown.another();
    for _ in 0..3 {
        grown.run(fourth);
        shared_out(&grown, 4).await;
        versions.go_on_for(3).await;
        let leaver = grown.nodes[fourth].take().expect("it runs");
        leaver.signal(Signal::SIGTERM);
        let ended = leaver.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        versions.go_on_for(3).await;
    }
    // A member that dies in the middle of it, and one that freezes.
    grown.run(fourth);
    versions.go_on_for(1).await;
    grown.kill(&[fourth]);
    versions.go_on_for(5).await;
    grown.run(fourth);
    let frozen = grown.process(0);
    frozen.signal(Signal::SIGSTOP);
    // The others take over.
    versions.go_on_for(1).await;
    frozen.signal(Signal::SIGCONT);
    versions.go_on_for(5).await;
    versions.assert_kept().await;
}
