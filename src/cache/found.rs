//! What the cache answers to a request. Plain data; the rules are in `mod` and `shard`.

use super::entry::Entry;
use super::flight::Wait;
use super::lead::Lead;
use super::request::Refused;

/// The answer to [`Cache::get_or_join`](super::Cache::get_or_join).
#[derive(Debug)]
#[must_use = "a lead that is dropped ends the load of all who wait as abandoned"]
pub enum Found {
    /// A value, a negative or a remembered error within its lifetime.
    Fresh(Entry),
    /// A value past its lifetime that may be served: within `stale`, or within `stale_if_error`
    /// while the origin is not asked because it just failed ([`Entry::phase`] says which).
    Stale {
        /// What to serve.
        entry: Entry,
        /// Given to one caller only, which must run the load. Nobody waits on it, unless the entry
        /// goes meanwhile: then later callers join it.
        refresh: Option<Lead>,
    },
    /// A miss that this caller must load: spawn the load with `lead`, then wait like the others.
    Lead {
        /// To be finished by the load's own task, which must not die with this caller.
        lead: Lead,
        /// This caller's own place among the waiters.
        wait: Wait,
        /// Servable if the load fails, while [`Entry::serves_on_error`] says so.
        fallback: Option<Entry>,
    },
    /// A miss that another caller already loads.
    Wait {
        /// This caller's place among the waiters.
        wait: Wait,
        /// Servable if the load fails, while [`Entry::serves_on_error`] says so.
        fallback: Option<Entry>,
    },
    /// A miss with too many waiters already.
    Refused {
        /// Which bound was reached.
        reason: Refused,
        /// Servable instead, while [`Entry::serves_on_error`] says so.
        fallback: Option<Entry>,
    },
}
