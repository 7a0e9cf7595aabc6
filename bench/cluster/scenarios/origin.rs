//! A PostgreSQL of our own, as far away as a database in the next building.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::relay::Relay;
use crate::testkit::postgres::Postgres;

/// What the way to it and back takes on top of the machine's own.
pub(crate) const ADDED: Duration = Duration::from_millis(5);

/// The size of every value.
pub(crate) const VALUE_BYTES: u64 = 200;

/// Enough for twelve nodes with the default of eight, and the superuser.
const MAX_CONNECTIONS: &str = "max_connections=200";

/// A running server with the rows, and the relay that nodes go through.
pub(crate) struct Origin {
    postgres: Postgres,
    relay: Relay,
}

impl Origin {
    /// Starts one with this many rows, whose keys are 1 and up, and its relay at an address. Its files go into
    /// `folder`. It panics where PostgreSQL does not start.
    pub(crate) fn start(folder: &Path, keys: u64, relay: Ipv4Addr) -> anyhow::Result<Self> {
        let postgres = Postgres::start(folder, &[MAX_CONNECTIONS], None);
        let port = postgres.port().parse().context("a port is a number")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let relay = Relay::start(relay, address, ADDED / 2)?;
        postgres.sql(&format!(
            "create table rows (k bigint primary key, v text not null); \
             insert into rows select n, rpad(n::text, {VALUE_BYTES}, '.') from generate_series(1, {keys}) n; \
             analyze rows"
        ));
        Ok(Self { postgres, relay })
    }

    /// Where nodes load from: through the relay.
    pub(crate) fn url(&self) -> String {
        let direct = self.postgres.url();
        let (account, _) = direct.rsplit_once('@').expect("the URL names the account");
        format!(
            "{account}@{}/postgres?sslmode=disable",
            self.relay.address()
        )
    }

    /// Its first process.
    pub(crate) fn server(&self) -> u32 {
        self.postgres.server().as_raw().unsigned_abs()
    }
}
