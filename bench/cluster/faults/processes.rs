//! The processes, what is asked of them, and waiting for what is to come.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::Instant;

/// Longer than anything here takes; reached only if it never happens.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How long one HTTP request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

const GCACHE: &str = env!("CARGO_BIN_EXE_gcache");

/// Processes that are killed when it is dropped.
pub(crate) struct Processes<'a> {
    folder: &'a Path,
    pub(crate) seeds: String,
    pub(crate) nodes: Vec<Option<Child>>,
    frontends: Vec<Child>,
}

pub(crate) fn node_host(node: usize) -> String {
    format!("127.0.8.{}", node + 1)
}

pub(crate) fn http(frontend: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 7, frontend as u8 + 1], 9999))
}

fn admin(frontend: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 7, frontend as u8 + 1], 2112))
}

impl<'a> Processes<'a> {
    /// So many nodes, none of which is started; the first three are the seeds.
    pub(crate) fn new(folder: &'a Path, nodes: usize) -> anyhow::Result<Self> {
        let group =
            "[groups.bench]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '60s'\n";
        std::fs::write(folder.join("groups.toml"), group)?;
        let rows = (0..1_000).map(|n| format!("{{\"k\":\"{n}\",\"v\":\"{n}\"}}\n"));
        std::fs::write(folder.join("rows.jsonl"), rows.collect::<String>())?;
        let seeds: Vec<_> = (0..nodes.min(3)).map(node_host).collect();
        Ok(Self {
            folder,
            seeds: seeds.join(","),
            nodes: (0..nodes).map(|_| None).collect(),
            frontends: Vec::new(),
        })
    }

    fn spawn(&self, name: &str, args: &[&str]) -> anyhow::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))?;
        Command::new(GCACHE)
            .args(args)
            .args(["--seeds", &self.seeds])
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))
    }

    pub(crate) fn start(&mut self, node: usize) -> anyhow::Result<()> {
        let (name, host) = (format!("n{}", node + 1), node_host(node));
        let args = ["node", "--id", &name, "--host", &host, "--data-dir", "data"];
        let child = self.spawn(
            &name,
            &[&args[..], &["--origin", "memory:rows.jsonl"]].concat(),
        )?;
        self.nodes[node] = Some(child);
        Ok(())
    }

    pub(crate) fn front(&mut self) -> anyhow::Result<()> {
        let number = self.frontends.len();
        let (name, host) = (format!("f{}", number + 1), http(number).ip().to_string());
        let child = self.spawn(&name, &["frontend", "--host", &host])?;
        self.frontends.push(child);
        Ok(())
    }

    pub(crate) fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let mut child = self.nodes[node].take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Runs an operator's command.
    pub(crate) fn operate(&self, args: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new(GCACHE)
            .args(args)
            .env("GCACHE_SEEDS", &self.seeds)
            .current_dir(self.folder)
            .output()?;
        Ok(output)
    }

    /// Runs one that must succeed.
    pub(crate) fn must(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.operate(args)?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn status(&self) -> anyhow::Result<Value> {
        let told = self.must(&["cluster", "status", "--json"])?;
        Ok(serde_json::from_str(&told)?)
    }

    /// The index of the node that leads.
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        let status = self.status()?;
        let name = status["leader"].as_str().context("somebody leads")?;
        Ok(name[1..].parse::<usize>()? - 1)
    }

    /// Waits until so many members are up and own their share, and three of them vote.
    pub(crate) fn complete(&self, nodes: usize) -> anyhow::Result<()> {
        let fair = 4096 / nodes as u64;
        until("the cluster is complete", || {
            let status = self.status()?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let is_well = |member: &Value| {
                let owned = member["partitions"].as_u64().unwrap_or(0);
                member["status"] == "up" && owned.abs_diff(fair) <= 1
            };
            let voters = members.iter().filter(|member| member["role"] != "learner");
            let is_complete = members.len() == nodes
                && members.iter().all(is_well)
                && voters.count() == nodes.min(3)
                && status["quorum"] == true;
            if !is_complete {
                bail!("{status}");
            }
            Ok(())
        })
    }

    /// Waits until a frontend answers for the group.
    pub(crate) fn serves(&self, frontend: usize) -> anyhow::Result<()> {
        until("a frontend serves", || {
            match ask(http(frontend), "GET", "/v1/bench/1")? {
                200 => Ok(()),
                other => bail!("{other}"),
            }
        })
    }

    /// Whether a frontend goes by this epoch, or a later one.
    pub(crate) fn goes_by(&self, frontend: usize, epoch: u64) -> anyhow::Result<bool> {
        let text = exchange(admin(frontend), "GET", "/readyz?verbose")?;
        let known = text.split("epoch ").nth(1);
        let digits: String = known
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        Ok(digits.parse::<u64>().is_ok_and(|known| known >= epoch))
    }

    /// The processor time that all processes have used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let all = self.nodes.iter().flatten().chain(&self.frontends);
        let mut sum = Duration::ZERO;
        for child in all {
            sum += used(child.id())?;
        }
        Ok(sum)
    }
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten().chain(&mut self.frontends) {
            // It may have ended by itself: then there is nothing to kill.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Waits: there are threads here and no runtime.
#[expect(
    clippy::disallowed_methods,
    reason = "every thread here is its own, and nothing else runs on it"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until `look` succeeds.
pub(crate) fn until<T>(claim: &str, look: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if began.elapsed() > PATIENCE => return Err(seen.context(claim.to_owned())),
            Err(_) => pause(PAUSE),
        }
    }
}

/// The status of an answer.
pub(crate) fn ask(server: SocketAddr, method: &str, path: &str) -> anyhow::Result<u16> {
    let text = exchange(server, method, path)?;
    let status = text.split(' ').nth(1).context("an HTTP answer")?;
    Ok(status.parse()?)
}

fn exchange(server: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The unit of processor time in /proc: Linux's USER_HZ is 100 wherever this runs.
const TICK_MS: u64 = 10;

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
