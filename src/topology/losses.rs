//! What may be lost now without losing the quorum or the only copy of something, in words. Pure.
//!
//! `gcache cluster status` shows it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::member::{MemberRecord, MemberStatus};
use super::state::State;
use crate::ids::NodeId;

/// What may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Losses {
    /// How many voters of any choice may be lost. None if the quorum is lost already.
    pub voters: Option<usize>,
    /// What can be lost and what one had better know, a line each: first how many voters.
    pub lines: Vec<String>,
}

/// What may be lost in a cluster of this state, where the members that are up do `answer`.
pub fn losses(state: &State, answers: impl Fn(NodeId) -> bool) -> Losses {
    let is_up = |id: NodeId| {
        let status = state.member(id).map(|member| member.status);
        matches!(status, Some(MemberStatus::Up | MemberStatus::Leaving)) && answers(id)
    };
    let quorum = state.quorum();
    // While the quorum changes, a majority of each half is needed.
    let halves = [&quorum.voters, &quorum.outgoing];
    let halves = halves.into_iter().filter(|half| !half.is_empty());
    let spare = |half: &BTreeSet<NodeId>| {
        let up = half.iter().filter(|id| is_up(**id)).count();
        up.checked_sub(half.len() / 2 + 1)
    };
    let voters = halves.clone().map(spare).min().flatten();
    let mut lines = vec![match voters {
        None => "the quorum is lost: nothing can be changed".to_owned(),
        Some(0) => "bears the loss of no voter".to_owned(),
        Some(1) => "bears the loss of one voter".to_owned(),
        Some(more) => format!("bears the loss of {} voters", number(more)),
    }];
    if quorum.is_joint() {
        lines.push("the voters are changing".to_owned());
    }
    let up: Vec<&MemberRecord> = state.members().filter(|member| is_up(member.id)).collect();
    let count = quorum.voters.len();
    if count < 3 && up.len() > count {
        lines.push(format!(
            "{} members have {} voter{}",
            number(up.len()),
            number(count),
            if count == 1 { "" } else { "s" }
        ));
    }
    // If no voter may be lost, no zone with one may be.
    if voters > Some(0) {
        lines.extend(zones(state, &quorum.voters, is_up));
    }
    lines.extend(copies(state));
    Losses { voters, lines }
}

/// The zones whose loss is that of the quorum.
fn zones(state: &State, voters: &BTreeSet<NodeId>, is_up: impl Fn(NodeId) -> bool) -> Vec<String> {
    let up = voters.iter().filter(|id| is_up(**id));
    let up: Vec<_> = up.filter_map(|id| state.member(*id)).collect();
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for member in &up {
        *zones.entry(member.zone.as_str()).or_default() += 1;
    }
    let majority = voters.len() / 2 + 1;
    let is_fatal = |in_zone: usize| up.len() - in_zone < majority;
    let fatal = zones.iter().filter(|(_, in_zone)| is_fatal(**in_zone));
    let line = |(zone, in_zone): (&&str, &usize)| match *in_zone == up.len() {
        true => format!("all voters are in zone {zone}"),
        false => {
            let (some, all) = (number(*in_zone), number(voters.len()));
            format!("{some} of {all} voters are in zone {zone}")
        }
    };
    fatal.map(line).collect()
}

/// What has no second place.
fn copies(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    let assignments = || state.table().iter().map(|(_, assignment)| assignment);
    let alone = assignments().filter(|assignment| assignment.standby.is_none());
    let alone = alone.count();
    if alone > 0 {
        lines.push(format!("{alone} partitions have no standby"));
    } else if state.has_copies() {
        let without = assignments().filter(|assignment| !assignment.copies.are_kept);
        match without.count() {
            0 => {}
            without => lines.push(format!(
                "{without} partitions have one copy of their values"
            )),
        }
    }
    lines
}

/// A small number as a word.
fn number(number: usize) -> String {
    const WORDS: [&str; 6] = ["no", "one", "two", "three", "four", "five"];
    let word = WORDS.get(number).map(ToString::to_string);
    word.unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Incarnation};
    use crate::topology::commands::{Agreed, Command, Joiner, SetStatus};
    use crate::topology::fixtures::named;
    use crate::topology::model::member::Zone;
    use crate::topology::model::quorum::Quorum;
    use crate::topology::state::Founding;

    /// Members in these zones, the first of which vote.
    fn members(zones: &[&str], voters: u64) -> State {
        let joiner = |number: usize| Joiner {
            zone: Zone::new(zones[number - 1]),
            ..named(&format!("node-{number}"))
        };
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: joiner(1),
        });
        for number in 2..=zones.len() {
            state.apply(&Command::Join(joiner(number))).unwrap();
            let up = SetStatus {
                id: NodeId(number as u64),
                status: MemberStatus::Up,
                incarnation: Incarnation(1),
            };
            state.apply(&Command::SetStatus(up)).unwrap();
        }
        // One member alone has all already.
        if let Some(plan) = state.plan_assign() {
            state.apply(&plan).unwrap();
        }
        state.quorum = Quorum {
            voters: (1..=voters).map(NodeId).collect(),
            ..Quorum::default()
        };
        state
    }

    #[test]
    fn what_may_be_lost_is_said_in_words() {
        let (one, no) = ("bears the loss of one voter", "bears the loss of no voter");
        let lost = "the quorum is lost: nothing can be changed";
        let alone = "4096 partitions have no standby";
        let nobody: &[u64] = &[];
        for (zones, voters, silent, spare, lines) in [
            (&["a"][..], 1, nobody, Some(0), &[no, alone][..]),
            (
                &["a", "b"],
                1,
                &[],
                Some(0),
                &[no, "two members have one voter"],
            ),
            (&["a", "b", "c"], 3, &[], Some(1), &[one]),
            (
                &["a", "b", "b"],
                3,
                &[],
                Some(1),
                &[one, "two of three voters are in zone b"],
            ),
            (
                &["a", "a", "a"],
                3,
                &[],
                Some(1),
                &[one, "all voters are in zone a"],
            ),
            (
                &["a", "b", "c", "a", "b"],
                5,
                &[],
                Some(2),
                &["bears the loss of two voters"],
            ),
            (&["a", "b", "c"], 3, &[3], Some(0), &[no]),
            (&["a", "b", "c"], 3, &[2, 3], None, &[lost]),
        ] {
            let state = members(zones, voters);
            let found = losses(&state, |id| !silent.contains(&id.0));
            let lines = lines.iter().map(ToString::to_string).collect();
            let voters = spare;
            assert_eq!(found, Losses { voters, lines }, "{zones:?} {silent:?}");
        }
    }
}
