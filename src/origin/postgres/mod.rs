//! The origin PostgreSQL: one statement loads the rows of many keys, over connections that are shared.
//!
//! A group's statement is found and checked once, in `plan`; every load runs it with an array of keys.
//! Which connection it goes on is decided by `lanes`, what a failure means by `error`.

mod connect;
mod error;
mod inspect;
mod keys;
mod lanes;
mod plan;
mod scans;
mod statement;
mod tls;
mod url;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge};
use parking_lot::Mutex;

use self::connect::{Connection, Connections};
pub use self::error::OpenError;
use self::keys::Asked;
use self::lanes::{Lanes, Limits, Seat};
use self::plan::Plan;
use super::{BoxFuture, Finding, Origin, Row};
use crate::cache::{LoadError, LoadErrorKind};
use crate::config;
use crate::ids::GroupId;
use crate::metrics::Registry;
use crate::topology::model::group::{Group, Source};

/// The database gives up on a statement this much before the caller does, so that it is the database
/// that says so, on a connection that stays usable; at most a tenth of the caller's patience.
const STATEMENT_MARGIN: Duration = Duration::from_millis(100);

/// What the origin counts.
struct Metrics {
    connections: Gauge,
    statements: Counter,
}

/// Rows of a PostgreSQL server.
pub(super) struct Postgres {
    shared: Arc<Shared>,
}

struct Shared {
    description: String,
    connections: Connections,
    lanes: Lanes<Connection, GroupId>,
    /// How long a statement may take, the wait for others on its connection included.
    patience: Duration,
    plans: Mutex<HashMap<GroupId, Arc<PlanOf>>>,
    /// Locked by the one inspection that runs.
    inspecting: tokio::sync::Mutex<()>,
    /// Whether the operator knows that the role may write.
    is_read_only: bool,
    metrics: OnceLock<Metrics>,
}

/// The plan of one group, made by the load that needs it first. Locked while it is made.
#[derive(Default)]
struct PlanOf {
    made: tokio::sync::Mutex<Option<Made>>,
}

/// A plan, and the source that it is of.
type Made = (Source, Arc<Plan>);

/// Keeps a plan that was made, and logs once what an operator should know of it.
fn keep(made: &mut Option<Made>, group: &Group, plan: Arc<Plan>) {
    let is_known = made.as_ref().is_some_and(|(_, known)| *known == plan);
    if plan.lacks_index && !is_known {
        tracing::warn!(group = %group.name, "key column begins no index, each load reads the whole table");
    }
    *made = Some((group.spec.source.clone(), plan));
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shared.description)
    }
}

impl Postgres {
    /// An origin at `url` within the bounds of `section`. Connects when it is first asked, for rows or to prepare.
    ///
    /// # Errors
    /// What is wrong with the URL or with the files that it and `section` name.
    pub(super) fn open(
        url: &config::PostgresUrl,
        section: &config::Origin,
    ) -> Result<Self, OpenError> {
        let refuse = |error: String| OpenError(error);
        let address = url::parse(url.expose()).map_err(|error| refuse(error.to_string()))?;
        let description = address.describe();
        let margin = STATEMENT_MARGIN.min(section.timeout / 10);
        let connections = Connections::new(address, section, section.timeout - margin)?;
        let limits = Limits {
            connections: section.max_connections,
            depth: section.pipeline_depth,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                description,
                connections,
                lanes: Lanes::new(limits),
                patience: section.timeout,
                plans: Mutex::default(),
                inspecting: tokio::sync::Mutex::default(),
                is_read_only: section.read_only,
                metrics: OnceLock::new(),
            }),
        })
    }
}

impl Shared {
    /// A seat for one statement of `group`, on a connection that is open.
    async fn seat(&self, group: GroupId) -> Result<Seat<Connection, GroupId>, LoadError> {
        let seat = self
            .lanes
            .seat(group, || self.connections.connection())
            .await;
        self.show_connections();
        seat
    }

    fn show_connections(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.connections.set(self.connections.open() as f64);
        }
    }

    fn count_statement(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.statements.increment(1);
        }
    }

    fn plan_of(&self, group: GroupId) -> Arc<PlanOf> {
        Arc::clone(self.plans.lock().entry(group).or_default())
    }

    /// The group's plan, made now if there is none for its source.
    async fn plan(&self, group: &Group) -> Result<Arc<Plan>, LoadError> {
        let slot = self.plan_of(group.id);
        let mut made = slot.made.lock().await;
        if let Some((source, plan)) = &*made
            && *source == group.spec.source
        {
            return Ok(Arc::clone(plan));
        }
        let plan = self.make(group).await?;
        keep(&mut made, group, Arc::clone(&plan));
        Ok(plan)
    }

    async fn make(&self, group: &Group) -> Result<Arc<Plan>, LoadError> {
        let seat = self.seat(group.id).await?;
        let plan = to_the_end(&seat, Plan::make(&seat, &group.spec.source)).await?;
        Ok(Arc::new(plan))
    }

    /// Forgets a plan that the database no longer accepts: a table was changed or replaced.
    async fn forget(&self, group: GroupId) {
        *self.plan_of(group).made.lock().await = None;
    }

    /// Loads by the plan that there is, and once more by a new one if the database refuses that and the
    /// table has changed since.
    async fn load(self: &Arc<Self>, group: &Group, keys: &[Bytes]) -> Result<Vec<Row>, LoadError> {
        let plan = self.plan(group).await?;
        let first = self.load_by(&plan, group, keys).await;
        match &first {
            Err(error) if error.kind == LoadErrorKind::BadStatement => {
                self.forget(group.id).await;
                let newer = self.plan(group).await?;
                if newer == plan {
                    return first;
                }
                self.load_by(&newer, group, keys).await
            }
            _ => first,
        }
    }

    async fn load_by(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        group: &Group,
        keys: &[Bytes],
    ) -> Result<Vec<Row>, LoadError> {
        let asked = Asked::of(plan.key_type, keys);
        if asked.is_empty() {
            return Ok(asked.answer(Vec::new()));
        }
        let rows = self.rows(group.id, plan, asked.keys().to_vec()).await?;
        Ok(asked.answer(rows))
    }

    /// The rows of `keys`, which differ, in their order.
    ///
    /// Where PostgreSQL fails on what one row holds, the keys are asked for in halves, so that the
    /// others are served: at most twice as many statements as keys.
    async fn rows(
        self: &Arc<Self>,
        group: GroupId,
        plan: &Arc<Plan>,
        keys: Vec<Bytes>,
    ) -> Result<Vec<Row>, LoadError> {
        let mut rows = Vec::with_capacity(keys.len());
        let mut left = vec![keys];
        while let Some(mut batch) = left.pop() {
            match self.ask(group, plan, batch.clone()).await {
                Ok(answered) => rows.extend(answered),
                Err(error) if error.kind != LoadErrorKind::BadValue => return Err(error),
                Err(error) if batch.len() == 1 => rows.push(Err(error)),
                Err(_) => {
                    let second = batch.split_off(batch.len() / 2);
                    left.push(second);
                    left.push(batch);
                }
            }
        }
        Ok(rows)
    }

    /// The rows of one statement, which is sent once more, on another connection, if it fails because of
    /// the one that it was sent on: it reads and no more, and an idle connection may be dead unnoticed.
    async fn ask(
        self: &Arc<Self>,
        group: GroupId,
        plan: &Arc<Plan>,
        keys: Vec<Bytes>,
    ) -> Result<Vec<Row>, LoadError> {
        let seat = self.seat(group).await?;
        let first = self.send(seat, plan, keys.clone()).await;
        match &first {
            Err(error) if error.kind == LoadErrorKind::Unavailable => {
                tracing::debug!(%error, "statement sent again");
                let seat = self.seat(group).await?;
                self.send(seat, plan, keys).await
            }
            _ => first,
        }
    }

    /// One statement, in a task of its own: if the caller leaves, its seat stays taken until the
    /// database is done with the statement, and nothing more is sent on that connection.
    async fn send(
        &self,
        seat: Seat<Connection, GroupId>,
        plan: &Arc<Plan>,
        keys: Vec<Bytes>,
    ) -> Result<Vec<Row>, LoadError> {
        self.count_statement();
        let (mut answer, answered) = tokio::sync::oneshot::channel();
        let (plan, patience) = (Arc::clone(plan), self.patience);
        tokio::spawn(async move {
            let rows = {
                let mut running = std::pin::pin!(statement::run(&seat, &plan, &keys));
                tokio::select! {
                    rows = &mut running => Some(rows),
                    () = answer.closed() => {
                        seat.give_up();
                        seat.condemn();
                        let _late = tokio::time::timeout(patience, running).await;
                        None
                    }
                }
            };
            // A server that ends a session says so a moment before it closes the connection.
            let is_ended =
                matches!(&rows, Some(Err(error)) if error.kind == LoadErrorKind::Unavailable);
            if is_ended {
                seat.give_up();
            }
            if seat.give_up_if_closed() || is_ended {
                seat.condemn();
            }
            // Before the caller hears of it, so that its next statement finds the seat free.
            drop(seat);
            if let Some(rows) = rows {
                let _left = answer.send(rows);
            }
        });
        answered.await.unwrap_or_else(|_| {
            let message = "the statement was abandoned";
            Err(LoadError::new(LoadErrorKind::Internal, message))
        })
    }

    /// Makes the plan anew and has the database plan the statement, with the rights it needs.
    async fn check(&self, group: &Group) -> Result<(), LoadError> {
        let plan = self.make(group).await;
        let slot = self.plan_of(group.id);
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                // A database that is away has not changed its tables.
                if error.kind == LoadErrorKind::BadStatement {
                    *slot.made.lock().await = None;
                }
                return Err(error);
            }
        };
        let seat = self.seat(group.id).await?;
        to_the_end(&seat, plan.explain(&seat)).await?;
        // The maker of a plan holds the lock while it waits for a seat: nobody may wait the other way round.
        drop(seat);
        keep(&mut *slot.made.lock().await, group, plan);
        Ok(())
    }
}

/// Does `work` on the connection of `seat`. If the caller leaves before its end, the connection is given
/// up: the next statement would wait behind this one, on a connection that fell silent for ever.
async fn to_the_end<T>(
    seat: &Seat<Connection, GroupId>,
    work: impl Future<Output = Result<T, LoadError>>,
) -> Result<T, LoadError> {
    let mut left = Left(Some(seat));
    let done = work.await;
    left.0 = None;
    if done.is_err() && seat.give_up_if_closed() {
        seat.condemn();
    }
    done
}

/// Gives its connection up when dropped.
struct Left<'a>(Option<&'a Seat<Connection, GroupId>>);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Some(seat) = self.0 {
            seat.give_up();
            seat.condemn();
        }
    }
}

impl Origin for Postgres {
    fn load<'a>(
        &'a self,
        group: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(self.shared.load(group, keys))
    }

    fn check<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(self.shared.check(group))
    }

    fn inspect<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Vec<Finding>, LoadError>> {
        Box::pin(self.shared.inspect(group))
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), LoadError>> {
        Box::pin(async {
            let opened = self.shared.connections.prepare().await;
            self.shared.show_connections();
            opened
        })
    }

    fn describe(&self) -> String {
        self.shared.description.clone()
    }

    fn register(&self, registry: &Registry) {
        let metrics = Metrics {
            connections: registry.gauge(
                "gcache_origin_open_connections",
                "Connections to PostgreSQL, idle ones included.",
                &[],
            ),
            statements: registry.counter(
                "gcache_origin_statements_total",
                "Statements sent to PostgreSQL to load keys.",
                &[],
            ),
        };
        // The first registration counts: an origin belongs to one process.
        let _registered = self.shared.metrics.set(metrics);
    }
}
