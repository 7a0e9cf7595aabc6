//! A steady load: connections that each ask for one key after the other, in a closed loop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::setup::{ROWS, value};
use crate::testkit::http::Connection;
use crate::testkit::wait::{in_time, until};

/// How many connections ask at once: enough to find a window in which a request would be lost.
const CONNECTIONS: usize = 32;

/// Failures that are kept to be shown.
const SHOWN: usize = 10;

/// What the load has seen.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    answers: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// Answers by the `detail` of their Cache-Status; those without have an empty one.
    details: Mutex<BTreeMap<String, u64>>,
}

/// A load that runs until it is stopped.
pub(crate) struct Load {
    seen: Arc<Seen>,
    connections: JoinSet<()>,
}

/// What became of a load's requests.
#[derive(Debug)]
pub(crate) struct Report {
    answers: u64,
    failed: u64,
    /// The first of them.
    failures: Vec<String>,
    details: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn assert_none_failed(&self) {
        let Self {
            answers,
            failed,
            failures,
            details,
        } = self;
        assert_eq!(
            *failed, 0,
            "beside {answers} answers ({details:?}); the first: {failures:#?}"
        );
    }

    /// How many answers had this detail.
    pub(crate) fn detailed(&self, detail: &str) -> u64 {
        self.details.get(detail).copied().unwrap_or(0)
    }
}

impl Load {
    /// Asks these frontends for the rows of the group `scores`, in turn.
    pub(crate) fn start(frontends: &[SocketAddr]) -> Self {
        let seen = Arc::new(Seen::default());
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            let frontend = frontends[number % frontends.len()];
            // Spread over the rows, so that every connection meets every owner.
            let first_row = number * ROWS / CONNECTIONS;
            connections.spawn(ask_on(frontend, first_row, Arc::clone(&seen)));
        }
        Self { seen, connections }
    }

    /// Waits until this many further requests have been answered or have failed.
    pub(crate) async fn go_on_for(&self, requests: u64) {
        let asked =
            || self.seen.answers.load(Ordering::Relaxed) + self.seen.failed.load(Ordering::Relaxed);
        let goal = asked() + requests;
        until("the load goes on", async || {
            if asked() >= goal {
                Ok(())
            } else {
                Err((asked(), goal))
            }
        })
        .await;
    }

    /// How many answers have had this detail so far.
    pub(crate) fn detailed(&self, detail: &str) -> u64 {
        self.seen.details.lock().get(detail).copied().unwrap_or(0)
    }

    /// Lets every request end, and tells.
    pub(crate) async fn stop(self) -> Report {
        self.seen.stop.store(true, Ordering::Relaxed);
        in_time("the load's last requests end", self.connections.join_all()).await;
        Report {
            answers: self.seen.answers.load(Ordering::Relaxed),
            failed: self.seen.failed.load(Ordering::Relaxed),
            failures: self.seen.failures.lock().clone(),
            details: self.seen.details.lock().clone(),
        }
    }
}

async fn ask_on(frontend: SocketAddr, first_row: usize, seen: Arc<Seen>) {
    let mut connection = None;
    for row in (0..ROWS).cycle().skip(first_row) {
        if seen.stop.load(Ordering::Relaxed) {
            return;
        }
        match ask(&mut connection, frontend, row).await {
            Ok(detail) => {
                *seen.details.lock().entry(detail).or_default() += 1;
                seen.answers.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                connection = None;
                seen.failed.fetch_add(1, Ordering::Relaxed);
                let mut failures = seen.failures.lock();
                if failures.len() < SHOWN {
                    failures.push(failure);
                }
            }
        }
    }
}

/// One request; the detail of its Cache-Status, or what was wrong with the answer.
async fn ask(
    connection: &mut Option<Connection>,
    frontend: SocketAddr,
    row: usize,
) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("key-{row} at {frontend}: {error}");
    let connection = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(frontend).await.map_err(fail)?),
    };
    let path = format!("/v1/scores/key-{row}");
    let answer = connection.ask("GET", &path).await.map_err(fail)?;
    if answer.status != 200 || answer.text() != value(row) {
        return Err(format!(
            "key-{row} at {frontend}: {} {answer:?}",
            answer.text()
        ));
    }
    let detail = answer
        .cache_status()
        .split_once("detail=")
        .map(|(_, detail)| detail);
    Ok(detail.unwrap_or_default().to_owned())
}
