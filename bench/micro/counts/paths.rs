//! The paths that are counted.

use anyhow::Context;

use crate::measure::Meter;
use crate::{engine, wire};

/// A path, and how often it is taken: enough that what happens once does not show in what one operation costs.
#[derive(Debug)]
pub(crate) struct Path {
    /// As it is kept.
    pub(crate) name: &'static str,
    /// Operations of a run.
    pub(crate) operations: usize,
    /// Takes it so often, between [`Meter::begin`] and [`Meter::end`].
    pub(crate) take: fn(usize, &Meter),
}

/// Every path.
pub(crate) const PATHS: [Path; 10] = [
    // A key to its owner's place among the members.
    path("view.look_up", 50_000, engine::look_up),
    // A fresh entry.
    path("engine.get", 50_000, engine::get),
    // A miss that leads, lands and is stored.
    path("engine.insert", 20_000, engine::insert),
    // The same where something has to make room.
    path("engine.insert_evicting", 20_000, engine::insert_evicting),
    // A caller that joins a flight, and leaves it.
    path("flight.join", 50_000, engine::join),
    // A flight from its lead to its landing, with one that waits, and the delete of what it stored.
    path("flight.land", 20_000, engine::land),
    // A call for a cached key over its own message.
    path("node.hit", 2_000, wire::node_hit),
    // Sixteen such calls in one message; an operation is one call.
    path("node.hit_of_16", 16_000, wire::node_hit_of_16),
    // The same from any gRPC client.
    path("node.unary_hit", 2_000, wire::node_unary_hit),
    // A GET of a key that its node has cached.
    path("frontend.hit", 2_000, wire::frontend_hit),
];

const fn path(name: &'static str, operations: usize, take: fn(usize, &Meter)) -> Path {
    Path {
        name,
        operations,
        take,
    }
}

/// The path called so.
pub(crate) fn find(name: &str) -> anyhow::Result<&'static Path> {
    let found = PATHS.iter().find(|path| path.name == name);
    found.with_context(|| {
        let names: Vec<_> = PATHS.iter().map(|path| path.name).collect();
        format!("there is no path {name:?}, but {}", names.join(", "))
    })
}
