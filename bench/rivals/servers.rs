//! How each rival is configured and started. Every one gets the settings that serve it best, all of
//! the machine's cores, and addresses of its own.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{sleep, timeout};

use crate::client;
use crate::fill;
use crate::place::Place;
use crate::process::{Process, find};
use crate::testkit::address::{ADMIN, GRPC, HTTP};
use crate::testkit::process::GCACHE;
use crate::workload::{KEYS, key, path, value};

/// The kinds of address in a block.
mod kind {
    pub(super) const NODE: u8 = 1;
    pub(super) const FRONTEND: u8 = 2;
    pub(super) const MEMCACHED: u8 = 3;
    pub(super) const NGINX: u8 = 4;
    pub(super) const GROUPCACHE: u8 = 5;
    pub(super) const CEILING: u8 = 6;
    pub(super) const REDIS: u8 = 7;
    pub(super) const MADE_UP: u8 = 8;
}

/// The one group.
pub(crate) const GROUPS: &str = "[groups.rows]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\n\
                                 content_type = 'text/plain'\nttl = '1h'\n";

/// A rival that runs: where it is asked, and its processes.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) processes: Vec<Process>,
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether files and processes belong to root: then some servers want to be told that this is meant.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// One frontend and one node, with the defaults but for `set`.
pub(crate) async fn gcache(place: &Place, rows: &Path, set: &[&str]) -> anyhow::Result<Server> {
    let (node_host, frontend_host) = (place.host(kind::NODE, 1), place.host(kind::FRONTEND, 1));
    let groups = place.write("groups.toml", GROUPS)?;
    let host = node_host.to_string();
    let mut common = vec!["--seeds", &host];
    common.extend(set.iter().flat_map(|set| ["--set", set]));
    let origin = format!("memory:{}", rows.display());
    // A new cluster each time, so that nothing waits for leases of an earlier one.
    let data = tempfile::tempdir_in(place.folder())?.keep();
    let data = data.display().to_string();
    let own = [
        "node",
        "--id",
        "node-1",
        "--host",
        &host,
        "--origin",
        &origin,
        "--data-dir",
        &data,
    ];
    let mut node = Process::start(place, "gcache node", GCACHE, &[&own[..], &common].concat())?;
    node.listens(place.address(kind::NODE, 1, GRPC)).await?;
    apply(&host, &groups)?;
    let host = frontend_host.to_string();
    let own = ["frontend", "--host", &host];
    let mut frontend = Process::start(
        place,
        "gcache frontend",
        GCACHE,
        &[&own[..], &common].concat(),
    )?;
    let address = place.address(kind::FRONTEND, 1, HTTP);
    frontend.listens(address).await?;
    Ok(Server {
        address,
        processes: vec![frontend, node],
    })
}

/// Makes the groups of a cluster with a node at `host` what `file` says, once it has a leader.
pub(crate) fn apply(host: &str, file: &Path) -> anyhow::Result<()> {
    let output = Command::new(GCACHE)
        .args(["group", "apply", "--seeds", host])
        .arg(file)
        .output()
        .context("gcache runs")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "gcache group apply: {said}");
    Ok(())
}

/// Waits until the frontend of [`gcache`] has reached the node, a moment after it listens.
pub(crate) async fn is_ready(server: &Server) -> anyhow::Result<()> {
    let asking = async {
        while client::get(server.address, "/readyz").await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let ready = timeout(Duration::from_secs(10), asking).await;
    ready.context("the frontend reaches the node")
}

/// Where the node of [`gcache`] tells its metrics.
pub(crate) fn node_admin(place: &Place) -> SocketAddr {
    place.address(kind::NODE, 1, ADMIN)
}

/// Where the node of [`gcache`] speaks gRPC.
pub(crate) fn node_address(place: &Place) -> SocketAddr {
    place.address(kind::NODE, 1, GRPC)
}

/// A node whose rows cost no memory: this executable, with the library's node in it.
pub(crate) async fn made_up_node(place: &Place) -> anyhow::Result<Server> {
    let address = place.address(kind::MADE_UP, 1, GRPC);
    own(place, "gcache node", "--serve-node", address).await
}

/// memcached with a thread per core, and more room than is needed.
pub(crate) async fn memcached(place: &Place) -> anyhow::Result<Server> {
    let address = place.address(kind::MEMCACHED, 1, 11211);
    let (host, threads) = (address.ip().to_string(), cores().to_string());
    let mut args = vec!["-l", &host, "-p", "11211", "-U", "0", "-m", "4096"];
    args.extend(["-c", "4096", "-t", &threads]);
    if is_root() {
        args.extend(["-u", "root"]);
    }
    let mut process = Process::start(place, "memcached", "memcached", &args)?;
    process.listens(address).await?;
    Ok(Server {
        address,
        processes: vec![process],
    })
}

/// nginx with so many workers, and memcached behind it, filled.
pub(crate) async fn nginx(place: &Place, workers: usize) -> anyhow::Result<Server> {
    let behind = memcached(place).await?;
    let rows = (0..KEYS).map(|index| {
        let key = key(index);
        (path(&key), value(&key))
    });
    fill::memcached(behind.address, rows)?;
    let address = place.address(kind::NGINX, 1, 8080);
    let dir = place.folder().display().to_string();
    let user = if is_root() { "user root;" } else { "" };
    let config = include_str!("nginx.conf")
        .replace("@USER@", user)
        .replace("@WORKERS@", &workers.to_string())
        .replace("@DIR@", &dir)
        .replace("@MEMCACHED@", &behind.address.to_string())
        .replace("@LISTEN@", &address.to_string());
    let config = place.write("nginx.conf", &config)?.display().to_string();
    let errors = format!("{dir}/nginx.error.log");
    let args = ["-p", &dir, "-c", &config, "-e", &errors];
    let mut process = Process::start(place, "nginx", "nginx", &args)?;
    process.listens(address).await?;
    let mut processes = vec![process];
    processes.extend(behind.processes);
    Ok(Server { address, processes })
}

/// Two peers of groupcache, each with all of the machine's cores, as Go does by default. All requests
/// go to the first, which asks the second for the keys that are not its own; its hot cache keeps a
/// tenth of those answers for good, so that it soon has nearly all popular keys itself.
pub(crate) async fn groupcache(
    place: &Place,
    rows: &Path,
    latency: &str,
) -> anyhow::Result<Server> {
    let executable = build_groupcache(place)?.display().to_string();
    let addresses = [1, 2].map(|index| place.address(kind::GROUPCACHE, index, 8080));
    let names = addresses.map(|address| address.to_string());
    let (peers, rows) = (names.join(","), rows.display().to_string());
    let mut processes = Vec::new();
    for ((self_name, address), name) in names.iter().zip(addresses).zip(["peer 1", "peer 2"]) {
        let args = [
            "-self", self_name, "-peers", &peers, "-rows", &rows, "-latency", latency,
        ];
        let mut process = Process::start(place, name, &executable, &args)?;
        process.listens(address).await?;
        processes.push(process);
    }
    Ok(Server {
        address: addresses[0],
        processes,
    })
}

/// Where the peers of [`groupcache`] tell how many loads they made.
pub(crate) fn groupcache_peers(place: &Place) -> [SocketAddr; 2] {
    [1, 2].map(|index| place.address(kind::GROUPCACHE, index, 8080))
}

fn build_groupcache(place: &Place) -> anyhow::Result<PathBuf> {
    let executable = place.folder().join("groupcache");
    if executable.exists() {
        return Ok(executable);
    }
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/bench/rivals/groupcache/main.go"
    );
    let built = Command::new(find("go")?)
        .args(["build", "-o"])
        .arg(&executable)
        .arg(source)
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache"))
        .output()
        .context("go runs")?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(
        built.status.success(),
        "groupcache does not build: is golang-github-golang-groupcache-dev installed?\n{said}"
    );
    Ok(executable)
}

/// The ceiling: this executable as an HTTP server that answers a constant.
pub(crate) async fn ceiling(place: &Place) -> anyhow::Result<Server> {
    let address = place.address(kind::CEILING, 1, 8080);
    own(place, "axum", "--serve-ceiling", address).await
}

/// This executable in another role.
async fn own(
    place: &Place,
    name: &'static str,
    role: &str,
    address: SocketAddr,
) -> anyhow::Result<Server> {
    let own = std::env::current_exe().context("this executable has a path")?;
    let (own, listen) = (own.display().to_string(), address.to_string());
    let mut process = Process::start(place, name, &own, &[role, &listen])?;
    process.listens(address).await?;
    Ok(Server {
        address,
        processes: vec![process],
    })
}

/// Redis that saves nothing.
pub(crate) async fn redis(place: &Place) -> anyhow::Result<Server> {
    let address = place.address(kind::REDIS, 1, 6379);
    let host = address.ip().to_string();
    let args = [
        "--bind",
        &host,
        "--port",
        "6379",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        ".",
    ];
    let mut process = Process::start(place, "redis-server", "redis-server", &args)?;
    process.listens(address).await?;
    Ok(Server {
        address,
        processes: vec![process],
    })
}
