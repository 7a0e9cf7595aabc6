//! Rows that change all the time, and whether anybody is told an older value than promised.
//!
//! A writer for each row counts its value up in PostgreSQL and deletes the key until that is acknowledged;
//! another one changes some rows of a group of their own, and resets that. Readers ask all frontends for all
//! rows. Whoever begins to read after an acknowledgement must not be told less than what was acknowledged,
//! unless the answer says that it may be old.
//!
//! A *history* is one change of one row: the acknowledgement, and the reads that begin after it until the
//! next. It counts once enough of them were answered, one at least by somebody who does not say that his
//! answer may be old.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::http::{Answer, Connection};
use crate::testkit::postgres::Postgres;
use crate::testkit::processes::Operator;
use crate::testkit::wait::{in_time, until};

/// Enough for each of a few nodes to own some.
const KEYS: usize = 12;

/// Rows that are reset, after those that are deleted.
const RESET_KEYS: usize = 6;

/// The group of the rows that are reset.
pub(crate) const RESET_GROUP: &str = "teams";

/// How many readers each frontend has.
const READERS: usize = 3;

/// Reads of a row between two of its changes, so that there are old values to be told.
const READS_BETWEEN: u32 = 8;

/// Wrong answers that are kept to be shown.
const SHOWN: usize = 10;

/// How many reads may be told that the nodes do not agree on an owner, at a frontend whose network was
/// cut: for the second after it heals, it may hear of owners whom it has not reached again yet, while all
/// that it reaches is a node that is behind. That is honest, and for no longer.
const UNSETTLED_MAX: u64 = 100;

/// What may be told with an older value.
const EXCUSED: [&str; 2] = ["isolated", "standby"];

/// The rows to start with.
pub(crate) fn rows() -> String {
    format!(
        "create table rows (k text primary key, v text); \
         insert into rows select 'key-' || n, '0' from generate_series(0, {}) n;",
        KEYS + RESET_KEYS - 1
    )
}

/// Writers and readers, until they are stopped.
pub(crate) struct Versions {
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    keys: Vec<Key>,
    /// Histories of rows that were deleted, and of rows that were reset.
    verified: [AtomicU64; 2],
    /// How often a network was mended.
    heals: AtomicU64,
    reads: AtomicU64,
    refused: AtomicU64,
    /// Reads that were told so at the frontends whose network was cut.
    unsettled: AtomicU64,
    failed: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    /// Answers by the frontend's index and the detail of their Cache-Status.
    details: Mutex<BTreeMap<(usize, String), u64>>,
    /// Acknowledged deletes by the frontend's index.
    acknowledged: Mutex<BTreeMap<usize, u64>>,
}

struct Key {
    /// The newest version whose delete was acknowledged.
    acknowledged: AtomicU64,
    /// A permit for each read that began after that. Closed at the end.
    reads: Semaphore,
    /// How many of these reads are excused by nothing.
    exact: AtomicU64,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            acknowledged: AtomicU64::new(0),
            reads: Semaphore::new(0),
            exact: AtomicU64::new(0),
        }
    }
}

impl Versions {
    /// Begins on `postgres`, where [`rows`] are, through the two frontends of `grown`, which get the group for
    /// that first.
    pub(crate) async fn over(grown: &Grown, postgres: &Postgres) -> Self {
        grown.write("groups.toml", &group("scores", "ttl = '60s'"));
        grown.json(&["group", "apply", "groups.toml"]).await;
        for frontend in 0..2 {
            grown.ready(frontend).await;
        }
        let frontends = [0, 1].map(|frontend| grown.http(frontend));
        Self::start(postgres.url(), &frontends)
    }

    /// Begins, on the PostgreSQL at `url`, where [`rows`] are, through all these frontends. The first is
    /// one that reaches the majority at all times.
    pub(crate) fn start(url: &str, frontends: &[SocketAddr]) -> Self {
        Self::begin(url, frontends, None)
    }

    /// The same, where the rows of [`RESET_GROUP`] change too, and `operator` resets it.
    pub(crate) fn with_resets(url: &str, frontends: &[SocketAddr], operator: Operator) -> Self {
        Self::begin(url, frontends, Some(operator))
    }

    fn begin(url: &str, frontends: &[SocketAddr], operator: Option<Operator>) -> Self {
        let keys = KEYS + operator.as_ref().map_or(0, |_| RESET_KEYS);
        let seen = Arc::new(Seen {
            keys: (0..keys).map(|_| Key::default()).collect(),
            ..Seen::default()
        });
        let mut tasks = JoinSet::new();
        let session = Arc::new(Mutex::new(Session::open(url)));
        if let Some(operator) = operator {
            let (seen, session) = (Arc::clone(&seen), Arc::clone(&session));
            tasks.spawn(reset(seen, session, operator));
        }
        for key in 0..KEYS {
            let (seen, session) = (Arc::clone(&seen), Arc::clone(&session));
            tasks.spawn(write(seen, session, key, frontends.to_vec()));
        }
        for (index, frontend) in frontends.iter().enumerate() {
            for reader in 0..READERS {
                let first = reader * keys / READERS;
                tasks.spawn(read(Arc::clone(&seen), (index, *frontend), first));
            }
        }
        Self { seen, tasks }
    }

    /// How many histories were verified so far: of deletes and of resets.
    pub(crate) fn verified(&self) -> [u64; 2] {
        [0, 1].map(|kind| self.seen.verified[kind].load(Ordering::Relaxed))
    }

    /// A network is mended now: for a moment, more frontends may not be settled.
    pub(crate) fn healed(&self) {
        self.seen.heals.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until this many further changes of every row that is deleted were acknowledged.
    pub(crate) async fn go_on_for(&self, changes: u64) {
        let all = || self.seen.keys.iter().take(KEYS).map(Key::version);
        let goals: Vec<_> = all().map(|version| version + changes).collect();
        until("changes of every row are acknowledged", async || {
            let is_there = all().zip(&goals).all(|(version, goal)| version >= *goal);
            match is_there {
                true => Ok(()),
                false => Err((all().collect::<Vec<_>>(), goals.clone())),
            }
        })
        .await;
    }

    /// How many answers of this frontend have had this detail so far.
    pub(crate) fn detailed(&self, frontend: usize, detail: &str) -> u64 {
        let details = self.seen.details.lock();
        let count = details.get(&(frontend, detail.to_owned()));
        count.copied().unwrap_or(0)
    }

    /// How many deletes through this frontend were acknowledged so far.
    pub(crate) fn acknowledged(&self, frontend: usize) -> u64 {
        let acknowledged = self.seen.acknowledged.lock();
        acknowledged.get(&frontend).copied().unwrap_or(0)
    }

    /// Ends it, and asserts that there was something to see, that nobody was told an older value than
    /// promised, and that no read failed.
    pub(crate) async fn assert_kept(self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        self.seen.keys.iter().for_each(|key| key.reads.close());
        let verified = self.verified();
        in_time("the last requests end", self.tasks.join_all()).await;
        let seen = &self.seen;
        let unsettled = seen.unsettled.load(Ordering::Relaxed);
        let told = format!(
            "{verified:?} histories, {} reads, {unsettled} unsettled, {:?}; acknowledged {:?}, refused {}",
            seen.reads.load(Ordering::Relaxed),
            seen.details.lock(),
            seen.acknowledged.lock(),
            seen.refused.load(Ordering::Relaxed)
        );
        show(&told);
        let wrong = seen.wrong.lock();
        assert!(wrong.is_empty(), "older than promised: {wrong:#?}; {told}");
        let heals = seen.heals.load(Ordering::Relaxed).max(1);
        assert!(unsettled <= UNSETTLED_MAX * heals, "{told}");
        let failed = seen.failed.lock();
        assert!(failed.is_empty(), "reads failed: {failed:#?}; {told}");
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner with a failure"
)]
fn show(told: &str) {
    eprintln!("{told}");
}

impl Key {
    fn version(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// From now on nobody may be told less than this.
    fn promise(&self, version: u64) {
        self.exact.store(0, Ordering::SeqCst);
        self.acknowledged.store(version, Ordering::SeqCst);
        // Only reads from now on count.
        self.reads.forget_permits(usize::MAX);
    }

    /// Waits until enough have read what was promised; none at the end. Whether one of them at least is
    /// excused by nothing.
    async fn was_read(&self) -> Option<bool> {
        let reads = self.reads.acquire_many(READS_BETWEEN).await.ok()?;
        reads.forget();
        Some(self.exact.load(Ordering::SeqCst) > 0)
    }
}

impl Seen {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn note(list: &Mutex<Vec<String>>, what: String) {
    let mut list = list.lock();
    if list.len() < SHOWN {
        list.push(what);
    }
}

async fn write(
    seen: Arc<Seen>,
    session: Arc<Mutex<Session>>,
    key: usize,
    frontends: Vec<SocketAddr>,
) {
    let path = path(key);
    let mut next = (0..frontends.len()).cycle().skip(key);
    for version in 1_u64.. {
        session.lock().ask(&change(key, version));
        loop {
            if seen.stops() {
                return;
            }
            let frontend = next.next().expect("it is a cycle");
            let answer = ask(&mut None, frontends[frontend], "DELETE", &path).await;
            if answer.is_ok_and(|answer| answer.status == 204) {
                *seen.acknowledged.lock().entry(frontend).or_default() += 1;
                break;
            }
            seen.refused.fetch_add(1, Ordering::Relaxed);
        }
        seen.keys[key].promise(version);
        let Some(is_exact) = seen.keys[key].was_read().await else {
            return;
        };
        seen.verified[0].fetch_add(u64::from(is_exact), Ordering::Relaxed);
    }
}

/// Changes the rows that are reset, and has them reset until that is acknowledged.
async fn reset(seen: Arc<Seen>, session: Arc<Mutex<Session>>, operator: Operator) {
    for version in 1_u64.. {
        for key in KEYS..seen.keys.len() {
            session.lock().ask(&change(key, version));
        }
        loop {
            let operator = operator.clone();
            let is_reset = move || {
                let reset = operator.run(&["group", "reset", RESET_GROUP]);
                reset.expect("it was built").status.success()
            };
            if tokio::task::spawn_blocking(is_reset)
                .await
                .expect("it does not panic")
            {
                break;
            }
            seen.refused.fetch_add(1, Ordering::Relaxed);
            if seen.stops() {
                return;
            }
        }
        seen.keys[KEYS..]
            .iter()
            .for_each(|key| key.promise(version));
        for key in KEYS..seen.keys.len() {
            let Some(is_exact) = seen.keys[key].was_read().await else {
                return;
            };
            seen.verified[1].fetch_add(u64::from(is_exact), Ordering::Relaxed);
        }
    }
}

/// The statement that makes a row this version.
fn change(key: usize, version: u64) -> String {
    format!("update rows set v = '{version}' where k = 'key-{key}' returning v;")
}

async fn read(seen: Arc<Seen>, (index, frontend): (usize, SocketAddr), first: usize) {
    let mut connection = None;
    for key in (0..seen.keys.len()).cycle().skip(first) {
        if seen.stops() {
            return;
        }
        let promised = seen.keys[key].version();
        let answer = match ask(&mut connection, frontend, "GET", &path(key)).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) if index > 0 && answer.text().contains("ownership-unsettled") => {
                seen.unsettled.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            other => {
                note(&seen.failed, format!("key-{key} at {frontend}: {other:?}"));
                connection = None;
                continue;
            }
        };
        seen.reads.fetch_add(1, Ordering::Relaxed);
        let detail = answer.cache_status().split_once("detail=");
        let detail = detail.map_or("", |(_, detail)| detail);
        let version: Option<u64> = answer.text().parse().ok();
        let is_excused = EXCUSED.contains(&detail);
        let known = &seen.keys[key];
        if known.version() == promised {
            known
                .exact
                .fetch_add(u64::from(!is_excused), Ordering::SeqCst);
            known.reads.add_permits(1);
        }
        if version.is_none_or(|version| version < promised) && !is_excused {
            let promised = format!("key-{key} at {frontend}: {promised} was promised");
            note(&seen.wrong, format!("{promised}: {answer:?}"));
        }
        let place = (index, detail.to_owned());
        *seen.details.lock().entry(place).or_default() += 1;
    }
}

fn path(key: usize) -> String {
    let group = if key < KEYS { "scores" } else { RESET_GROUP };
    format!("/v1/{group}/key-{key}")
}

async fn ask(
    connection: &mut Option<Connection>,
    frontend: SocketAddr,
    method: &str,
    path: &str,
) -> std::io::Result<Answer> {
    let exchange = async {
        let connection = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(frontend).await?),
        };
        connection.ask(method, path).await
    };
    in_time(&format!("{method} {path} at {frontend}"), exchange).await
}

/// A `psql` that is kept open: a statement costs no start of a process.
struct Session {
    psql: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    fn open(url: &str) -> Self {
        let mut psql = Command::new("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql is installed with PostgreSQL");
        let stdin = psql.stdin.take().expect("it is piped");
        let stdout = BufReader::new(psql.stdout.take().expect("it is piped"));
        Self {
            psql,
            stdin,
            stdout,
        }
    }

    /// Carries out a statement that gives one line.
    fn ask(&mut self, statement: &str) -> String {
        let mut line = String::new();
        writeln!(self.stdin, "{statement}").expect("psql takes a statement");
        let bytes = self.stdout.read_line(&mut line);
        assert!(bytes.is_ok_and(|bytes| bytes > 0), "psql: {statement}");
        line
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.psql.kill();
        let _reaped = self.psql.wait();
    }
}
