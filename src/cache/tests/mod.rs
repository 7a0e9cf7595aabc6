//! The engine's promises, one test per claim. This file is the bench they are tried on: a cache and
//! the view, clock and rules that its callers would bring.

mod copies;
mod explaining;
mod flights;
mod freshness;
mod invalidation;
mod model;
mod moving;
mod roles;
mod storing;
mod threads;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::ids::{Generation, GroupId, Incarnation, Millis, NodeId, Tenure};

const GROUP: GroupId = GroupId(1);

const RULES: Freshness = Freshness {
    ttl_ms: 1_000,
    jitter: 0,
    stale_ms: 500,
    stale_if_error_ms: 5_000,
    negative_ttl_ms: 300,
    error_ttl_ms: 200,
    max_value_bytes: 1 << 20,
};

const STAMPS: Stamps = Stamps {
    tenure: Tenure(10),
    inherits: None,
    copies: None,
    generation: Generation(3),
};

const UNAVAILABLE: LoadErrorKind = LoadErrorKind::Unavailable;

/// What comes from another member, comes on this.
const STREAM: StreamId = stream(7);

const fn stream(number: u64) -> StreamId {
    let start = Incarnation(3);
    StreamId { start, number }
}

/// That member.
const OTHER: NodeId = NodeId(2);

/// A cache with its caller's circumstances, all of which a test may change.
struct Bench {
    cache: Cache,
    now: Millis,
    stamps: Stamps,
    rules: Freshness,
    role: Role,
}

impl Bench {
    fn new() -> Self {
        Self::limited(16 << 20, 20_000, 40_000)
    }

    fn limited(
        memory_bytes: u64,
        max_waiters_per_key: usize,
        max_waiters_per_group: usize,
    ) -> Self {
        let limits = Limits {
            memory_bytes,
            max_waiters_per_key,
            max_waiters_per_group,
            max_waiters: 2 * max_waiters_per_group,
        };
        Self {
            cache: Cache::new(limits),
            now: Millis(100_000),
            stamps: STAMPS,
            rules: RULES,
            role: Role::Owner,
        }
    }

    fn request<'a>(&self, key: &'a str) -> Request<'a> {
        Request {
            group: GROUP,
            key: key.as_bytes(),
            hash: hash(key),
            role: self.role,
            stamps: self.stamps,
            now: self.now,
        }
    }

    fn ask(&self, key: &str) -> Found {
        self.cache.get_or_join(&self.request(key))
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.cache.get(&self.request(key))
    }

    /// A miss that must lead.
    fn lead(&self, key: &str) -> (Lead, Wait) {
        match self.ask(key) {
            Found::Lead { lead, wait, .. } => (lead, wait),
            other => panic!("{key} should be led, not {other:?}"),
        }
    }

    /// A miss that must join.
    fn join(&self, key: &str) -> Wait {
        match self.ask(key) {
            Found::Wait { wait, .. } => wait,
            other => panic!("{key} should be waited for, not {other:?}"),
        }
    }

    fn fill(&self) -> Fill {
        Fill {
            stamps: self.stamps,
            freshness: self.rules,
            now: self.now,
            load_started: self.now,
            random: 0,
        }
    }

    fn load(&self, key: &str, loaded: Loaded<'_>) -> LoadOutcome {
        let (lead, _wait) = self.lead(key);
        lead.finish(loaded, &self.fill())
    }

    fn load_value(&self, key: &str, value: &str) -> LoadOutcome {
        self.load(key, Loaded::Value(value.as_bytes()))
    }

    fn delete(&self, key: &str) -> bool {
        self.cache.delete(GROUP, key.as_bytes(), hash(key)).found
    }

    fn expire(&self, key: &str) -> bool {
        self.cache
            .expire(GROUP, key.as_bytes(), hash(key), self.now)
            .found
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    /// Nothing is left of any flight, and the books agree.
    fn assert_settled(&self) {
        let stats = self.cache.stats();
        assert_eq!(
            (stats.flights, stats.waiters),
            (0, 0),
            "flights and waiters left behind"
        );
        self.cache.check();
    }
}

fn hash(key: &str) -> KeyHash {
    KeyHash::of(GROUP, key.as_bytes())
}

fn failed(kind: LoadErrorKind) -> Loaded<'static> {
    Loaded::Failed(LoadError::new(kind, "it failed"))
}

/// What `wait` yields now, without a runtime; `None` while the load is in the air. The place is
/// given back either way.
fn outcome_now(wait: Wait) -> Option<LoadOutcome> {
    match pin!(wait.outcome()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn value(outcome: &LoadOutcome) -> &str {
    assert_eq!(outcome.entry.kind(), Kind::Value);
    std::str::from_utf8(outcome.entry.value()).unwrap()
}
