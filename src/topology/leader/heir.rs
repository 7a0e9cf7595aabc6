//! Chooses the voter that a leader hands its leadership to before it stops. Pure.

use super::event::Standing;
use crate::ids::NodeId;
use crate::topology::state::State;

/// A voter is a good heir if it was heard within this many ticks.
const HEARD_TICKS: u64 = 5;

/// The voter that leader `me` should hand over to: of those that were heard a moment ago one that stays, if
/// there is one, and of these the one whose log is furthest. None if this node does not lead, or no other voter
/// was heard: then nothing is lost, because the other voters elect a leader.
#[must_use]
pub fn heir(me: NodeId, state: &State, standing: &Standing) -> Option<NodeId> {
    standing.leads?;
    let heirs = standing.progress.iter().filter(|peer| {
        let is_heard = peer.silent_ticks.is_some_and(|ticks| ticks <= HEARD_TICKS);
        peer.node != me && is_heard && state.quorum().voters.contains(&peer.node)
    });
    let best = heirs.max_by_key(|peer| (state.is_up(peer.node), peer.matched));
    best.map(|peer| peer.node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures::cluster;
    use crate::topology::model::quorum::{Progress, Quorum};

    #[test]
    fn the_voter_with_the_longest_log_that_was_heard_is_the_heir() {
        let mut state = cluster(4);
        state.set_quorum(Quorum {
            voters: [1, 2, 3].map(NodeId).into(),
            learners: [NodeId(4)].into(),
            ..Quorum::default()
        });
        // What is known of members 2, 3 and 4: the index that each has, and how long ago it was heard.
        let table = [
            ([(9, Some(1)), (8, Some(1)), (9, Some(1))], Some(2)),
            ([(8, Some(1)), (9, Some(5)), (9, Some(1))], Some(3)),
            ([(8, Some(1)), (9, Some(6)), (9, Some(1))], Some(2)),
            ([(8, None), (9, Some(60)), (9, Some(1))], None),
        ];
        for (peers, expected) in table {
            let progress = (2..).zip(peers);
            let mut standing = Standing {
                leads: Some(7),
                progress: progress
                    .map(|(id, (matched, silent_ticks))| Progress {
                        node: NodeId(id),
                        matched,
                        is_replicating: true,
                        silent_ticks,
                    })
                    .collect(),
                ..Standing::default()
            };
            let found = heir(NodeId(1), &state, &standing);
            assert_eq!(found, expected.map(NodeId), "{peers:?}");
            standing.leads = None;
            assert_eq!(heir(NodeId(1), &state, &standing), None);
        }
    }
}
