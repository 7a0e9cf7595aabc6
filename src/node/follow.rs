//! Applies each new view to a node's data plane: to flights, moves, the lease and the cache.

use std::sync::Arc;

use super::known::Known;
use super::moves;
use crate::cache::Cache;
use crate::ownership::streams;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;

/// Follows the views. First it closes the flights of partitions that a new view takes from this node. Only
/// then may the node report the view as applied: from then on no call joins a flight that the view ends. (No
/// call joins a flight of a group that the view resets either: the stamp of the flight prevents it.) Memory
/// of void entries is reclaimed after that. When the cluster changes, the whole cache is dropped.
pub(super) async fn follow(
    known: Known,
    moves: Option<moves::Moves>,
    cache: Cache,
    shutdown: Shutdown,
) {
    let Known {
        me,
        view: mut views,
        renewer,
        ..
    } = known;
    let mut before = Arc::clone(&views.borrow_and_update());
    loop {
        tokio::select! {
            changed = views.changed() => if changed.is_err() {
                // No other view will come.
                return shutdown.begun().await;
            },
            () = shutdown.begun() => return,
        }
        let view = Arc::clone(&views.borrow_and_update());
        let me = me.get();
        if view.cluster() != before.cluster() {
            // A recovered cluster may reach stamps that the cluster before it has already given out.
            let cache = cache.clone();
            let cleared = tokio::task::spawn_blocking(move || cache.clear()).await;
            let entries = cleared.map_or(0, |cleared| cleared.entries);
            tracing::debug!(cluster = view.cluster(), entries, "cache cleared");
        }
        cache.close_partitions(|partition| streams::is_lost(&before, &view, me, partition));
        if let Some(moves) = &moves {
            moves.follow(&before, &view);
        }
        if let Some(renewer) = &renewer {
            renewer.applied(view.epoch(), view.latest_since(me));
        }
        let is_reset = |group: &&Arc<Group>| {
            let old = before.group(group.id);
            old.is_some_and(|old| old.generation < group.generation)
        };
        for group in view.groups().filter(is_reset) {
            let (cache, id, generation) = (cache.clone(), group.id, group.generation);
            // The reset visits every entry, which takes seconds with millions of them.
            tokio::task::spawn_blocking(move || cache.reset(id, generation));
        }
        before = view;
    }
}
