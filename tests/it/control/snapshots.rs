//! The log stays short, and a snapshot takes the place of what it has lost.

use crate::harness::control::{Absent, Controlled};
use crate::harness::metrics;
use crate::testkit::wait::until;

/// The log's length after which a snapshot is taken: `SHORT`, what is kept before one, and what comes
/// while it is taken.
const LONGEST: f64 = 12.0;

const SHORT: [&str; 2] = ["raft.snapshot_entries=5", "raft.kept_entries=2"];

async fn commits(controlled: &Controlled, absent: &mut Absent, count: usize) {
    for _ in 0..count {
        controlled.commit(absent).await;
    }
}

#[tokio::test]
async fn the_log_stays_short_and_snapshots_take_its_place() {
    let mut controlled = Controlled::start(3, &SHORT).await;
    let mut absent = Absent::default();
    commits(&controlled, &mut absent, 30).await;
    let said = controlled.settled().await;
    Controlled::assert_kept(&said, &absent);
    assert!(said[0].commit > 30, "{said:#?}");
    for node in 0..3 {
        let entries = controlled.metric(node, "gcache_raft_log_entries").await;
        assert!(entries <= LONGEST, "{entries} entries on n{}", node + 1);
    }

    // Whoever was away when the log was cut gets a snapshot.
    let leader = controlled.leader().await;
    let late = (leader + 1) % 3;
    controlled.kill(&[late]);
    commits(&controlled, &mut absent, 30).await;
    let before = snapshots(&controlled, &controlled.running()).await;
    controlled.run(late);
    let said = controlled.settled().await;
    Controlled::assert_kept(&said, &absent);
    let claim = "a snapshot was delivered";
    until(claim, async || {
        let sent = snapshots(&controlled, &[leader, (leader + 2) % 3]).await;
        if sent > before { Ok(()) } else { Err(sent) }
    })
    .await;

    // All begin with a snapshot.
    controlled.kill(&[0, 1, 2]);
    controlled.run_all();
    let again = controlled.settled().await;
    Controlled::assert_kept(&again, &absent);
    for (said, again) in said.iter().zip(&again) {
        assert_eq!((said.node, &said.cluster), (again.node, &again.cluster));
        assert!(again.epoch >= said.epoch && again.commit >= said.commit);
    }
    commits(&controlled, &mut absent, 10).await;
}

/// Snapshots that these nodes have delivered.
async fn snapshots(controlled: &Controlled, nodes: &[usize]) -> f64 {
    let mut sent = 0.0;
    for &node in nodes {
        let admin = controlled.node_admin(node);
        let lane = [r#"lane="snapshot""#];
        sent += metrics::sum(admin, "gcache_raft_sent_messages_total", &lane).await;
    }
    sent
}

#[tokio::test]
async fn a_fourth_node_that_comes_after_the_log_was_cut_gets_the_state() {
    let mut controlled = Controlled::new(4, &SHORT);
    for node in 0..3 {
        controlled.run(node);
    }
    controlled.leader().await;
    let mut absent = Absent::default();
    commits(&controlled, &mut absent, 20).await;
    controlled.run(3);
    let said = controlled.settled().await;
    Controlled::assert_kept(&said, &absent);
}
