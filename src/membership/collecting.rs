//! Which directories of nodes that are gone for ever may be deleted. Pure.
//!
//! Where tasks never come back under their names, a shared data directory grows with each of them. The leader's
//! node collects what removed members have left, one look after the other: it marks what belongs to no member,
//! and deletes it a day after, once it has the log's lock and has read there that its member was removed. The
//! youngest stay, for an operator who recovers a cluster or wants to know what happened.

use std::time::Duration;

use crate::ids::{ClusterId, NodeId};
use crate::topology::state::State;

/// How long a directory belongs to no member before it is deleted.
pub const KEPT_FOR: Duration = Duration::from_hours(24);

/// How many directories that belong to no member stay in any case: those that have been marked last.
pub const KEPT_DIRECTORIES: usize = 8;

/// How many directories one look opens, and deletes at most: each is a log to read.
pub const CHECKED_AT_ONCE: usize = 4;

/// A directory, as a look finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lying {
    /// What it is called: a node's name, with `~N` behind it if it was set aside.
    pub directory: String,
    /// How long ago it was marked as one that belongs to no member; none if it is not marked.
    pub marked: Option<Duration>,
}

/// What is done about a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is marked: from now on it belongs to no member.
    Mark(String),
    /// Its mark is taken away: a member has it.
    Unmark(String),
    /// Its log is read; if that [was a removed member's](is_removed) and nobody has it open, the directory is
    /// deleted, and else marked anew.
    Check(String),
}

/// Decides what to do about the directories that lie in a data directory, by the leader's state.
#[must_use]
pub fn look(state: &State, lying: &[Lying]) -> Vec<Step> {
    let is_members = |directory: &str| state.members().any(|member| *member.name == *directory);
    let mut steps = Vec::new();
    let mut marked = Vec::new();
    for Lying {
        directory,
        marked: since,
    } in lying
    {
        match (is_members(directory), since) {
            (true, Some(_)) => steps.push(Step::Unmark(directory.clone())),
            (true, None) => {}
            (false, None) => steps.push(Step::Mark(directory.clone())),
            (false, Some(since)) => marked.push((*since, directory)),
        }
    }
    marked.sort_unstable();
    let due = marked.into_iter().skip(KEPT_DIRECTORIES).rev();
    let due = due
        .filter(|(since, _)| *since >= KEPT_FOR)
        .take(CHECKED_AT_ONCE);
    steps.extend(due.map(|(_, directory)| Step::Check(directory.clone())));
    steps
}

/// Whether the log of member `node` of `cluster` is of no use to the cluster of `state` any more. Ids are never given
/// twice: one that was given and has no member is a removed member's.
#[must_use]
pub fn is_removed(state: &State, cluster: ClusterId, node: NodeId) -> bool {
    let is_gone = node < state.next_node() && state.member(node).is_none();
    match cluster == state.cluster() {
        true => is_gone,
        // A recovery has removed all members of the cluster before.
        false => state.supersedes().contains(&cluster),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::commands::Command;
    use crate::topology::fixtures::cluster;

    const HOUR: Duration = Duration::from_hours(1);

    fn lying(directory: &str, marked: Option<u32>) -> Lying {
        Lying {
            directory: directory.to_owned(),
            marked: marked.map(|hours| HOUR * hours),
        }
    }

    #[test]
    fn what_a_member_has_is_never_touched_and_the_youngest_stay() {
        let state = cluster(2);
        let mut all = vec![
            lying("node-1", None),
            lying("node-2", Some(99)),
            // What a member has set aside is not its directory.
            lying("node-1~1", None),
            lying("new", None),
        ];
        for hours in 0..20 {
            all.push(lying(&format!("gone-{hours:02}"), Some(20 + hours)));
        }
        let steps = look(&state, &all);
        let checked = ["gone-19", "gone-18", "gone-17", "gone-16"];
        let mut expected = vec![
            Step::Unmark("node-2".into()),
            Step::Mark("node-1~1".into()),
            Step::Mark("new".into()),
        ];
        expected.extend(checked.map(|name| Step::Check(name.into())));
        assert_eq!(steps, expected);
        // Nine: the oldest is one too many. None of them for a day: nothing is.
        let nine: Vec<_> = (0..9)
            .map(|n| lying(&format!("gone-{n}"), Some(30 - n)))
            .collect();
        assert_eq!(look(&state, &nine), [Step::Check("gone-0".into())]);
        assert_eq!(look(&state, &nine[1..]), []);
        let young: Vec<_> = (0..9)
            .map(|n| lying(&format!("gone-{n}"), Some(n)))
            .collect();
        assert_eq!(look(&state, &young), []);
    }

    #[test]
    fn only_an_id_that_was_given_and_is_no_members_was_removed() {
        let mut state = cluster(3);
        let cluster = state.cluster();
        let gone = NodeId(3);
        assert!(!is_removed(&state, cluster, gone));
        state.apply(&state.plan_fail_over(gone).unwrap()).unwrap();
        assert!(!is_removed(&state, cluster, gone));
        state.apply(&Command::RemoveMember(gone)).unwrap();
        assert!(is_removed(&state, cluster, gone));
        // One that joins this moment, by a state that is newer than this one.
        assert!(!is_removed(&state, cluster, state.next_node()));
        assert!(!is_removed(&state, ClusterId(99), gone));
        let before = state.supersedes()[0];
        assert!(is_removed(&state, before, NodeId(1)));
    }
}
