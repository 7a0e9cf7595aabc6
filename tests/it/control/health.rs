//! What processes say of themselves where something is missing: a topology, a leader, or a reader of the log.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::control::logs;
use crate::harness::grown::Grown;
use crate::harness::metrics;
use crate::testkit::http::{ask, get};
use crate::testkit::process::{GCACHE, Process, Start};
use crate::testkit::wait::until;

#[tokio::test]
async fn a_frontend_without_a_topology_answers_503_and_names_its_seeds() {
    let mut grown = Grown::new(1);
    grown.front();
    let http = grown.http(0);
    until("it listens", async || grown.readiness(0).await.map(drop)).await;
    for (method, path) in [
        ("GET", "/v1/scores/Tom"),
        ("DELETE", "/v1/scores/Tom"),
        ("POST", "/v1/scores"),
    ] {
        let answer = ask(http, method, path).await;
        assert_eq!(answer.status, 503, "{method}: {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{method}");
        assert!(answer.text().contains("no-topology"), "{answer:?}");
    }
    assert_eq!(get(http, "/readyz").await.status, 503);
    logs(&grown.frontends[0], "no node shows the topology").await;
    let seed = grown.hosts[0].to_string();
    assert!(grown.frontends[0].stderr().contains(&seed));
}

#[tokio::test]
async fn two_sigterms_at_once_are_one() {
    let mut grown = Grown::start(3, 0).await;
    let leaver = grown.nodes[1].take().expect("it runs");
    leaver.signal(Signal::SIGTERM);
    leaver.signal(Signal::SIGTERM);
    let ended = leaver.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("left the ring"), "{}", ended.stderr);
}

#[tokio::test]
async fn without_a_quorum_status_says_so_at_once_and_shows_the_newest_state() {
    let mut grown = Grown::start(3, 0).await;
    grown.write(
        "groups.toml",
        "[groups.scores]\ntable = 'scores'\nkey = 'name'\nvalue = 'score'\nttl = '60s'\n",
    );
    let whole = grown.json(&["cluster", "status"]).await;
    assert_eq!(whole["may_be_old"], serde_json::Value::Null);
    assert_eq!(whole["may_lose"]["voters"], 1, "{whole}");
    grown.kill(&[1, 2]);
    let leaderless = async || {
        let began = Instant::now();
        let ended = grown.operate(&["cluster", "status"]).await;
        let said = ended.stdout.starts_with("no leader: state as of epoch ");
        match said && ended.code == Some(1) {
            true => Ok((ended, began.elapsed())),
            false => Err(format!("{ended:?}")),
        }
    };
    let (ended, _) = until("status says that there is no leader", leaderless).await;
    assert!(ended.stdout.contains("the quorum is lost"), "{ended:?}");
    let (ended, took) = leaderless().await.expect("there is none");
    assert!(took < Duration::from_secs(1), "{took:?}: {ended:?}");
    assert_eq!(ended.stdout.matches(" false ").count(), 2, "{ended:?}");
    for command in [["group", "list"], ["ring", "show"]] {
        let ended = grown.operate(&command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.starts_with("no leader: "), "{ended:?}");
    }
    grown.kill(&[0]);
    let ended = grown.operate(&["cluster", "status"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no node answers at"), "{ended:?}");
}

/// Starts gcache where stderr is what `redirection` says, for a shell.
fn with_stderr(grown: &Grown, name: &str, redirection: &str, args: &[&str]) -> Process {
    let script = format!("exec \"$@\" {redirection}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", GCACHE]).args(args);
    let seeds = grown.seeds();
    let env = [("GCACHE_SEEDS", seeds.as_str())];
    Start::new(name, grown.folder()).env(&env).spawn(command)
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_lines_and_no_task() {
    for redirection in ["2>/dev/full", "2>broken", "2>&-"] {
        let mut grown = Grown::new(3);
        for node in 0..2 {
            grown.run(node);
        }
        // A pipe whose reader leaves after a line.
        let pipe = grown.folder().join("broken");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is there").success());
        let mut reader = Command::new("head").args(["-n", "1"]).arg(&pipe).spawn();
        let (at, data) = (
            grown.hosts[2].to_string(),
            grown.data[2].display().to_string(),
        );
        let place = ["node", "--id", "n3", "--host", &at, "--data-dir", &data];
        let args = [&place[..], &["--origin", "memory:rows.jsonl"]].concat();
        let third = with_stderr(&grown, "n3", redirection, &args);
        grown.nodes[2] = Some(third);
        grown.complete(3).await;
        // It goes on when its peers come and go.
        grown.kill(&[0]);
        grown.run(0);
        grown.complete(3).await;
        let admin = grown.node_admin(2);
        let lost = metrics::sum(admin, "gcache_process_lost_lines_total", &[]).await;
        // Where stderr is closed, lines go nowhere without an error.
        assert!(lost > 0.0 || redirection == "2>&-", "{redirection}: {lost}");
        let third = grown.nodes[2].take().expect("it runs");
        third.signal(Signal::SIGTERM);
        assert_eq!(third.ended().await.code, Some(0), "{redirection}");
        let reader = reader.as_mut().expect("it was started");
        let _over = reader.kill();
        reader.wait().expect("it was started");
    }
}

#[tokio::test]
async fn every_role_reads_its_seeds_from_the_environment() {
    let mut grown = Grown::new(1);
    grown.run(0);
    let at = grown.place.frontend(0).to_string();
    let frontend = with_stderr(&grown, "f1", "", &["frontend", "--host", &at]);
    grown.frontends.push(frontend);
    grown.ready(0).await;
}
