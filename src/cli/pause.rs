//! `gcache ring pause` and `ring resume`: whether partitions may move.

use serde_json::json;

use super::Failure;
use super::args::Reach;
use super::cluster_client::Cluster;
use super::print::{print_json, write};
use crate::topology::commands::Command;
use crate::topology::state::State;

/// What every command that shows the ring says of one that is paused.
pub(super) const PAUSED: &str = "paused: nothing moves until gcache ring resume";

/// Pauses the ring or lets it go on, and tells how it stands then. What is so already is no failure.
///
/// Once it has returned nothing begins to move any more: a plan that the leader made before is refused.
pub(super) async fn set_paused(is_paused: bool, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let before = cluster.state().await?;
    let was_so = before.is_paused() == is_paused;
    let state = match was_so {
        true => before,
        false => {
            cluster.commit(&Command::SetPaused(is_paused)).await?;
            cluster.state().await?
        }
    };
    let moving = moving(&state);
    if reach.json {
        return print_json(&json!({
            "paused": is_paused,
            "was_so": was_so,
            "epoch": state.epoch().0,
            "moving": moving,
        }));
    }
    let text = told(is_paused, was_so, moving);
    write(format!("{text}\n").as_bytes(), false)
}

/// How many partitions move.
fn moving(state: &State) -> usize {
    let moves = state.table().iter();
    moves.filter(|(_, at)| at.move_to.is_some()).count()
}

fn told(is_paused: bool, was_so: bool, moving: usize) -> String {
    let already = if was_so { "already " } else { "" };
    match (is_paused, moving) {
        (true, 0) => format!("{already}{PAUSED}"),
        (true, moving) => format!("{already}{PAUSED}, but {moving} partitions that move already"),
        (false, _) if was_so => "not paused: partitions move as they are to".into(),
        (false, _) => "resumed: partitions move to whom they are to be with".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_how_the_ring_stands() {
        assert_eq!(told(true, false, 0), PAUSED);
        assert_eq!(told(true, true, 0), format!("already {PAUSED}"));
        assert!(told(true, false, 7).ends_with("but 7 partitions that move already"));
        assert!(told(false, false, 0).starts_with("resumed"));
        assert!(told(false, true, 7).starts_with("not paused"));
    }
}
