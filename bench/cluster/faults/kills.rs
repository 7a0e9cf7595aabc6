//! kill -9 of the leader, again and again, under reads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use super::cluster::{Cluster, ask, until};
use super::row;
use crate::testkit::wait::pause;

/// Keys that are read and deleted: every node owns some.
const KEYS: usize = 64;

/// Between two reads.
const READ_EVERY: Duration = Duration::from_millis(2);

/// What becomes of metadata writes, deletes and reads around each kill.
pub(crate) fn measure(kills: usize, folder: &TempDir) -> anyhow::Result<String> {
    let mut cluster = Cluster::new(folder.path(), 3);
    for node in 0..3 {
        cluster.run(node);
    }
    cluster.front();
    cluster.complete(3)?;
    cluster.must(&["group", "apply", "groups.toml"])?;
    cluster.serves(0)?;
    let (mut applied, mut deleted, mut reset) = (Vec::new(), Vec::new(), Vec::new());
    let (reads, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let http = cluster.http(0);
    let measured = thread::scope(|scope| {
        scope.spawn(|| {
            for key in (0..KEYS).cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let answer = ask(http, "GET", &format!("/v1/bench/{key}"));
                reads.fetch_add(1, Ordering::Relaxed);
                if !matches!(answer, Ok(200)) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                pause(READ_EVERY);
            }
        });
        let measured = (0..kills).try_for_each(|kill| {
            let took = one(&mut cluster, folder, kill)?;
            applied.push(took.applied);
            deleted.push(took.deleted);
            reset.extend(took.reset);
            anyhow::Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        measured
    });
    measured?;
    let mut told = row("leader killed: `group apply` done", &applied, "p95 ≤ 3");
    told += &row(
        "leader killed: every key's delete acknowledged",
        &deleted,
        "≤ 6",
    );
    told += &row("leader killed: `group reset` acknowledged", &reset, "≤ 6");
    told += &format!(
        "\n{} GETs meanwhile, {} of them failed (goal 0).\n\n",
        reads.into_inner(),
        failed.into_inner()
    );
    Ok(told)
}

/// How long after one kill.
struct Took {
    applied: Duration,
    deleted: Duration,
    reset: Option<Duration>,
}

fn one(cluster: &mut Cluster, folder: &TempDir, kill: usize) -> anyhow::Result<Took> {
    let leader = cluster.leader()?;
    // Another time to live each time, so that there is something to apply.
    let groups = format!(
        "[groups.bench]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '{}s'\n",
        61 + kill
    );
    std::fs::write(folder.path().join("groups.toml"), groups)?;
    let before = revision(cluster)?;
    cluster.kill(&[leader]);
    let began = Instant::now();
    let (applied, deleted, reset) = thread::scope(|scope| {
        let (cluster, http) = (&*cluster, cluster.http(0));
        let deleting = scope.spawn(move || deletes_go_on(http).map(|()| began.elapsed()));
        // A reset after every other kill: else it would wait behind what is applied.
        let resetting = (kill % 2 == 1).then(|| {
            scope.spawn(move || acknowledged(cluster, &["group", "reset", "bench"], began))
        });
        let applied = committed(cluster, began, before);
        let deleted = deleting.join().expect("it does not panic");
        let reset = resetting.map(|reset| reset.join().expect("it does not panic"));
        (applied, deleted, reset)
    });
    cluster.run(leader);
    cluster.complete(3)?;
    Ok(Took {
        applied: applied?,
        deleted: deleted?,
        reset: reset.transpose()?,
    })
}

/// How long after `began` a command succeeds.
fn acknowledged(cluster: &Cluster, args: &[&str], began: Instant) -> anyhow::Result<Duration> {
    until("a command is done", || cluster.must(args))?;
    Ok(began.elapsed())
}

/// How long after `began` the groups are another revision: that is when a metadata write was accepted.
/// The command itself returns once all nodes are known to have applied it.
fn committed(cluster: &Cluster, began: Instant, before: u64) -> anyhow::Result<Duration> {
    thread::scope(|scope| {
        let applying =
            scope.spawn(|| acknowledged(cluster, &["group", "apply", "groups.toml"], began));
        let seen = until("a revision is committed", || {
            let now = revision(cluster)?;
            if now == before {
                bail!("still revision {now}");
            }
            Ok(began.elapsed())
        });
        applying.join().expect("it does not panic")?;
        seen
    })
}

fn revision(cluster: &Cluster) -> anyhow::Result<u64> {
    let told = cluster.must(&["group", "list", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told["revision"].as_u64().context("a revision")
}

/// Waits until the deletes of all keys are acknowledged.
fn deletes_go_on(http: SocketAddr) -> anyhow::Result<()> {
    for key in 0..KEYS {
        until("a delete is acknowledged", || {
            match ask(http, "DELETE", &format!("/v1/bench/{key}"))? {
                204 => Ok(()),
                other => bail!("{other}"),
            }
        })?;
    }
    Ok(())
}
