//! `gcache ring pause` and `ring resume`: whether partitions may move.

use serde_json::json;

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::print::{print_json, write};
use crate::topology::commands::Command;
use crate::topology::state::State;

/// What every command that shows the ring says of one that is paused.
pub(super) const PAUSED: &str = "paused: nothing moves until gcache ring resume";

/// Pauses the ring or lets it go on, and reports how it stands then. What is so already is no failure.
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
    let text = describe(is_paused, was_so, moving);
    write(format!("{text}\n").as_bytes(), false)
}

/// Returns how many partitions move.
fn moving(state: &State) -> usize {
    let moves = state.table().iter();
    moves.filter(|(_, at)| at.move_to.is_some()).count()
}

fn describe(is_paused: bool, was_so: bool, moving: usize) -> String {
    let already = if was_so { "already " } else { "" };
    match (is_paused, moving) {
        (true, 0) => format!("{already}{PAUSED}"),
        (true, moving) => format!("{already}{PAUSED}, but {moving} partitions that move already"),
        (false, _) if was_so => "not paused: partitions move where they are to be".into(),
        (false, _) => "resumed: partitions move to the members that are to own them".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_described_as_it_stands() {
        assert_eq!(describe(true, false, 0), PAUSED);
        assert_eq!(describe(true, true, 0), format!("already {PAUSED}"));
        assert!(describe(true, false, 7).ends_with("but 7 partitions that move already"));
        assert!(describe(false, false, 0).starts_with("resumed"));
        assert!(describe(false, true, 7).starts_with("not paused"));
    }
}
