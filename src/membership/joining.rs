//! How a node without a log begins: it founds a cluster, enters one, or waits. Pure.
//!
//! The cluster of the data directory's latch comes first, then that of any seed.

use super::Reason;
use super::founding::{Candidate, may_found};
use super::seen::SeedStatus;
use crate::ids::ClusterId;

/// What a node without a log does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It founds a cluster.
    Found,
    /// It asks the seeds to have the leader of this cluster let it in. If none does, it waits and begins again.
    Enter(ClusterId),
    /// It waits and begins again.
    Wait(Reason),
}

/// Decides how a node begins, from the cluster that its data directory belongs to and from what the seeds
/// that answered say.
///
/// Without a latch the cluster of the first seed that names one is entered, whichever it is: nothing ties a
/// node to one environment.
#[must_use]
pub fn begin(latched: Option<ClusterId>, seeds: &[SeedStatus], own: &Candidate<'_>) -> Beginning {
    let known = latched.or_else(|| seeds.iter().find_map(|seed| seed.cluster));
    match known {
        Some(cluster) => Beginning::Enter(cluster),
        None => match may_found(own, seeds) {
            Ok(()) => Beginning::Found,
            Err(why) => Beginning::Wait(why),
        },
    }
}

/// Checks that a node which was let into `cluster` may begin its log there, now that its data directory
/// belongs to `latched`.
///
/// # Errors
/// The directory belongs to another cluster. That ends the node's control plane.
pub fn may_begin_in(cluster: ClusterId, latched: ClusterId) -> Result<(), Reason> {
    if latched == cluster {
        return Ok(());
    }
    Err(format!(
        "the data directory belongs to cluster {latched}, the seeds to {cluster}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::fixtures::seed;

    #[test]
    fn the_latch_comes_before_the_seeds_and_a_cluster_before_founding() {
        let [one, two, three] = [1, 2, 3].map(ClusterId);
        let member_of = |cluster| SeedStatus {
            cluster: Some(cluster),
            ..seed("b")
        };
        let founder = Candidate {
            name: "a",
            root: 5,
            is_founder: true,
            is_seed: true,
            places: 3,
            unresolved: Vec::new(),
            is_fixed: true,
        };
        let refused = Candidate {
            is_founder: false,
            ..founder.clone()
        };
        for (latched, seeds, own, begins) in [
            (None, vec![], &founder, Beginning::Found),
            (None, vec![seed("b")], &founder, Beginning::Found),
            (Some(one), vec![], &founder, Beginning::Enter(one)),
            (
                Some(one),
                vec![member_of(two)],
                &founder,
                Beginning::Enter(one),
            ),
            (None, vec![member_of(two)], &founder, Beginning::Enter(two)),
            // Of two environments the first that answers wins.
            (
                None,
                vec![seed("c"), member_of(three), member_of(two)],
                &refused,
                Beginning::Enter(three),
            ),
        ] {
            assert_eq!(begin(latched, &seeds, own), begins, "{latched:?} {seeds:?}");
        }
        assert!(matches!(begin(None, &[], &refused), Beginning::Wait(_)));
    }

    #[test]
    fn a_node_begins_no_log_of_another_cluster_than_its_directorys() {
        assert_eq!(may_begin_in(ClusterId(1), ClusterId(1)), Ok(()));
        let refused = may_begin_in(ClusterId(1), ClusterId(2)).unwrap_err();
        assert!(refused.contains("the seeds to"), "{refused}");
    }
}
