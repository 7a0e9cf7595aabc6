//! Thousands of histories: rows change, are deleted and are reset, while members join, leave, die and freeze
//! and links carry in one direction or in none. Nobody is told less than what was acknowledged, and no read
//! fails.
//!
//! `GCACHE_HISTORIES` says how many are to be verified: rounds of all faults go on until so many are.

use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::harness::versions::{RESET_GROUP, Versions, rows};
use crate::testkit::network::HUB;
use crate::testkit::postgres::Postgres;
use crate::testkit::wait::until;

/// Histories to verify, where nobody says how many.
const HISTORIES: u64 = 1_000;

/// Histories that are verified at least while one kind of thing happens.
const EACH_MIN: u64 = 50;

/// Histories of resets that there are at least in one round.
const RESETS_MIN: u64 = 50;

/// Nodes that are there from the start. One more comes and goes.
const NODES: usize = 3;

/// Changes of every row before and after each thing that happens.
const CHANGES: u64 = 4;

/// What happens to the cluster, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happening {
    Join,
    Leave,
    /// A member dies while partitions move to it.
    KilledNewcomer,
    Freeze(usize),
    /// A member hears nobody.
    Deaf(usize),
    /// Nobody hears a member.
    Mute(usize),
    /// Neither.
    CutOff(usize),
    Killed(usize),
}

use Happening::{CutOff, Deaf, Freeze, Join, Killed, KilledNewcomer, Leave, Mute};

/// Whoever is failed over owns nothing for some ten seconds: so another one each time.
const ROUND: [Happening; 8] = [
    Join,
    Leave,
    KilledNewcomer,
    Freeze(1),
    Deaf(2),
    Mute(0),
    CutOff(1),
    Killed(2),
];

/// Nodes and frontends on hosts of their own, over a PostgreSQL that all reach.
struct Stage {
    grown: Grown,
    versions: Versions,
    _postgres: Postgres,
    _folder: TempDir,
}

impl Stage {
    /// With groups of so many copies.
    async fn set(copies: u8) -> Self {
        let mut grown = Grown::apart(NODES + 1, 2);
        let folder = tempfile::tempdir().expect("the machine has room for files");
        let postgres = Postgres::start(folder.path(), &["listen_addresses=*"], None);
        postgres.sql(&rows());
        grown.origin = postgres.url().replace("127.0.0.1", &HUB.to_string());
        for node in 0..NODES {
            grown.run(node);
        }
        for _ in 0..2 {
            grown.front();
        }
        grown.complete(NODES).await;
        let more = format!("ttl = '60s'\ncopies = {copies}");
        let both = ["scores", RESET_GROUP].map(|name| group(name, &more));
        grown.write("groups.toml", &both.concat());
        grown.json(&["group", "apply", "groups.toml"]).await;
        for frontend in 0..2 {
            grown.ready(frontend).await;
        }
        let frontends = [grown.http(0), grown.http(1)];
        let versions = Versions::with_resets(postgres.url(), &frontends, grown.operator());
        Self {
            grown,
            versions,
            _postgres: postgres,
            _folder: folder,
        }
    }

    /// Waits until the members' statuses and shares are such.
    async fn members(&self, claim: &str, is_so: impl Fn(&[Value]) -> bool) {
        until(claim, async || {
            let ended = self.grown.operate(&["ring", "show", "--json"]).await;
            let ring: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
            let members = ring["members"].as_array().cloned().unwrap_or_default();
            match is_so(&members) {
                true => Ok(()),
                false => Err((members, ended.stderr)),
            }
        })
        .await;
    }

    async fn is(&self, node: usize, status: &str) {
        self.members(&format!("node {node} is {status}"), |members| {
            members
                .iter()
                .any(|it| it["name"] == name(node) && it["status"] == status)
        })
        .await;
    }

    /// Waits until this node owns something that can be lost or moved.
    async fn owns(&self, node: usize) {
        self.members(&format!("node {node} owns something"), |members| {
            let mut members = members.iter();
            members.any(|it| it["name"] == name(node) && it["partitions"].as_u64() > Some(0))
        })
        .await;
    }

    /// Everything that happens, with changes of all rows before, meanwhile and after.
    async fn happens(&mut self, happening: Happening) {
        match happening {
            Join => {
                self.grown.run(NODES);
                self.owns(NODES).await;
            }
            Leave => {
                let leaver = self.grown.nodes[NODES].take().expect("it has joined");
                leaver.signal(Signal::SIGTERM);
                let ended = leaver.ended().await;
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            }
            KilledNewcomer => {
                self.grown.run(NODES);
                self.is(NODES, "up").await;
                self.grown.kill(&[NODES]);
                self.is(NODES, "down").await;
            }
            Freeze(node) => {
                self.owns(node).await;
                self.signal(node, Signal::SIGSTOP);
                self.is(node, "down").await;
                self.versions.go_on_for(CHANGES).await;
                self.signal(node, Signal::SIGCONT);
                self.is(node, "up").await;
            }
            Killed(node) => {
                self.owns(node).await;
                self.grown.kill(&[node]);
                self.is(node, "down").await;
                self.versions.go_on_for(CHANGES).await;
                self.grown.run(node);
                self.is(node, "up").await;
            }
            Deaf(node) | Mute(node) | CutOff(node) => self.is_cut(happening, node).await,
        }
        self.versions.go_on_for(CHANGES).await;
    }

    /// Cuts a node off for as long as it takes to be failed over. One frontend reaches everybody; the other
    /// reaches that node alone, and goes on believing in it.
    async fn is_cut(&self, how: Happening, node: usize) {
        self.owns(node).await;
        let network = self.grown.network();
        let own = [self.grown.hosts[node]];
        let others: Vec<Ipv4Addr> = self
            .grown
            .hosts
            .iter()
            .copied()
            .filter(|host| *host != own[0])
            .collect();
        match how {
            Deaf(_) => network.cut_one_way(&others, &own),
            Mute(_) => network.cut_one_way(&own, &others),
            _ => network.cut(&own, &others),
        }
        network.cut(&[network.frontend(1)], &others);
        self.grown.tells(node, "isolated").await;
        self.is(node, "down").await;
        self.versions.go_on_for(CHANGES).await;
        network.heal();
        self.versions.healed();
        self.is(node, "up").await;
    }

    fn signal(&self, node: usize, signal: Signal) {
        let process = self.grown.process(node);
        process.signal(signal);
    }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

#[tokio::test]
async fn thousands_of_histories_keep_what_was_promised_whatever_happens() {
    keep_what_was_promised(1).await;
}

#[tokio::test]
async fn thousands_of_histories_of_two_copies_keep_what_was_promised_too() {
    keep_what_was_promised(2).await;
}

async fn keep_what_was_promised(copies: u8) {
    let goal = std::env::var("GCACHE_HISTORIES").ok();
    let goal = goal.map_or(HISTORIES, |goal| {
        goal.parse().expect("GCACHE_HISTORIES is a number")
    });
    let mut stage = Stage::set(copies).await;
    stage.versions.go_on_for(CHANGES).await;
    let mut told = Vec::new();
    while stage.versions.verified().iter().sum::<u64>() < goal || told.is_empty() {
        let resets = stage.versions.verified()[1];
        for happening in ROUND {
            let before: u64 = stage.versions.verified().iter().sum();
            stage.happens(happening).await;
            let verified = stage.versions.verified().iter().sum::<u64>() - before;
            assert!(
                verified >= EACH_MIN,
                "{verified} histories in {happening:?}"
            );
            told.push((happening, verified));
        }
        let resets = stage.versions.verified()[1] - resets;
        assert!(
            resets >= RESETS_MIN,
            "{resets} histories of resets; {told:?}"
        );
    }
    show(&format!("{told:?}"));
    stage.versions.assert_kept().await;
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner with a failure, and by just histories"
)]
fn show(told: &str) {
    eprintln!("{told}");
}
