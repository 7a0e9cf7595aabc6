//! What the control plane costs: three real nodes on this machine, on a disk that really syncs.
//!
//! `just bench-control [--commits N] [--folder DIR]` prints Markdown: how long a commit takes, as its
//! client sees it and as the leader does; what the disk takes for a sync alone; what idle nodes use of a
//! core; and how large the replicated state is.

mod cluster;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use gcache::ids::{ClusterId, Incarnation, NodeId};
use gcache::rpc::control_proto::EnterRequest;
use gcache::rpc::control_proto::control_client::ControlClient;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::topology::commands::{Agreed, COMMAND_VERSION, Command, Joiner, Resume, SetStatus};
use gcache::topology::model::member::{MemberStatus, Zone};
use gcache::topology::state::{Founding, State};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use self::cluster::{NODES, cpu, leader, metrics, start};
use crate::testkit::metrics::sum;
use crate::testkit::processes::Processes;

/// How long idle processes are watched.
const IDLE: Duration = Duration::from_secs(20);

/// Writes of the disk alone.
const SYNCS: usize = 500;

/// Bytes of each: as many as a commit writes, about.
const SYNC_BYTES: usize = 400;

/// Members of the state whose size is told.
const MEMBERS: u64 = 12;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many commands are committed, one after another
    #[arg(long, default_value_t = 2000)]
    commits: u64,
    /// Where the data directory is made: on the disk that is to be measured
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Said by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Measures all of it, and prints it.
///
/// # Errors
/// A process or the disk does not do what it should.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn measure(args: Args) -> anyhow::Result<()> {
    let Args {
        commits, folder, ..
    } = args;
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(folder).context("a folder on the disk")?;
    let mut report = String::from("# The control plane\n\n");
    report += &format!(
        "`just bench-control --commits {commits}` on {}.\n\n",
        machine()
    );
    report += "| ms | p50 | p90 | p99 | max |\n|---|---|---|---|---|\n";
    report += &row(
        "write and fdatasync, this disk alone",
        &syncs(folder.path())?,
    );

    let nodes = start(folder.path()).await?;
    let idle = idle(&nodes).await?;
    let leader = leader(&nodes).await?;
    let before = syncs_of(&nodes, leader)?;
    let took = commit(&nodes, leader, commits).await?;
    let synced = syncs_of(&nodes, leader)? - before;
    report += &row("commit, as its client sees it", &took);
    report += &leaders_view(&metrics(&nodes, leader)?);
    let after = self::idle(&nodes).await?;
    report += &format!(
        "\n| CPU of one core over {} s, % | n1 | n2 | n3 |\n|---|---|---|---|\n",
        IDLE.as_secs()
    );
    report += &format!("| idle | {} |\n", idle.join(" | "));
    report += &format!(
        "| idle, with a member that cannot be reached | {} |\n",
        after.join(" | ")
    );
    report += &format!("\nn{} leads; it synced {synced} batches. ", leader + 1);
    report += &format!(
        "The state of {MEMBERS} members has {} bytes.\n",
        state_bytes()?
    );
    crate::print(&report);
    Ok(())
}

/// How long this disk takes for an append that is synced.
fn syncs(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut file = File::create(folder.join("syncs"))?;
    let bytes = [1; SYNC_BYTES];
    let mut sync = || {
        let began = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    (0..SYNCS).map(|_| sync()).collect()
}

/// Batches that a node has written to its log and synced so far.
fn syncs_of(nodes: &Processes, node: usize) -> anyhow::Result<u64> {
    let text = metrics(nodes, node)?;
    Ok(sum(&text, "gcache_raft_synced_batches_total", &[]) as u64)
}

/// Commits so many commands through the leader, one after another, on one connection.
async fn commit(nodes: &Processes, leader: usize, commits: u64) -> anyhow::Result<Vec<Duration>> {
    let channel = Channel::from_shared(format!("http://{}", nodes.target(leader)))?;
    let mut client = ControlClient::new(channel.connect().await?);
    let mut absent = NodeId(0);
    let mut took = Vec::new();
    for incarnation in 1..=commits {
        let node = joiner("absent", incarnation);
        let command = match absent {
            NodeId(0) => Command::Join(node),
            id => Command::Resume(Resume { id, node }),
        };
        let request = EnterRequest {
            command: command.encode(),
            ..EnterRequest::default()
        };
        let began = Instant::now();
        let reply = client.enter(request).await?.into_inner();
        took.push(began.elapsed());
        match reply.outcome {
            Some(Outcome::Entered(entered)) => absent = NodeId(entered.node),
            other => bail!("commit {incarnation}: {other:?}"),
        }
    }
    Ok(took)
}

/// A member that nobody can reach: the address is one for documentation.
fn joiner(name: &str, incarnation: u64) -> Joiner {
    Joiner {
        name: name.into(),
        host: "192.0.2.1".into(),
        raft_port: 7000,
        grpc_port: 8001,
        admin_port: 2112,
        zone: Zone::new("default"),
        weight: 1,
        incarnation: Incarnation(incarnation),
        version: COMMAND_VERSION,
        settings: Agreed::ours(),
        nonce: 0,
        leaves_on_term: false,
    }
}

/// What each process uses of a core while nothing happens, in percent.
async fn idle(nodes: &Processes) -> anyhow::Result<Vec<String>> {
    let (began, before) = (Instant::now(), cpu(nodes)?);
    sleep(IDLE).await;
    let after = cpu(nodes)?;
    let elapsed = began.elapsed().as_secs_f64();
    let percent = |node: usize| {
        let used = after[node].saturating_sub(before[node]);
        format!("{:.2}", used.as_secs_f64() / elapsed * 100.0)
    };
    Ok((0..NODES).map(percent).collect())
}

/// The leader's own histogram: the bounds that so many of its commits are within.
fn leaders_view(metrics: &str) -> String {
    let bucket = |line: &str| -> Option<(f64, f64)> {
        let rest = line.strip_prefix("gcache_raft_commit_seconds_bucket{")?;
        let (labels, count) = rest.rsplit_once("} ")?;
        let bound = labels.rsplit_once("le=\"")?.1.trim_end_matches('"');
        Some((bound.parse().ok()?, count.parse().ok()?))
    };
    let buckets: Vec<_> = metrics.lines().filter_map(bucket).collect();
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    let within = |share: f64| {
        let bucket = buckets.iter().find(|(_, count)| *count >= all * share);
        bucket.map_or("?".into(), |(bound, _)| format!("≤ {}", bound * 1e3))
    };
    let shares = [0.5, 0.9, 0.99, 1.0].map(within);
    format!(
        "| commit, `gcache_raft_commit_seconds` of the leader | {} |\n",
        shares.join(" | ")
    )
}

fn row(name: &str, took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort();
    let at = |share: f64| {
        let index = (sorted.len() as f64 * share) as usize;
        let took = sorted.get(index.min(sorted.len().saturating_sub(1)));
        took.map_or("?".into(), |took| {
            format!("{:.2}", took.as_secs_f64() * 1e3)
        })
    };
    let shares = [0.5, 0.9, 0.99, 1.0].map(at);
    format!("| {name} | {} |\n", shares.join(" | "))
}

/// The encoded state of a cluster whose partitions are placed.
fn state_bytes() -> anyhow::Result<usize> {
    let mut state = State::found(Founding {
        cluster: ClusterId(1),
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: joiner("node-1", 1),
    });
    for number in 2..=MEMBERS {
        state.apply(&Command::Join(joiner(&format!("node-{number}"), 1)))?;
        state.apply(&Command::SetStatus(SetStatus {
            id: NodeId(number),
            status: MemberStatus::Up,
            incarnation: Incarnation(1),
        }))?;
        if let Some(plan) = state.plan_assign() {
            state.apply(&plan)?;
        }
    }
    Ok(state.encode().len())
}

fn machine() -> String {
    let said = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = said("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = said("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), Linux {}", kernel.trim())
}
