//! The HTTP API on 9999: from a request to what answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::many;
use super::metrics::{Metrics, RequestOutcome};
use super::no_answer::NoAnswer;
use super::path::{self, Path};
use super::problem::Problem;
use super::respond::respond;
use super::route::Router;
use crate::admin::Probe;
use crate::http::{Reply, empty, text, with_type};
use crate::ids::Epoch;
use crate::rpc::proto::Op;
use crate::topology::model::group::Group;

/// What `/openapi.json` answers.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Answers requests. Shared by all connections of a frontend.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) deadline: Duration,
    pub(super) many: many::Limits,
    pub(super) ready: Probe,
    pub(super) metrics: Metrics,
}

/// An answer and what it counts as.
type Counted = (Reply, RequestOutcome);

impl Service {
    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let began = Instant::now();
        let (mut reply, outcome) = self.dispatch(request, began + self.deadline).await;
        if reply.status() == StatusCode::SERVICE_UNAVAILABLE {
            // What is no problem, such as not being ready, may have changed at the next question.
            let headers = reply.headers_mut();
            headers.entry(header::RETRY_AFTER).or_insert(1.into());
        }
        self.metrics.count(outcome, reply.status(), began.elapsed());
        reply
    }

    async fn dispatch(&self, request: Request<Incoming>, until: Instant) -> Counted {
        let (head, body) = request.into_parts();
        match path::parse(head.uri.path()) {
            Err(error) => (Problem::bad_key(&error).reply(), RequestOutcome::Refused),
            Ok(Path::Other(path)) => (
                self.fixed(path, &head.method, head.uri.query()),
                RequestOutcome::Other,
            ),
            Ok(Path::Key { group, key }) => match self.group(&group) {
                None => self.without(&group),
                Some(group) => match head.method {
                    Method::GET | Method::HEAD => {
                        self.get(&group, key, &head.headers, &head.method, until)
                            .await
                    }
                    Method::DELETE => self.invalidate(&group, key, head.uri.query(), until).await,
                    _ => (
                        Problem::method("GET, HEAD, DELETE"),
                        RequestOutcome::Refused,
                    ),
                },
            },
            Ok(Path::Group(group)) => match self.group(&group) {
                None => self.without(&group),
                Some(group) if head.method == Method::POST => {
                    let reply = many::answer(&self.router, &group, body, self.many, until).await;
                    (reply, RequestOutcome::Many)
                }
                Some(_) => (Problem::method("POST"), RequestOutcome::Refused),
            },
        }
    }

    fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.router.routing().view.group_by_name(name).cloned()
    }

    /// The answer where no group has this name: to know that there is none takes a topology.
    fn without(&self, group: &str) -> Counted {
        match self.router.routing().view.epoch() {
            Epoch(0) => (Problem::no_topology().reply(), RequestOutcome::Failed),
            _ => (
                Problem::no_such_group(group).reply(),
                RequestOutcome::Refused,
            ),
        }
    }

    async fn get(
        &self,
        group: &Group,
        key: Bytes,
        headers: &HeaderMap,
        method: &Method,
        until: Instant,
    ) -> Counted {
        let busy = || self.router.retry_after(group);
        match self.router.get(group, key, until).await {
            Ok(routed) => {
                let outcome = RequestOutcome::of(&routed.reply.answer);
                (respond(&routed, group, headers, method, busy), outcome)
            }
            Err(reason) => (
                Problem::no_answer(reason, busy).reply(),
                RequestOutcome::Failed,
            ),
        }
    }

    async fn invalidate(
        &self,
        group: &Group,
        key: Bytes,
        query: Option<&str>,
        until: Instant,
    ) -> Counted {
        let op = match query {
            None | Some("") => Op::Delete,
            Some("expire") => Op::Expire,
            Some(other) => {
                let shown: String = other.chars().take(64).collect();
                let detail = format!(
                    "{shown:?}; DELETE knows only ?expire, which lets stale values be served"
                );
                return (Problem::bad_query(detail).reply(), RequestOutcome::Refused);
            }
        };
        let busy = || self.router.retry_after(group);
        match self.router.invalidate(op, group, key, until).await {
            Ok(routed) => match Problem::of_answer(&routed.reply.answer, &group.name, busy) {
                None => (empty(StatusCode::NO_CONTENT), RequestOutcome::Invalidated),
                Some(problem) => (problem.reply(), RequestOutcome::Failed),
            },
            Err(reason) => {
                let problem = Problem::no_answer(reason, busy);
                // Nobody stands in for an owner that cannot be reached.
                let problem = match reason {
                    NoAnswer::Unreachable => problem.until_taken_over(),
                    _ => problem,
                };
                (problem.reply(), RequestOutcome::Failed)
            }
        }
    }

    fn fixed(&self, path: &str, method: &Method, query: Option<&str>) -> Reply {
        if !matches!(path, "/livez" | "/readyz" | "/health" | "/openapi.json") {
            return Problem::no_such_path().reply();
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Problem::method("GET, HEAD");
        }
        match path {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/openapi.json" => with_type(StatusCode::OK, "application/json", OPENAPI),
            _ => (self.ready)().reply(query == Some("verbose")),
        }
    }
}
