//! Whether a node may found a cluster, from what it knows of its seeds. Pure.
//!
//! Called by `joining`, for a node that has no log and knows no cluster.

use super::Reason;
use super::seen::SeedStatus;
use crate::ids::ClusterId;

/// A node that has no log yet.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// The number of its data directory.
    pub root: u128,
    /// Whether it was started with `--bootstrap`.
    pub is_founder: bool,
    /// Whether its own address is among those of the seeds.
    pub is_seed: bool,
    /// How many addresses the seeds have.
    pub places: usize,
    /// The names of seeds that have no address yet.
    pub unresolved: Vec<String>,
    /// Whether every seed is an address, so that no seed is found by its name.
    pub is_fixed: bool,
}

/// Decides whether a node may found a cluster. It may if it was started with `--bootstrap`, or if it is a
/// seed and most seeds share its data directory: then the directory's latch lets only one founder win.
///
/// Two nodes may get two different answers of DNS, each with itself alone. So where there is a name among the
/// seeds, another node that shares the directory must be seen: that proves that the directory is shared, and
/// its latch decides. Waiting instead would not do, because an address may be published minutes after its
/// node has started.
///
/// # Errors
/// The reason why it may not, and what would help.
pub fn may_found(own: &Candidate<'_>, seeds: &[SeedStatus]) -> Result<(), Reason> {
    if own.is_founder {
        return Ok(());
    }
    if !own.is_seed {
        let mut why = "no seed belongs to a cluster yet, and this node is no seed".to_owned();
        if let Some(name) = own.unresolved.first() {
            why = format!("{why}: {name} has no address yet");
        }
        return Err(why);
    }
    // A name without an address stands for at least one node.
    let all = own.places + own.unresolved.len();
    let others = seeds.iter().filter(|seed| seed.root == Some(own.root));
    let sharing = others.clone().count() + 1;
    if sharing * 2 <= all {
        return Err(format!(
            "{sharing} of {all} seeds are known to share this data directory: more than half must be \
             to found a cluster, or one node must be started with --bootstrap"
        ));
    }
    // One node may have several addresses.
    let is_seen = others.clone().any(|seed| seed.name != own.name);
    if is_seen || own.is_fixed {
        return Ok(());
    }
    Err(
        "DNS names no other node so far that shares this data directory: one must be to found a \
         cluster, or one node must be started with --bootstrap"
            .into(),
    )
}

/// Whether a node keeps the log in which it has founded `cluster`, now that its data directory belongs to
/// `latched`. Otherwise another founder was faster: no other node knows of this log, and it may be discarded.
#[must_use]
pub fn keeps(cluster: ClusterId, latched: ClusterId) -> bool {
    cluster == latched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::fixtures::seed;

    const ROOT: u128 = 5;

    /// One of three seeds, each with a fixed address.
    fn candidate() -> Candidate<'static> {
        Candidate {
            name: "a",
            root: ROOT,
            is_founder: false,
            is_seed: true,
            places: 3,
            unresolved: Vec::new(),
            is_fixed: true,
        }
    }

    fn shares(name: &str) -> SeedStatus {
        SeedStatus {
            root: Some(ROOT),
            ..seed(name)
        }
    }

    fn has_own(name: &str) -> SeedStatus {
        SeedStatus {
            root: Some(ROOT + 1),
            ..seed(name)
        }
    }

    #[test]
    fn a_founder_shares_its_directory_with_most_seeds_or_is_named_as_one() {
        let founder = Candidate {
            is_founder: true,
            ..candidate()
        };
        let stranger = Candidate {
            is_seed: false,
            ..candidate()
        };
        let early = Candidate {
            is_seed: false,
            unresolved: vec!["cache:8001".to_owned()],
            ..candidate()
        };
        let alone = Candidate {
            places: 1,
            ..candidate()
        };
        let waits = Candidate {
            places: 2,
            unresolved: vec!["x:1".to_owned(), "y:1".to_owned()],
            ..candidate()
        };
        let by_name = Candidate {
            places: 1,
            is_fixed: false,
            ..candidate()
        };
        for (own, seeds, refused) in [
            (&founder, vec![], None),
            (&alone, vec![], None),
            (&candidate(), vec![shares("b")], None),
            (&candidate(), vec![], Some("1 of 3 seeds are known")),
            (
                &candidate(),
                vec![has_own("b"), has_own("c")],
                Some("1 of 3 seeds"),
            ),
            (
                &candidate(),
                vec![seed("b"), seed("c")],
                Some("1 of 3 seeds"),
            ),
            (&waits, vec![shares("b")], Some("2 of 4 seeds are known")),
            (
                &stranger,
                vec![shares("b"), shares("c")],
                Some("this node is no seed"),
            ),
            (&early, vec![], Some("cache:8001 has no address yet")),
            (&by_name, vec![], Some("DNS names no other node")),
            (&by_name, vec![shares("a")], Some("DNS names no other node")),
            (&by_name, vec![shares("b")], None),
        ] {
            let why = may_found(own, &seeds).err();
            let is_expected = match (&why, refused) {
                (None, None) => true,
                (Some(why), Some(part)) => why.contains(part),
                _ => false,
            };
            assert!(is_expected, "{own:?} with {seeds:?}: {why:?}");
        }
    }

    #[test]
    fn of_two_founders_the_one_that_the_latch_names_keeps_its_log() {
        assert!(keeps(ClusterId(1), ClusterId(1)));
        assert!(!keeps(ClusterId(1), ClusterId(2)));
    }
}
