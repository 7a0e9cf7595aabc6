//! Clusters whose network is cut: who is cut off says so and acknowledges nothing, the others go on, and
//! afterwards there is one history.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::setup::group;
use crate::harness::versions::{Versions, rows};
use crate::testkit::network::HUB;
use crate::testkit::postgres::Postgres;
use crate::testkit::process::Ended;
use crate::testkit::wait::until;

/// Three nodes and frontends on hosts of their own, which serve `scores` from a PostgreSQL that all reach.
struct Parted {
    grown: Grown,
    postgres: Postgres,
    _folder: TempDir,
}

impl Parted {
    async fn start(frontends: usize, rows: &str) -> Self {
        let mut grown = Grown::apart(3, frontends);
        let folder = tempfile::tempdir().expect("the machine has room for files");
        let postgres = Postgres::start(folder.path(), &["listen_addresses=*"], None);
        postgres.sql(rows);
        grown.origin = postgres.url().replace("127.0.0.1", &HUB.to_string());
        for node in 0..3 {
            grown.run(node);
        }
        for _ in 0..frontends {
            grown.front();
        }
        grown.complete(3).await;
        grown.write("groups.toml", &group("scores", "ttl = '60s'"));
        grown.json(&["group", "apply", "groups.toml"]).await;
        for frontend in 0..frontends {
            grown.ready(frontend).await;
        }
        Self {
            grown,
            postgres,
            _folder: folder,
        }
    }

    fn versions(&self) -> Versions {
        let frontends = 0..self.grown.frontends.len();
        let frontends: Vec<_> = frontends.map(|index| self.grown.http(index)).collect();
        Versions::start(self.postgres.url(), &frontends)
    }

    fn others(&self, node: usize) -> Vec<Ipv4Addr> {
        let others = self.grown.hosts.iter().copied();
        let own = self.grown.hosts[node];
        others.filter(|host| *host != own).collect()
    }

    /// Runs an operator's command at these nodes alone.
    async fn at(&self, nodes: &[Ipv4Addr], args: &[&str]) -> Ended {
        let seeds: Vec<_> = nodes.iter().map(Ipv4Addr::to_string).collect();
        self.grown.operate_at(&seeds.join(","), args).await
    }
}

/// Which way to a node is cut, between it and the other nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Both,
    /// It hears nobody.
    Deaf,
    /// Nobody hears it.
    Mute,
}

/// Cuts one node off from the others for as long as it takes to be failed over, while all rows change.
///
/// One frontend reaches everybody. The other reaches that node alone, and goes on believing in it.
async fn a_cut_breaks_no_promise(cut: Cut, is_leader: bool) {
    let parted = Parted::start(2, &rows()).await;
    let grown = &parted.grown;
    let victim = (grown.leader().await + usize::from(!is_leader)) % 3;
    let versions = parted.versions();
    versions.go_on_for(5).await;
    let network = grown.network();
    let (own, others) = ([grown.hosts[victim]], parted.others(victim));
    match cut {
        Cut::Both => network.cut(&own, &others),
        Cut::Deaf => network.cut_one_way(&others, &own),
        Cut::Mute => network.cut_one_way(&own, &others),
    }
    network.cut(&[network.frontend(1)], &others);
    grown.tells(victim, "isolated").await;
    until("the others fail it over", async || {
        let status = parted.at(&others, &["cluster", "status", "--json"]).await;
        let told: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        match told["quorum"] == true && status.stdout.contains("\"down\"") {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
    versions.go_on_for(5).await;
    network.heal();
    grown.complete(3).await;
    versions.go_on_for(5).await;
    versions.assert_kept().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_breaks_no_promise() {
    a_cut_breaks_no_promise(Cut::Both, true).await;
}

#[tokio::test]
async fn a_leader_that_hears_nobody_breaks_no_promise() {
    a_cut_breaks_no_promise(Cut::Deaf, true).await;
}

#[tokio::test]
async fn a_leader_that_nobody_hears_breaks_no_promise() {
    a_cut_breaks_no_promise(Cut::Mute, true).await;
}

#[tokio::test]
async fn a_member_that_hears_nobody_breaks_no_promise() {
    a_cut_breaks_no_promise(Cut::Deaf, false).await;
}

#[tokio::test]
async fn a_member_that_nobody_hears_breaks_no_promise() {
    a_cut_breaks_no_promise(Cut::Mute, false).await;
}

/// The revisions of the groups, as these nodes' states have them.
async fn revisions(parted: &Parted, nodes: &[Ipv4Addr]) -> Result<Value, String> {
    let listed = parted.at(nodes, &["group", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout).map_err(|_| listed.stderr)?;
    Ok(listed["groups"].clone())
}

#[tokio::test]
async fn a_minority_with_a_frontend_is_read_and_not_written_and_joins_the_others_history() {
    const APART: usize = 1;
    let parted = Parted::start(2, &rows()).await;
    let grown = &parted.grown;
    let victim = (grown.leader().await + 1) % 3;
    let versions = parted.versions();
    versions.go_on_for(5).await;
    let network = grown.network();
    let (own, others) = ([grown.hosts[victim]], parted.others(victim));
    network.cut(
        &[&own[..], &[network.frontend(APART)]].concat(),
        &[&others[..], &[network.frontend(0)]].concat(),
    );
    grown.tells(victim, "isolated").await;
    // What its node acknowledged while its lease ran is over, and reads go on for all rows.
    let acknowledged = until("no acknowledgement is on its way any more", async || {
        let before = versions.acknowledged(APART);
        versions.go_on_for(3).await;
        let after = versions.acknowledged(APART);
        if before == after {
            Ok(after)
        } else {
            Err(after)
        }
    })
    .await;
    let isolated = versions.detailed(APART, "isolated");
    grown.write("other.toml", &group("teams", "ttl = '60s'"));
    let apply = ["group", "apply", "other.toml"];
    let refused = parted.at(&own, &apply);
    let (refused, ()) = tokio::join!(refused, versions.go_on_for(5));
    assert_eq!(versions.acknowledged(APART), acknowledged);
    assert!(versions.detailed(APART, "isolated") > isolated);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no quorum"), "{refused:?}");
    let applied = parted.at(&others, &apply).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    network.heal();
    grown.complete(3).await;
    // From here on nobody is isolated: whatever is read is what the majority acknowledged.
    versions.go_on_for(5).await;
    versions.assert_kept().await;
    let told = revisions(&parted, &others).await;
    let told = told.expect("the majority answers");
    assert_eq!(told[0]["name"], "scores");
    assert_eq!(
        (&told[0]["generation"], &told[1]["id"]),
        (&json!(1), &json!(2))
    );
    // Not as the leader has it: what the node that was apart has applied itself.
    grown.applies(victim, "teams", 1).await;
    grown.applies(victim, "scores", 1).await;
    for frontend in [0, APART] {
        until("the owner answers for the new group", async || {
            let answer = grown.get(frontend, "/v1/teams/key-1").await;
            match answer.status == 200 && !answer.cache_status().contains("detail=") {
                true => Ok(()),
                false => Err(answer),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_frontend_that_is_cut_off_with_two_of_six_nodes_fails_no_read() {
    let mut grown = Grown::apart(6, 1);
    for node in 0..6 {
        grown.run(node);
    }
    grown.front();
    grown.complete(6).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown.ready(0).await;
    let load = Load::start(&[grown.http(0)]);
    load.go_on_for(1_000).await;
    let network = grown.network();
    let own = [grown.hosts[4], grown.hosts[5], network.frontend(0)];
    network.cut(&own, &grown.hosts[..4]);
    // Owner, standby and whoever ranks first after them may all be lost, and not be known to be.
    load.go_on_for(2_000).await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(report.detailed("last-resort") > 0);
}
