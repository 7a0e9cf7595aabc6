//! Three node processes that form one cluster, and what the system and they themselves tell of them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gcache::rpc::control;
use gcache::rpc::control_proto::StatusReply;
use gcache::rpc::pipeline::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How many there are.
pub(crate) const NODES: usize = 3;

/// The unit of processor time in /proc: Linux's USER_HZ is 100 wherever this runs.
const TICK_MS: u64 = 10;

/// How long the nodes may take to become a cluster.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// The processes. They are killed when it is dropped.
pub(crate) struct Cluster {
    nodes: Vec<Child>,
}

/// Where a node is: 127.0.9.1 and up.
fn host(node: usize) -> String {
    format!("127.0.9.{}", node + 1)
}

/// The gRPC service of a node.
pub(crate) fn target(node: usize) -> Target {
    Target {
        host: host(node),
        port: 8001,
        from: std::net::Ipv4Addr::UNSPECIFIED.into(),
    }
}

impl Cluster {
    /// Starts them on a data directory in `folder`, and returns once they are a cluster at rest.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        std::fs::write(folder.join("rows.jsonl"), "{\"k\":\"a\",\"v\":\"b\"}\n")?;
        let mut cluster = Self { nodes: Vec::new() };
        for node in 0..NODES {
            cluster.nodes.push(spawn(folder, node)?);
        }
        let began = Instant::now();
        while !is_at_rest().await {
            ensure!(began.elapsed() < PATIENCE, "the nodes form no cluster");
            sleep(PAUSE).await;
        }
        Ok(cluster)
    }

    /// The processor time that each has used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Vec<Duration>> {
        self.nodes.iter().map(|node| used(node.id())).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended by itself: then there is nothing to kill.
            let _ended = node.kill();
            let _reaped = node.wait();
        }
    }
}

fn spawn(folder: &Path, node: usize) -> anyhow::Result<Child> {
    let (name, host) = (format!("n{}", node + 1), host(node));
    let log = File::create(folder.join(format!("{name}.log")))?;
    let args = ["node", "--id", &name, "--host", &host, "--data-dir", "data"];
    let seeds: Vec<_> = (0..NODES).map(self::host).collect();
    let seeds = seeds.join(",");
    Command::new(env!("CARGO_BIN_EXE_gcache"))
        .args(args)
        .args(["--seeds", &seeds, "--origin", "memory:rows.jsonl"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting a node")
}

/// Whether all have joined and vote, and agree on what they have applied.
async fn is_at_rest() -> bool {
    let mut said: Vec<StatusReply> = Vec::new();
    for node in 0..NODES {
        match control::status(&target(node), PATIENCE).await {
            Ok(status) => said.push(status),
            Err(_) => return false,
        }
    }
    let is_one = said.iter().all(|status| {
        let voters = status.members.iter();
        let voters = voters.filter(|m| m.role == "voter" && m.status == "up");
        voters.count() == NODES && status.leader != 0 && status.applied == said[0].applied
    });
    is_one && said[0].applied == said[0].commit
}

/// The index of the node that leads.
pub(crate) async fn leader() -> anyhow::Result<usize> {
    for node in 0..NODES {
        let status = control::status(&target(node), PATIENCE).await?;
        if status.leader == status.node && status.node != 0 {
            return Ok(node);
        }
    }
    bail!("nobody leads")
}

/// What a node tells on `/metrics`.
pub(crate) async fn metrics(node: usize) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((host(node), 2112)).await?;
    let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn used(process: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything: what counts comes behind it.
    let (_, rest) = text.rsplit_once(") ").context("a line of /proc")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let ticks = number(11)
        .zip(number(12))
        .map(|(user, system)| user + system);
    let ticks = ticks.context("the processor time of a process")?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}
