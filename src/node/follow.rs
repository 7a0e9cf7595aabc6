//! A node's data plane follows the topology: flights, moves, the lease and the cache go by each new view.

use std::sync::Arc;

use super::known::Known;
use super::moves;
use crate::cache::Cache;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;

/// Closes the flights of partitions that a new view takes from this node. Then, and not before, the node
/// may say that it has applied the view: nobody joins a flight any more that the view ends. (A flight of a
/// group that the view resets is joined by nobody, by its stamp.) What is void is reclaimed after that. Of
/// another cluster nothing is kept.
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
            changed = views.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
        let view = Arc::clone(&views.borrow_and_update());
        let me = me.get();
        if view.cluster() != before.cluster() {
            // A recovered cluster may count up to stamps that the one before had given already.
            let cache = cache.clone();
            let cleared = tokio::task::spawn_blocking(move || cache.clear()).await;
            let entries = cleared.map_or(0, |cleared| cleared.entries);
            tracing::debug!(cluster = view.cluster(), entries, "cache cleared");
        }
        cache.close_partitions(|partition| {
            before.is_owner(me, partition) && !view.is_owner(me, partition)
        });
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
            // It looks at every entry: for seconds, where there are millions.
            tokio::task::spawn_blocking(move || cache.reset(id, generation));
        }
        before = view;
    }
}
