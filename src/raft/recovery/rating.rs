//! Which of several logs a lost cluster is continued from. Pure.

use std::cmp::Reverse;

use crate::ids::ClusterId;
use crate::raft::log::Position;

/// What of a log decides whether it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rated {
    pub(super) cluster: ClusterId,
    pub(super) end: Position,
    pub(super) is_aside: bool,
}

/// The place of the log that holds the most: one in its place before one that was set aside, one of the
/// cluster that the directory names before one of another.
///
/// Terms mean something within one cluster only: of several clusters it is nobody's to choose here.
pub(super) fn choose(
    latched: Option<ClusterId>,
    logs: &[Rated],
) -> Result<Option<usize>, Vec<ClusterId>> {
    let is_latched = |log: &Rated| latched.is_none_or(|latched| latched == log.cluster);
    for class in [(true, false), (true, true), (false, false), (false, true)] {
        let of_class = || {
            let logs = logs.iter().enumerate();
            logs.filter(move |(_, log)| (is_latched(log), log.is_aside) == class)
        };
        let mut clusters: Vec<_> = of_class().map(|(_, log)| log.cluster).collect();
        clusters.sort_unstable();
        clusters.dedup();
        if clusters.len() > 1 {
            return Err(clusters);
        }
        let best =
            of_class().max_by_key(|(place, log)| (log.end.term, log.end.index, Reverse(*place)));
        if let Some((place, _)) = best {
            return Ok(Some(place));
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
            end: Position { index, term },
            is_aside,
        }
    }

    #[test]
    fn a_later_term_counts_more_than_a_longer_log() {
        let latched = Some(ClusterId(1));
        let logs = [
            rated(1, 4, 90, false),
            rated(1, 5, 40, false),
            rated(1, 5, 40, false),
            rated(1, 9, 99, true),
            rated(2, 9, 99, false),
        ];
        assert_eq!(choose(latched, &logs), Ok(Some(1)));
        assert_eq!(choose(latched, &logs[3..]), Ok(Some(0)));
        assert_eq!(choose(latched, &logs[4..]), Ok(Some(0)));
        assert_eq!(choose(latched, &[]), Ok(None));
    }

    #[test]
    fn between_clusters_nobody_chooses() {
        let several = Err(vec![ClusterId(1), ClusterId(2)]);
        let logs = [rated(2, 1, 1, false), rated(1, 5, 5, false)];
        assert_eq!(choose(None, &logs), several);
        assert_eq!(choose(Some(ClusterId(3)), &logs), several);
        assert_eq!(choose(Some(ClusterId(2)), &logs), Ok(Some(0)));
        assert_eq!(choose(None, &logs[1..]), Ok(Some(0)));
    }
}
