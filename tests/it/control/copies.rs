//! Groups of two copies: a lost node costs no hits, and no value comes back that was deleted.

use nix::sys::signal::Signal;

use crate::control::moves::{ask_for_all, shared_out};
use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::metrics::sum;
use crate::harness::setup::{ROWS, group, value};
use crate::testkit::http::ask;
use crate::testkit::wait::until;

/// Three nodes and a frontend, which serve `scores` with two copies.
async fn serving() -> Grown {
    let mut grown = Grown::new(3);
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    shared_out(&grown, 3).await;
    apply(&grown, 2).await;
    grown.ready(0).await;
    grown
}

async fn apply(grown: &Grown, copies: u8) {
    let more = format!("ttl = '10m'\nttl_jitter = 0.0\ncopies = {copies}");
    grown.write("groups.toml", &group("scores", &more));
    grown.json(&["group", "apply", "groups.toml"]).await;
}

async fn of(grown: &Grown, nodes: &[usize], metric: &str) -> f64 {
    let mut all = 0.0;
    for node in nodes {
        all += sum((grown.hosts[*node], 2112).into(), metric, &[]).await;
    }
    all
}

/// How many keys these nodes have asked the origin for.
async fn loaded(grown: &Grown, nodes: &[usize]) -> f64 {
    of(grown, nodes, "gcache_origin_loaded_keys_total").await
}

/// Waits until there is a copy of every row.
async fn copied(grown: &Grown) {
    until("there is a copy of every row", async || {
        let copies = of(grown, &[0, 1, 2], "gcache_cache_group_copied_entries").await;
        match copies >= ROWS as f64 {
            true => Ok(()),
            false => Err(format!("{copies}")),
        }
    })
    .await;
}

/// Deletes a key, whatever it takes, and says how often it was refused before.
async fn delete(grown: &Grown, row: usize) -> u64 {
    let mut refused = 0;
    let path = format!("/v1/scores/key-{row}");
    until(&format!("{path} is deleted"), async || {
        let answer = ask(grown.http(0), "DELETE", &path).await;
        match answer.status {
            204 => Ok(()),
            status => Err(format!("{status} {}", answer.text())),
        }
        .inspect_err(|_| refused += 1)
    })
    .await;
    refused
}

#[tokio::test]
async fn a_killed_node_costs_not_one_hit() {
    let mut grown = serving().await;
    ask_for_all(&grown).await;
    copied(&grown).await;
    let price = of(&grown, &[0, 1, 2], "gcache_cache_group_copied_bytes").await;
    let sent = of(&grown, &[0, 1, 2], "gcache_node_copied_bytes_total").await;
    assert!(
        price > sent && sent > ROWS as f64,
        "{price} kept, {sent} sent"
    );
    let explained = grown.json(&["ring", "explain", "scores", "key-1"]).await;
    let standby = &explained["members"][1];
    assert_eq!(standby["how"], "a copy of the owner's", "{explained}");
    assert_eq!(standby["stamps"], "valid", "{explained}");
    let before = loaded(&grown, &[0, 2]).await;
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(300).await;
    grown.kill(&[1]);
    // At once the standbys answer, and then own.
    ask_for_all(&grown).await;
    assert_eq!(loaded(&grown, &[0, 2]).await, before);
    shared_out(&grown, 2).await;
    ask_for_all(&grown).await;
    load.go_on_for(300).await;
    load.stop().await.assert_none_failed();
    assert_eq!(loaded(&grown, &[0, 2]).await, before);
}

#[tokio::test]
async fn what_was_deleted_is_not_there_when_the_standby_takes_over() {
    let mut grown = serving().await;
    ask_for_all(&grown).await;
    copied(&grown).await;
    for row in 0..100 {
        assert_eq!(delete(&grown, row).await, 0, "both are there");
    }
    let before = loaded(&grown, &[0, 2]).await;
    grown.kill(&[1]);
    for row in 0..100 {
        let answer = grown.get(0, &format!("/v1/scores/key-{row}")).await;
        assert_eq!((answer.status, answer.text()), (200, value(row)));
    }
    assert_eq!(
        loaded(&grown, &[0, 2]).await - before,
        100.0,
        "each was loaded again, and no copy was served"
    );
}

#[tokio::test]
async fn a_standby_that_does_not_hear_keeps_nobody_from_deleting_for_long() {
    let grown = serving().await;
    ask_for_all(&grown).await;
    copied(&grown).await;
    let frozen = grown.process(2);
    frozen.signal(Signal::SIGSTOP);
    for row in 0..50 {
        delete(&grown, row).await;
    }
    frozen.signal(Signal::SIGCONT);
    shared_out(&grown, 3).await;
    // What it has kept from before is of another time.
    let before = loaded(&grown, &[0, 1, 2]).await;
    for row in 0..50 {
        let answer = grown.get(0, &format!("/v1/scores/key-{row}")).await;
        assert_eq!((answer.status, answer.text()), (200, value(row)));
    }
    assert!(loaded(&grown, &[0, 1, 2]).await - before >= 50.0);
}

#[tokio::test]
async fn copies_are_kept_from_when_a_group_has_two_until_it_has_one() {
    let mut grown = serving().await;
    apply(&grown, 1).await;
    ask_for_all(&grown).await;
    let sent = of(&grown, &[0, 1, 2], "gcache_node_copied_bytes_total").await;
    assert_eq!(sent, 0.0, "nobody is to have copies");
    apply(&grown, 2).await;
    copied(&grown).await;
    apply(&grown, 1).await;
    let shown = grown.json(&["group", "show", "scores"]).await;
    assert_eq!(shown["copies"], 1, "{shown}");
    for row in 0..50 {
        delete(&grown, row).await;
    }
    apply(&grown, 2).await;
    let before = loaded(&grown, &[0, 2]).await;
    grown.kill(&[1]);
    for row in 0..50 {
        let answer = grown.get(0, &format!("/v1/scores/key-{row}")).await;
        assert_eq!((answer.status, answer.text()), (200, value(row)));
    }
    assert_eq!(loaded(&grown, &[0, 2]).await - before, 50.0);
}

/// Waits until the standby of every one of these rows has a copy that counts.
async fn all_copied(grown: &Grown, rows: std::ops::Range<usize>) {
    for row in rows {
        until(&format!("there is a copy of row {row}"), async || {
            let key = format!("key-{row}");
            let explained = grown.json(&["ring", "explain", "scores", &key]).await;
            let standby = &explained["members"][1];
            match standby["how"] == "a copy of the owner's" && standby["stamps"] == "valid" {
                true => Ok(()),
                false => Err(standby.to_string()),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn who_owned_before_and_stands_by_now_has_copies_too() {
    let mut grown = Grown::new(2);
    grown.run(0);
    grown.run(1);
    grown.front();
    shared_out(&grown, 2).await;
    apply(&grown, 2).await;
    grown.ready(0).await;
    let leaver = grown.nodes[1].take().expect("it runs");
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ask_for_all(&grown).await;
    // Each partition that moves is stood by for by whom it leaves: there is nobody else.
    grown.run(1);
    shared_out(&grown, 2).await;
    all_copied(&grown, 0..40).await;
}
