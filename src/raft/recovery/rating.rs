//! Which of several logs a lost cluster is continued from. Pure.
//!
//! Called by the survey, with every log that holds something.

use std::cmp::Reverse;

use crate::ids::ClusterId;
use crate::raft::log::Position;

/// What of a log decides whether it is taken.
#[derive(Clone, Debug)]
pub(super) struct Rated {
    pub(super) cluster: ClusterId,
    /// The clusters that its state continues.
    pub(super) supersedes: Vec<ClusterId>,
    pub(super) end: Position,
    pub(super) is_aside: bool,
}

/// The places of all logs of the cluster that is lost, the one that holds the most first.
///
/// The log that ends in the latest term, and in it at the highest index, holds everything that was committed
/// and is in any of the others: a leader of a later term began with all that was committed before it. That is
/// so whether or not a node has set the log aside since, for it does that for reasons of its own.
///
/// # Errors
/// Terms mean something within one cluster only: of several clusters it is nobody's to choose here.
pub(super) fn order(
    latched: Option<ClusterId>,
    logs: &[Rated],
) -> Result<Vec<usize>, Vec<ClusterId>> {
    let Some(lost) = lost(latched, logs)? else {
        return Ok(Vec::new());
    };
    let mut places: Vec<_> = (0..logs.len())
        .filter(|place| logs[*place].cluster == lost)
        .collect();
    places.sort_by_key(|place| {
        let Rated { end, is_aside, .. } = logs[*place];
        (Reverse((end.term, end.index)), is_aside)
    });
    Ok(places)
}

/// The cluster that is lost: the one that the directory names if there is a log of it, else one that no other
/// continues. Logs in their places say more about which it is than those that were set aside.
fn lost(latched: Option<ClusterId>, logs: &[Rated]) -> Result<Option<ClusterId>, Vec<ClusterId>> {
    let has_log = |cluster: &ClusterId| logs.iter().any(|log| log.cluster == *cluster);
    if let Some(latched) = latched.filter(has_log) {
        return Ok(Some(latched));
    }
    let is_last = |log: &&Rated| {
        let mut later = logs.iter();
        !later.any(|later| later.supersedes.contains(&log.cluster))
    };
    for is_aside in [false, true] {
        let of_class = logs.iter().filter(|log| log.is_aside == is_aside);
        let mut clusters: Vec<_> = of_class.filter(is_last).map(|log| log.cluster).collect();
        clusters.sort_unstable();
        clusters.dedup();
        match clusters[..] {
            [] => {}
            [cluster] => return Ok(Some(cluster)),
            _ => return Err(clusters),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(cluster: u128, term: u64, index: u64, is_aside: bool) -> Rated {
        Rated {
            cluster: ClusterId(cluster),
            supersedes: Vec::new(),
            end: Position { index, term },
            is_aside,
        }
    }

    #[test]
    fn the_latest_term_and_then_the_highest_index_win_wherever_the_log_lies() {
        let latched = Some(ClusterId(1));
        let logs = [
            rated(1, 4, 90, false),
            rated(1, 5, 40, true),
            rated(1, 5, 40, false),
            rated(1, 9, 9, true),
            rated(2, 9, 99, false),
        ];
        assert_eq!(order(latched, &logs), Ok(vec![3, 2, 1, 0]));
        assert_eq!(order(latched, &logs[..3]), Ok(vec![2, 1, 0]));
        assert_eq!(order(latched, &logs[4..]), Ok(vec![0]));
        assert_eq!(order(latched, &[]), Ok(vec![]));
    }

    #[test]
    fn between_clusters_nobody_chooses() {
        let several = Err(vec![ClusterId(1), ClusterId(2)]);
        let logs = [rated(2, 1, 1, false), rated(1, 5, 5, false)];
        assert_eq!(order(None, &logs), several);
        assert_eq!(order(Some(ClusterId(3)), &logs), several);
        assert_eq!(order(Some(ClusterId(2)), &logs), Ok(vec![0]));
        assert_eq!(order(None, &logs[1..]), Ok(vec![0]));
    }

    #[test]
    fn the_cluster_that_continues_others_is_the_lost_one() {
        let mut logs = vec![
            rated(1, 9, 9, false),
            rated(2, 2, 2, true),
            rated(2, 3, 3, false),
        ];
        logs[1].supersedes = vec![ClusterId(1)];
        assert_eq!(order(None, &logs), Ok(vec![2, 1]));
        // The directory knows better.
        assert_eq!(order(Some(ClusterId(1)), &logs), Ok(vec![0]));
        // Of what was set aside, another cluster's counts only where nothing else is left.
        logs[0].is_aside = true;
        logs[1].supersedes.clear();
        assert_eq!(order(None, &logs), Ok(vec![2, 1]));
        logs[2].is_aside = true;
        assert!(order(None, &logs).is_err());
    }
}
