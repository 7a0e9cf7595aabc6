//! What the Raft thread counts.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::metrics::Registry;
use crate::raft::disk::Disk;
use crate::raft::driver::Driver;
use crate::raft::event::Outcome;
use crate::raft::filter::MessageRefusal;

pub(super) struct Metrics {
    term: Gauge,
    is_leader: Gauge,
    commit: Gauge,
    applied: Gauge,
    entries: Gauge,
    turns: Histogram,
    commits: Histogram,
    writes: Counter,
    syncs: Counter,
    done: Counter,
    refused: Counter,
    unknown: Counter,
    diverged: Counter,
    messages: Vec<(MessageRefusal, Counter)>,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let outcome = |outcome| {
            registry.counter(
                "gcache_raft_requests_total",
                "Requests to this node's Raft by their outcome.",
                &[("outcome", outcome)],
            )
        };
        let messages = MessageRefusal::ALL.map(|(refusal, reason)| {
            let counter = registry.counter(
                "gcache_raft_refused_messages_total",
                "Raft messages of others that were refused.",
                &[("reason", reason)],
            );
            (refusal, counter)
        });
        Self {
            term: registry.gauge("gcache_raft_current_term", "The term.", &[]),
            is_leader: registry.gauge("gcache_raft_leader_info", "1 on the leader, else 0.", &[]),
            commit: registry.gauge(
                "gcache_raft_commit_index",
                "The last entry that is known to be committed.",
                &[],
            ),
            applied: registry.gauge(
                "gcache_raft_applied_index",
                "The last entry that was applied.",
                &[],
            ),
            entries: registry.gauge("gcache_raft_log_entries", "Entries in the log.", &[]),
            turns: registry.histogram(
                "gcache_raft_turn_seconds",
                "Turns of the driver, the writes to its disk included.",
                &[],
            ),
            commits: registry.histogram(
                "gcache_raft_commit_seconds",
                "From a proposal to its being applied on the leader.",
                &[],
            ),
            writes: registry.counter(
                "gcache_raft_write_batches_total",
                "Batches that were written to the log.",
                &[],
            ),
            syncs: registry.counter(
                "gcache_raft_synced_batches_total",
                "Batches that were synced.",
                &[],
            ),
            done: outcome("done"),
            refused: outcome("refused"),
            unknown: outcome("unknown"),
            diverged: registry.counter(
                "gcache_raft_diverged_peers_total",
                "Times that a peer had another state at the same index. Anything but 0 is a bug.",
                &[],
            ),
            messages: messages.into(),
        }
    }

    pub(super) fn turned<D: Disk>(&self, driver: &Driver<D>, took: Duration) {
        let role = driver.role();
        self.term.set(role.term as f64);
        self.is_leader.set(f64::from(u8::from(role.is_leader)));
        self.commit.set(driver.commit() as f64);
        self.applied.set(driver.applied() as f64);
        let entries = driver.last_index() + 1 - driver.first_index();
        self.entries.set(entries as f64);
        self.turns.record(took);
        let (writes, syncs) = driver.writes();
        self.writes.absolute(writes);
        self.syncs.absolute(syncs);
    }

    pub(super) fn resolved(&self, outcome: &Outcome, took: Duration) {
        if let Outcome::Applied { .. } = outcome {
            self.commits.record(took);
        }
        let counter = match outcome {
            Outcome::Applied { result: Ok(_), .. } | Outcome::Readable(_) | Outcome::Done => {
                &self.done
            }
            Outcome::Applied { result: Err(_), .. }
            | Outcome::NotLeader(_)
            | Outcome::Refused(_) => &self.refused,
            Outcome::Unknown => &self.unknown,
        };
        counter.increment(1);
    }

    pub(super) fn refused(&self, refusal: MessageRefusal) {
        for (known, counter) in &self.messages {
            if *known == refusal {
                counter.increment(1);
            }
        }
    }

    pub(super) fn diverged(&self) {
        self.diverged.increment(1);
    }
}
