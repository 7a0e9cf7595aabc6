//! The admin port (2112) of every process: `/metrics`, `/livez`, `/readyz`.
//!
//! `/livez` says that the process turns; `/readyz` asks the role, which says in words what it lacks.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::http::{Limits, Reply, serve, text, with_type};
use crate::metrics::Registry;
use crate::shutdown::Shutdown;

/// Enough for a scraper, a load balancer and some operators.
const MAX_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_HEADER_BYTES: usize = 8192;

/// How often histograms are folded while nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What a role says of itself when asked whether it can serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// One line each for what was looked at, `ok` or not; shown by `/readyz?verbose`.
    pub checks: Vec<Check>,
}

/// One thing that readiness looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Why it stands in the way of serving; none if it does not.
    pub lacks: Option<String>,
    /// Something to know that does not stand in the way.
    pub note: Option<String>,
    /// Whether something is wrong although it does not stand in the way.
    pub is_wrong: bool,
}

impl Readiness {
    /// Adds a check that passes (`Ok(note)`) or stands in the way (`Err(reason)`).
    pub fn check(&mut self, name: &'static str, result: Result<Option<String>, String>) {
        let (note, lacks) = match result {
            Ok(note) => (note, None),
            Err(reason) => (None, Some(reason)),
        };
        self.checks.push(Check {
            name,
            lacks,
            note,
            is_wrong: false,
        });
    }

    /// Adds a check that finds something wrong, though nothing that stands in the way.
    pub fn warn(&mut self, name: &'static str, why: String) {
        self.checks.push(Check {
            name,
            lacks: None,
            note: Some(why),
            is_wrong: true,
        });
    }

    /// Whether nothing stands in the way.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.lacks.is_none())
    }

    /// The answer to `/readyz`: 200 or 503, with a line a check if `verbose` or if not ready.
    #[must_use]
    pub fn reply(&self, verbose: bool) -> Reply {
        let ready = self.is_ready();
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let mut body = String::from(if ready { "ready\n" } else { "not ready\n" });
        if verbose || !ready {
            for check in &self.checks {
                let (mark, text) = match (&check.lacks, &check.note) {
                    (Some(reason), _) => ("-", format!(": {reason}")),
                    (None, Some(why)) if check.is_wrong => ("!", format!(": {why}")),
                    (None, Some(note)) => ("+", format!(": {note}")),
                    (None, None) => ("+", String::new()),
                };
                body.push_str(&format!("[{mark}] {}{text}\n", check.name));
            }
        }
        text(status, body)
    }
}

/// Asks a role, at the moment of the question.
pub type Probe = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Serves the admin port until shutdown begins.
pub async fn run(listener: TcpListener, registry: Registry, ready: Probe, shutdown: Shutdown) {
    let connections = registry.gauge(
        "gcache_admin_connections",
        "Open connections on the admin port.",
        &[],
    );
    let limits = Limits {
        max_connections: MAX_CONNECTIONS,
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        max_header_bytes: MAX_HEADER_BYTES,
    };
    shutdown.spawn_critical(
        "upkeep of metrics",
        upkeep(registry.clone(), shutdown.clone()),
    );
    let service = move |request: Request<Incoming>| {
        let reply = answer(&request, &registry, &ready);
        async move { reply }
    };
    serve(listener, limits, connections, shutdown, service).await;
}

async fn upkeep(registry: Registry, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => registry.upkeep(),
            () = shutdown.begun() => return,
        }
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry, ready: &Probe) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n");
    }
    match request.uri().path() {
        "/metrics" => with_type(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            registry.render(),
        ),
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" | "/health" => ready().reply(request.uri().query() == Some("verbose")),
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /metrics, /livez and /readyz[?verbose]\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_said_even_without_verbose() {
        let mut readiness = Readiness::default();
        readiness.check("topology", Ok(None));
        assert!(readiness.is_ready());
        readiness.check("nodes", Err("none of 3 is reachable".into()));
        assert!(!readiness.is_ready());
        assert_eq!(
            readiness.reply(false).status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
