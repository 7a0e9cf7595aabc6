//! A PostgreSQL server of the test's own with a `gcache dev` in front of it.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::dev::Dev;
use crate::testkit::http::{Answer, ask_raw, get, request};
use crate::testkit::postgres::{Postgres, Tls};

/// The two of them. The server outlives gcache.
pub(crate) struct Fronted {
    pub(crate) dev: Dev,
    pub(crate) postgres: Postgres,
    _folder: TempDir,
}

/// A server alone, with what `sql` creates in it.
pub(crate) fn server(sql: &str, settings: &[&str], tls: Option<Tls>) -> (TempDir, Postgres) {
    let folder = tempfile::tempdir().expect("the machine has room for files");
    let postgres = Postgres::start(folder.path(), settings, tls);
    postgres.sql(sql);
    (folder, postgres)
}

impl Fronted {
    /// A server with what `sql` creates in it, and a `gcache dev` of one node with these groups.
    pub(crate) async fn start(sql: &str, groups: &str, set: &[&str]) -> Self {
        let (folder, postgres) = server(sql, &[], None);
        let url = postgres.url().to_owned();
        Self::before(folder, postgres, &url, groups, set).await
    }

    /// A `gcache dev` in front of a server that may be down, which it is to find at `url`.
    pub(crate) async fn before(
        folder: TempDir,
        postgres: Postgres,
        url: &str,
        groups: &str,
        set: &[&str],
    ) -> Self {
        let dev = dev(&folder, url, groups, set, &[]).await;
        Self {
            dev,
            postgres,
            _folder: folder,
        }
    }

    /// Asks for one key, which is percent-encoded here.
    pub(crate) async fn get(&self, group: &str, key: &str) -> Answer {
        get(self.dev.http, &path(group, key)).await
    }

    /// Asks for many keys at once; gives a result for each, in their order.
    pub(crate) async fn get_many(&self, group: &str, keys: &[&str]) -> Vec<Value> {
        let body = json!({ "keys": keys }).to_string();
        let headers = [("content-type", "application/json")];
        let path = format!("/v1/{group}");
        let request = request("POST", &path, &headers, body.as_bytes());
        let answer = ask_raw(self.dev.http, &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let results = answer.json()["results"].take();
        results.as_array().expect("a result for each key").clone()
    }

    /// Statements that loaded keys, by PostgreSQL's own count. It counts those that succeeded.
    pub(crate) fn loads(&self) -> u64 {
        self.postgres.statements("SELECT q.k::%")
    }

    /// Connections of gcache, by PostgreSQL's own count.
    pub(crate) fn connections(&self) -> usize {
        let text = "select count(*) from pg_stat_activity where application_name = 'gcache'";
        let count = self.postgres.sql(text);
        count.parse().expect("a count is a number")
    }
}

/// A `gcache dev` of one node with the origin `url`, its groups in `folder`.
pub(crate) async fn dev(
    folder: &TempDir,
    url: &str,
    groups: &str,
    set: &[&str],
    env: &[(&str, &str)],
) -> Dev {
    let file = folder.path().join("groups.toml");
    std::fs::write(&file, groups).expect("the test's folder is writable");
    let file = file.to_str().expect("the folder's name is text");
    let mut args = vec!["--nodes", "1", "--origin", url, "--groups", file];
    args.extend(set.iter().flat_map(|set| ["--set", set]));
    Dev::start_in(env, &args).await
}

/// The path of a key, every byte of it percent-encoded.
pub(crate) fn path(group: &str, key: &str) -> String {
    let key: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/v1/{group}/{key}")
}

/// A group on a table.
pub(crate) fn table(name: &str, table: &str, key: &str, value: &str) -> String {
    format!(
        "[groups.{name}]\ntable = '{table}'\nkey_column = '{key}'\nvalue_column = '{value}'\n\
         ttl = '60s'\nerror_ttl = '100ms'\n"
    )
}

/// A group on a query.
pub(crate) fn query(name: &str, key_type: &str, query: &str) -> String {
    format!(
        "[groups.{name}]\nquery = '''{query}'''\nkey_type = '{key_type}'\n\
         ttl = '60s'\nerror_ttl = '100ms'\n"
    )
}
