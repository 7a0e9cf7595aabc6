//! What a frontend counts of its requests.

use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram};

use crate::metrics::Registry;
use crate::rpc::proto::{Answer, Status, Via};

/// What became of a request: every request that is answered counts as exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// A value or "no such key" from the cache.
    Hit,
    /// A value past its time.
    Stale,
    /// A value or "no such key" after a load.
    Miss,
    /// Many keys in one request.
    Many,
    /// Deleted or expired.
    Invalidated,
    /// Not answered with a value: the origin, a node or a bound stood in the way.
    Failed,
    /// The request was wrong.
    Refused,
    /// Health and the like.
    Other,
}

impl RequestOutcome {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Hit, "hit"),
        (Self::Stale, "stale"),
        (Self::Miss, "miss"),
        (Self::Many, "many"),
        (Self::Invalidated, "invalidated"),
        (Self::Failed, "failed"),
        (Self::Refused, "refused"),
        (Self::Other, "other"),
    ];

    /// Returns what a node's answer to a look-up counts as.
    pub(super) fn of(answer: &Answer) -> Self {
        match (answer.status(), answer.via()) {
            (Status::Ok | Status::Absent, Via::Hit) => Self::Hit,
            (Status::Ok | Status::Absent, Via::Stale | Via::StaleIfError) => Self::Stale,
            (Status::Ok | Status::Absent, Via::Miss | Via::Expired) => Self::Miss,
            (Status::NoSuchGroup | Status::BadKey, _) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Status classes, from 1xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts requests by outcome and status class, and how long each outcome took.
pub(super) struct Metrics {
    by_class: [Counter; CLASSES.len()],
    seconds: [Histogram; RequestOutcome::ALL.len()],
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            by_class: CLASSES.map(|class| {
                registry.counter(
                    "gcache_frontend_requests_total",
                    "HTTP requests by status class.",
                    &[("class", class)],
                )
            }),
            seconds: RequestOutcome::ALL.map(|(_, label)| {
                registry.histogram(
                    "gcache_frontend_request_seconds",
                    "From a request's head to its answer, by what became of it.",
                    &[("outcome", label)],
                )
            }),
        }
    }

    pub(super) fn count(&self, outcome: RequestOutcome, status: StatusCode, took: Duration) {
        // hyper lets only 1xx to 9xx exist, and this frontend sends none above 5xx.
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.by_class[class].increment(1);
        // The discriminant is the place in ALL, which a test holds.
        self.seconds[outcome as usize].record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_finds_its_own_label() {
        for (place, (outcome, _)) in RequestOutcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place);
        }
    }
}
