//! A PostgreSQL of our own, as far away as a database in the next building.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::place::DATABASE;
use crate::process::{children, used};
use crate::relay::Relay;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
const PASSWORD: &str = "gcache";

/// What the way to it and back takes on top of the machine's own.
pub(crate) const ADDED: Duration = Duration::from_millis(5);

/// The size of every value.
pub(crate) const VALUE_BYTES: u64 = 200;

/// Enough for twelve nodes with the default of eight, and the superuser.
const MAX_CONNECTIONS: &str = "max_connections=200";

/// A running server with the rows, and the relay that nodes go through.
pub(crate) struct Origin {
    script: Child,
    /// The server ends when it is closed.
    stdin: Option<ChildStdin>,
    /// The first process of the server.
    server: u32,
    relay: Relay,
}

impl Origin {
    /// Starts one with this many rows, whose keys are 1 and up, and its relay at an address. Its files go into
    /// `folder`.
    pub(crate) fn start(folder: &Path, keys: u64, relay: Ipv4Addr) -> anyhow::Result<Self> {
        // Where this runs as root, PostgreSQL does not.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
        let files = folder.join("postgres");
        let mut script = Command::new(SCRIPT)
            .args([
                "--until-eof",
                "--host",
                &DATABASE.to_string(),
                "--port",
                "0",
            ])
            .args(["--password", PASSWORD, "--dir"])
            .arg(&files)
            .args(["--", "-c", MAX_CONNECTIONS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("postgres.log"))?)
            .spawn()
            .context("starting tests/postgres")?;
        let stdin = script.stdin.take();
        let mut url = String::new();
        let stdout = script.stdout.take().context("it is piped")?;
        BufReader::new(stdout).read_line(&mut url)?;
        let Some(address) = address(url.trim_end()) else {
            bail!("PostgreSQL does not start: see tests/postgres --help");
        };
        let pid = std::fs::read_to_string(files.join("data/postmaster.pid"))?;
        let server = pid.lines().next().and_then(|line| line.parse().ok());
        let origin = Self {
            script,
            stdin,
            server: server.context("PostgreSQL writes its pid first")?,
            relay: Relay::start(relay, address, ADDED / 2)?,
        };
        fill(url.trim_end(), keys)?;
        Ok(origin)
    }

    /// Where nodes load from: through the relay.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres:{PASSWORD}@{}/postgres?sslmode=disable",
            self.relay.address()
        )
    }

    /// Its first process.
    pub(crate) fn server(&self) -> u32 {
        self.server
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _reaped = self.script.wait();
    }
}

/// The processor time of a server and its sessions that are open.
pub(crate) fn server_used(server: u32) -> Duration {
    let all = std::iter::once(server).chain(children(server));
    all.filter_map(used).sum()
}

fn address(url: &str) -> Option<SocketAddr> {
    let (_, place) = url.rsplit_once('@')?;
    place.split('/').next()?.parse().ok()
}

fn fill(url: &str, keys: u64) -> anyhow::Result<()> {
    let rows = format!(
        "create table rows (k bigint primary key, v text not null); \
         insert into rows select n, rpad(n::text, {VALUE_BYTES}, '.') from generate_series(1, {keys}) n; \
         analyze rows"
    );
    let output = Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", &rows, url])
        .stdin(Stdio::null())
        .output()
        .context("psql, which comes with PostgreSQL")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
