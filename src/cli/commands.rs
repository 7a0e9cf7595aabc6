//! The commands, one function each.

use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::timeout;

use super::args::{self, Url};
use super::control;
use super::failure::Failure;
use super::identity::address;
use super::print::write;
use super::setup::{Configured, bind, checked_groups, faults, origin, require};
use crate::admin::{self, Probe};
use crate::client::{Answer, ask, key_url};
use crate::clock::{Clock, unix_ms};
use crate::config::{Config, OriginUrl, SourceFile, read_groups};
use crate::metrics::Registry;
use crate::net::{BACKLOG, raise_open_files};
use crate::origin::Origin;
use crate::raft::latch::Root;
use crate::shutdown::{Shutdown, Signals};
use crate::telemetry::LostLines;
use crate::{dev, frontend, node};

/// The port of health where nobody chose another: then `--url` says so.
const ADMIN_PORT: u16 = 2112;

/// How long a node that starts waits for its origin before it joins.
const PREPARE_PATIENCE: Duration = Duration::from_secs(1);

/// What `dev` uses where nothing was given.
pub(super) const DEV_CONFIG: SourceFile<'_> = SourceFile {
    name: "config/dev.toml (built in)",
    text: include_str!("../../config/dev.toml"),
};
const DEV_GROUPS: SourceFile<'_> = SourceFile {
    name: "config/dev-groups.toml (built in)",
    text: include_str!("../../config/dev-groups.toml"),
};
const DEV_ROWS: &str = include_str!("../../config/dev.csv");
/// The table that [`DEV_GROUPS`] names.
const DEV_TABLE: &str = "dev";
/// A row of [`DEV_ROWS`], to try.
const DEV_SAMPLE: &str = "scores/Tom";

pub(super) async fn node(configured: Configured, is_founder: bool) -> Result<(), Failure> {
    let Configured { config, lost } = configured;
    require(&config, true)?;
    control::check(&config)?;
    let origin = origin(&config)?.expect("required above");
    let listener = bind(
        &config,
        config.node.grpc_port,
        "gRPC (--grpc-port)",
        BACKLOG,
    )?;
    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    let control = control::parts(&config, address.port(), is_founder)?;
    let (name, zone) = (control.own.name.clone(), control.own.zone.clone());
    let process = Process::begin(&config, &lost)?;
    tracing::info!(node = %name, %address, origin = %origin.describe(), "node started");
    process.registry.describe_process("node", zone.as_str());
    origin.register(&process.registry);
    prepare(&*origin).await;
    let (ready, leaver) = node::start(
        &config,
        node::Parts {
            place: node::Place::Agreed(Box::new(control)),
            listener,
            origin,
            registry: process.registry.clone(),
            clock: Clock::start(),
            shutdown: process.shutdown.clone(),
        },
    );
    process
        .run(&config, ready, leaver.leave(config.node.leave_timeout))
        .await
}

/// Lets the origin make ready before the node joins, so that the first callers do not wait until it has
/// logged in. An origin that is away keeps no node from starting.
async fn prepare(origin: &dyn Origin) {
    match timeout(PREPARE_PATIENCE, origin.prepare()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "origin is not ready"),
        Err(_) => tracing::warn!(patience = ?PREPARE_PATIENCE, "origin is not ready in time"),
    }
}

pub(super) async fn frontend(configured: Configured) -> Result<(), Failure> {
    let Configured { config, lost } = configured;
    require(&config, false)?;
    let listener = bind(
        &config,
        config.frontend.port,
        "HTTP (--port)",
        config.frontend.backlog,
    )?;
    let process = Process::begin(&config, &lost)?;
    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    tracing::info!(%address, "frontend started");
    process
        .registry
        .describe_process("frontend", config.process.zone());
    let ready = frontend::start(
        &config,
        frontend::Parts {
            listener,
            views: frontend::Views::Followed(config.cluster.seeds.clone()),
            registry: process.registry.clone(),
            clock: Clock::start(),
            shutdown: process.shutdown.clone(),
        },
    );
    process.run(&config, ready, async {}).await
}

/// What every long-running process has: metrics, the admin port, and an end.
struct Process {
    registry: Registry,
    admin: tokio::net::TcpListener,
    shutdown: Shutdown,
    signals: Signals,
}

impl Process {
    fn begin(config: &Config, lost: &LostLines) -> Result<Self, Failure> {
        raise_open_files();
        let signals = Signals::catch().map_err(anyhow::Error::from)?;
        let admin = bind(
            config,
            config.process.admin_port,
            "metrics (--admin-port)",
            BACKLOG,
        )?;
        let registry = Registry::new();
        lost.register(&registry);
        Ok(Self {
            registry,
            admin,
            shutdown: Shutdown::new(),
            signals,
        })
    }

    /// Serves the admin port until a signal, then leaves and ends every task within the grace.
    async fn run(
        self,
        config: &Config,
        ready: Probe,
        leave: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let Self {
            registry,
            admin,
            shutdown,
            signals,
        } = self;
        let serving = admin::run(admin, registry, ready, shutdown.clone());
        shutdown.spawn_critical("admin port", serving);
        end(config, signals, &shutdown, leave).await
    }
}

/// Waits for a signal, then until the process has left what it is part of, then for every task.
async fn end(
    config: &Config,
    mut signals: Signals,
    shutdown: &Shutdown,
    leave: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let is_asked = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "shutting down");
            true
        }
        () = shutdown.begun() => false,
    };
    let stopped = async {
        if is_asked {
            leave.await;
        }
        shutdown.finish(config.process.shutdown_grace).await
    };
    let ended = tokio::select! {
        ended = stopped => ended,
        again = signals.next() => {
            return Err(Failure::Failed(format!("stopped at once by a second {again}")));
        }
    };
    if ended {
        tracing::info!("stopped");
    } else {
        tracing::warn!(grace = ?config.process.shutdown_grace, "stopped with work in progress");
    }
    if let Some(failed) = shutdown.failure() {
        return Err(Failure::Failed(format!(
            "the process has stopped itself: {failed}"
        )));
    }
    if !is_asked {
        let why = "it cannot go on, as its log says";
        return Err(Failure::Failed(format!(
            "the process has stopped itself: {why}"
        )));
    }
    Ok(())
}

pub(super) async fn dev(
    nodes: u16,
    groups: Option<PathBuf>,
    configured: Configured,
) -> Result<(), Failure> {
    let Configured { config, lost } = configured;
    let own_groups = groups.map(|path| checked_groups(&config, &path));
    let (own_groups, own_origin) = (own_groups.transpose()?, origin(&config)?);
    let kept = config.cluster.data_dir.clone();
    let is_sample = own_groups.is_none() && own_origin.is_none();
    let groups = match own_groups {
        Some(groups) => groups,
        None if matches!(config.origin.url, Some(OriginUrl::Postgres(_))) => {
            // Those of an earlier start are still there, and the sample is in no database.
            let Some(true) = kept.as_deref().map(has_cluster).transpose()? else {
                let reason = "no group is known: give --groups FILE with groups of this database";
                return Err(Failure::Usage(reason.to_owned()));
            };
            Vec::new()
        }
        None => read_groups(DEV_GROUPS)?,
    };
    let origin = match own_origin {
        Some(origin) => origin,
        None => crate::origin::embedded(DEV_TABLE, DEV_ROWS, faults(&config.origin))
            .map_err(|error| Failure::Failed(error.to_string()))?,
    };
    raise_open_files();
    let mut signals = Signals::catch().map_err(anyhow::Error::from)?;
    let shutdown = Shutdown::new();
    let origin_name = origin.describe();
    let folder = Folder::of(kept)?;
    let parts = dev::Parts {
        nodes,
        origin,
        groups,
        data_dir: folder.path().to_owned(),
        at_unix_ms: unix_ms(),
        lost,
        shutdown: shutdown.clone(),
    };
    let started = tokio::select! {
        started = dev::start(&config, parts) => started.map(Some),
        _ = signals.next() => Ok(None),
        () = shutdown.begun() => Ok(None),
    };
    let Ok(Some(addresses)) = started else {
        // The logs are closed before their directory goes.
        shutdown.finish(config.process.shutdown_grace).await;
        return match shutdown.failure() {
            Some(failed) => Err(Failure::Failed(failed.to_string())),
            None => Ok(started.map(drop)?),
        };
    };
    let sample = is_sample.then_some(DEV_SAMPLE);
    let banner = dev::banner(&origin_name, &addresses, sample, &folder.to_string());
    write(banner.as_bytes(), false)?;
    end(&config, signals, &shutdown, async {}).await
}

/// Where the logs of a `dev` are.
enum Folder {
    Kept(PathBuf),
    /// Removed when this is dropped.
    Forgotten(tempfile::TempDir),
}

impl Folder {
    fn of(kept: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(kept) = kept {
            return Ok(Self::Kept(kept));
        }
        let made = tempfile::Builder::new().prefix("gcache-dev-").tempdir();
        made.map(Self::Forgotten).map_err(|error| {
            let place = std::env::temp_dir();
            let what = "cannot make a directory for the nodes' logs in";
            Failure::Failed(format!(
                "{what} {}: {error}; give --data-dir DIR",
                place.display()
            ))
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Forgotten(folder) => folder.path(),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::Kept(_) => write!(f, "{path}, kept"),
            Self::Forgotten(_) => {
                write!(f, "{path}, forgotten at the end: --data-dir DIR keeps it")
            }
        }
    }
}

/// Whether a cluster was founded in a data directory.
fn has_cluster(data_dir: &Path) -> Result<bool, Failure> {
    let cluster = Root::peek(data_dir).map_err(anyhow::Error::from)?;
    Ok(cluster.is_some())
}

pub(super) async fn get(args: args::Get) -> Result<(), Failure> {
    let answer = request(Method::GET, &args.url, &args.group, args.key.as_bytes(), "").await?;
    write(&answer.body, std::io::stdout().is_terminal())
}

pub(super) async fn del(args: args::Del) -> Result<(), Failure> {
    let query = if args.expire { "?expire" } else { "" };
    request(
        Method::DELETE,
        &args.url,
        &args.group,
        args.key.as_bytes(),
        query,
    )
    .await?;
    Ok(())
}

/// Asks a frontend about a key; any status but a success is a failure, in the frontend's words.
async fn request(
    method: Method,
    url: &Url,
    group: &str,
    key: &[u8],
    query: &str,
) -> Result<Answer, Failure> {
    let url = format!("{}{query}", key_url(&url.url, group, key));
    let answer = ask(method, &url).await.map_err(anyhow::Error::from)?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    Err(Failure::Failed(describe(&answer)))
}

/// Describes a problem in one line: the detail if there is one, else the title, and the status.
fn describe(answer: &Answer) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = ["detail", "title"]
        .iter()
        .find_map(|name| problem.get(name)?.as_str());
    let text = text.map_or_else(
        || String::from_utf8_lossy(&answer.body).trim().to_owned(),
        str::to_owned,
    );
    format!("{text} ({})", answer.status)
}

pub(super) async fn healthcheck(args: args::Healthcheck) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/livez" };
    let base = match args.host {
        Some(host) => format!(
            "http://{}",
            SocketAddr::new(address(host).await?, ADMIN_PORT)
        ),
        None => args.url,
    };
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let answer = ask(Method::GET, &url).await.map_err(anyhow::Error::from)?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    Err(Failure::Failed(describe(&answer)))
}
