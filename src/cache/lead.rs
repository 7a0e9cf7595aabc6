//! The guard of a running load: its holder owes the waiters an answer.

use std::fmt;
use std::sync::Arc;

use super::Cache;
use super::entry::{Entry, EntryParts, Kind};
use super::flight::{Flight, LoadOutcome, Token};
use super::freshness::{Fill, Lifetimes};
use super::load::{LoadError, LoadErrorKind, Loaded};
use super::request::Role;
use crate::hash::KeyHash;
use crate::ids::{GroupId, Millis};

/// The duty to load one key. Owned by the load's own task, not by the caller that started it.
///
/// Dropping it unfinished, by a panic, an abort or a shutdown, gives everyone who waits an
/// [`Internal`](LoadErrorKind::Internal) error and closes the flight; it never touches a successor.
#[must_use = "dropping it ends the load of all who wait as abandoned"]
pub struct Lead {
    cache: Cache,
    flight: Arc<Flight>,
    finished: bool,
}

impl Lead {
    pub(super) fn new(cache: Cache, flight: Arc<Flight>) -> Self {
        Self {
            cache,
            flight,
            finished: false,
        }
    }

    /// The key to load.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.flight.key
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.flight.group
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        self.flight.hash
    }

    /// In what capacity it is loaded.
    #[must_use]
    pub fn role(&self) -> Role {
        self.flight.role
    }

    /// The stamps the result will carry, if it is stored.
    #[must_use]
    pub fn token(&self) -> Token {
        self.flight.token
    }

    /// Whether anybody waits at this moment.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.flight.is_awaited()
    }

    /// Returns when the flight was opened.
    #[must_use]
    pub fn started(&self) -> Millis {
        self.flight.started
    }

    /// Ends the flight: everyone who waits gets the answer, and it is stored if
    ///  - the flight is still open: no delete, expire, reset or loss of ownership came between,
    ///  - its token is valid under `at.stamps`,
    ///  - the rules give it a lifetime, and it is within `max_value_bytes` and the budget,
    ///  - and, for a failure, there is no value that may be served in its place. If there is, it
    ///    stays and the origin is not asked again for `error_ttl`.
    ///
    /// The same answer is returned to the loader.
    pub fn finish(mut self, loaded: Loaded<'_>, at: &Fill) -> LoadOutcome {
        let entry = self.entry(&loaded, at);
        self.land(entry, at, false)
    }

    /// Ends the flight with what another member keeps of the key, as [`finish`](Self::finish) does with what
    /// the origin says: with its age and what is left of its lifetimes, and under this flight's token.
    pub fn finish_moved(mut self, parts: &EntryParts<'_>, at: &Fill) -> LoadOutcome {
        let token = self.flight.token;
        let entry = Entry::new(&EntryParts {
            partition: self.flight.hash.partition(),
            group: self.flight.group,
            key: &self.flight.key,
            standby: false,
            tenure: token.tenure,
            generation: token.generation,
            ..*parts
        });
        self.land(entry, at, true)
    }

    fn land(&mut self, entry: Entry, at: &Fill, peeked: bool) -> LoadOutcome {
        let stored = self.cache.settle(&self.flight, &entry, at);
        self.finished = true;
        let outcome = LoadOutcome {
            entry,
            stored,
            peeked,
        };
        self.flight.land(outcome.clone());
        outcome
    }

    /// Made before the shard is locked: copying a large value is not for others to wait for.
    fn entry(&self, loaded: &Loaded<'_>, at: &Fill) -> Entry {
        let (kind, value) = match loaded {
            Loaded::Value(value) => (Kind::Value, *value),
            Loaded::Absent => (Kind::Negative, &[][..]),
            Loaded::Failed(error) => (Kind::Error(error.kind), error.message.as_bytes()),
        };
        self.stamped(
            kind,
            value,
            at.now,
            Lifetimes::of(kind, self.flight.role, at),
        )
    }

    fn stamped(&self, kind: Kind, value: &[u8], filled_at: Millis, lives: Lifetimes) -> Entry {
        let flight = &self.flight;
        Entry::new(&EntryParts {
            partition: flight.hash.partition(),
            group: flight.group,
            key: &flight.key,
            value,
            kind,
            standby: flight.role == Role::Standby,
            tenure: flight.token.tenure,
            generation: flight.token.generation,
            filled_at,
            fresh_ms: lives.fresh_ms,
            stale_ms: lives.stale_ms,
            stale_if_error_ms: lives.stale_if_error_ms,
        })
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let error = LoadError::new(LoadErrorKind::Internal, "the load was abandoned");
        // There is no clock here; the entry lives for no one, so its moment is only its age.
        let started = self.flight.started;
        let lives = Lifetimes::default();
        let entry = self.stamped(
            Kind::Error(error.kind),
            error.message.as_bytes(),
            started,
            lives,
        );
        self.cache.abandon(&self.flight);
        self.flight.land(LoadOutcome {
            entry,
            stored: false,
            peeked: false,
        });
    }
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("hash", &self.flight.hash)
            .field("role", &self.flight.role)
            .field("token", &self.flight.token)
            .finish_non_exhaustive()
    }
}
