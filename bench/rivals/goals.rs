//! The goals of the design that this comparison can judge.

use serde::Serialize;

use crate::results::Results;
use crate::{http, lookups, memory, misses, stampede};

/// A goal, and what was measured.
#[derive(Serialize)]
pub(crate) struct Goal {
    pub(crate) goal: &'static str,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

/// Judges every part that was measured.
pub(crate) fn all(results: &Results) -> Vec<Goal> {
    let http = results.http.iter().flatten().filter_map(hits);
    let lookups = results.lookups.iter().flatten().map(per_core);
    let misses = results.misses.iter().filter_map(|all| batched(all));
    let memory = results.memory.iter().filter_map(|all| per_entry(all));
    let stampede = results.stampede.iter().flatten().take(1).map(one_load);
    http.chain(lookups)
        .chain(misses)
        .chain(memory)
        .chain(stampede)
        .collect()
}

fn hits(comparison: &http::Comparison) -> Option<Goal> {
    let rivals = comparison.rivals.iter();
    let caches = rivals.filter(|rival| http::RIVALS[1..3].contains(&rival.name));
    let better = caches.max_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second))?;
    let errors: u64 = comparison.rivals.iter().map(|rival| rival.errors).sum();
    Some(Goal {
        goal: "HTTP GET hits: 1.5 × the better of nginx → memcached and groupcache, no error",
        measured: format!(
            "{:.2} × {} at {} connections, {errors} errors",
            better.gcache_over_it, better.name, comparison.connections
        ),
        is_met: better.gcache_over_it >= 1.5 && errors == 0,
    })
}

fn per_core(comparison: &lookups::Comparison) -> Goal {
    let ratio = comparison.gcache_over_redis_per_core;
    Goal {
        goal: "look-ups at a node per core: 1 × Redis at the same depth",
        measured: format!(
            "{ratio:.2} × with {} × 16 in flight",
            comparison.connections
        ),
        is_met: ratio >= 1.0,
    }
}

fn batched(all: &[misses::Measured]) -> Option<Goal> {
    let ratio = all.last()?.over_single;
    Some(Goal {
        goal: "cold misses in batches: 3 × the loads per second of one statement per key",
        measured: format!("{ratio:.2} ×"),
        is_met: ratio >= 3.0,
    })
}

fn per_entry(all: &[memory::Measured]) -> Option<Goal> {
    let of = |name| Some(all.iter().find(|it| it.name == name)?.resident);
    let ratio = of("gcache")? / of("Redis")?;
    Some(Goal {
        goal: "memory beyond the payload per entry: at most 1.3 × Redis",
        measured: format!("{ratio:.2} × Redis"),
        is_met: ratio <= 1.3,
    })
}

fn one_load(ours: &stampede::Measured) -> Goal {
    let bound_ms = stampede::LOAD.as_secs_f64() * 1e3 * 0.2;
    Goal {
        goal: "stampede: 1 load; p99 beyond the load and the same callers' warm p99 at most 0.2 × the load",
        measured: format!(
            "{} loads; {:.1} ms of {bound_ms:.0}",
            ours.loads, ours.excess_ms
        ),
        is_met: ours.loads == 1 && ours.excess_ms <= bound_ms,
    }
}
