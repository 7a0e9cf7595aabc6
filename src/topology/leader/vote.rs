//! Chooses the voters: an odd number of members that have caught up, spread over zones. Pure.

use super::facts::{Facts, change};
use crate::ids::NodeId;
use crate::topology::model::member::MemberStatus;
use crate::topology::model::quorum::{QuorumChange, QuorumRole};

/// With fewer voters than this the loss of one stops everything: then a member votes as soon as it has caught
/// up.
const SAFE_VOTERS: usize = 3;

/// How long a member has to be caught up before it votes, if there are enough voters without it.
const STABLE_MS: u64 = 10_000;

/// Ticks of silence after which a voter is replaced by another: 30 s. It stays a member.
const REPLACED_AFTER: u64 = 300;

/// The change that brings the voters nearer to the wanted ones.
///
/// It is one joint change, so that their number stays odd: from one to three, from three to five, one in the
/// place of another, or two fewer. Without enough candidates nothing changes.
pub(super) fn vote(facts: &Facts<'_>) -> Option<QuorumChange> {
    let voters = &facts.state.quorum().voters;
    more(facts)
        .or_else(|| replace(facts))
        .or_else(|| fewer(facts))
        .filter(|change| !change.changes.is_empty() && !voters.is_empty())
}

/// Makes learners voters, if there are too few.
fn more(facts: &Facts<'_>) -> Option<QuorumChange> {
    let mut voters: Vec<NodeId> = facts.state.quorum().voters.iter().copied().collect();
    let before = voters.len();
    let mut changes = Vec::new();
    while voters.len() < facts.noted.voters {
        let Some(next) = stable_candidate(facts, &voters) else {
            break;
        };
        voters.push(next);
        changes.push((next, QuorumRole::Voter));
    }
    // The last one is left out if it would make their number even: of two members, one votes.
    if voters.len().is_multiple_of(2) && voters.len() > before {
        changes.pop();
    }
    (!changes.is_empty()).then(|| change(changes))
}

/// Replaces a voter that has been silent for too long, or is gone for good, by a learner.
fn replace(facts: &Facts<'_>) -> Option<QuorumChange> {
    let voters = &facts.state.quorum().voters;
    let is_lost = |id: &&NodeId| {
        let record = facts.state.member(**id);
        let is_gone = record.is_some_and(|record| {
            let is_down = record.status == MemberStatus::Down;
            let is_leaving = record.status == MemberStatus::Leaving;
            is_down && record.replaced_by.is_some()
                || (is_down || is_leaving) && record.has_left && record.leaves_on_term
        });
        is_gone || facts.silence(**id) >= REPLACED_AFTER
    };
    let lost = *voters.iter().filter(|id| **id != facts.me).find(is_lost)?;
    let stay: Vec<NodeId> = voters.iter().copied().filter(|id| *id != lost).collect();
    let next = stable_candidate(facts, &stay)?;
    Some(change([
        (next, QuorumRole::Voter),
        (lost, after_vote(facts, lost)),
    ]))
}

/// The role of a former voter.
fn after_vote(facts: &Facts<'_>, id: NodeId) -> QuorumRole {
    let record = facts.state.member(id);
    // A member whose name another member has taken never comes back.
    match record.is_some_and(|record| record.replaced_by.is_some()) {
        true => QuorumRole::Removed,
        false => QuorumRole::Learner,
    }
}

/// Removes the votes of surplus voters, two at a time, or of one if their number is even. Silent voters go
/// first, then those of the zone with the most. The leader never does.
fn fewer(facts: &Facts<'_>) -> Option<QuorumChange> {
    let mut voters: Vec<NodeId> = facts.state.quorum().voters.iter().copied().collect();
    let target = facts.noted.voters.max(SAFE_VOTERS);
    // An even number, which is left when a voter was removed, tolerates no more failures than one fewer.
    let wanted = match voters.len() {
        even if even.is_multiple_of(2) && even > SAFE_VOTERS => 1,
        many if many >= target + 2 => 2,
        _ => return None,
    };
    let mut changes = Vec::new();
    for _ in 0..wanted {
        let others = voters.iter().copied().filter(|id| *id != facts.me);
        let order = |id: &NodeId| (facts.is_there(*id), usize::MAX - crowd(facts, &voters, *id));
        // Of equal ones, the member that joined last.
        let last = others.min_by_key(|id| (order(id), u64::MAX - id.0))?;
        voters.retain(|id| *id != last);
        changes.push((last, after_vote(facts, last)));
    }
    Some(change(changes))
}

/// How many of `voters` are in the zone of `id`.
fn crowd(facts: &Facts<'_>, voters: &[NodeId], id: NodeId) -> usize {
    let zone = |id: NodeId| facts.state.member(id).map(|member| &member.zone);
    let own = zone(id);
    voters.iter().filter(|voter| zone(**voter) == own).count()
}

/// The learner that should vote next: the [`candidate`] among those that have been caught up for a while, or
/// among all as long as there are too few voters.
fn stable_candidate(facts: &Facts<'_>, voters: &[NodeId]) -> Option<NodeId> {
    let is_urgent = facts.state.quorum().voters.len() < SAFE_VOTERS;
    let is_stable = |id: NodeId| {
        let since = facts.noted.caught_up.get(&id);
        is_urgent || since.is_some_and(|since| facts.noted.now.since(*since) >= STABLE_MS)
    };
    best(facts, voters, is_stable)
}

/// The learner that would spread the voters best: in the zone with the fewest voters, then with the lowest
/// id. It is up and has caught up.
pub(super) fn candidate(facts: &Facts<'_>, voters: &[NodeId]) -> Option<NodeId> {
    best(facts, voters, |_| true)
}

fn best(facts: &Facts<'_>, voters: &[NodeId], is_right: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    let is_up = |id: NodeId| {
        let record = facts.state.member(id);
        record.is_some_and(|record| record.status == MemberStatus::Up)
    };
    let learners = facts.state.quorum().learners.iter().copied();
    learners
        .filter(|id| !voters.contains(id) && is_up(*id) && facts.has_caught_up(*id))
        .filter(|id| is_right(*id))
        .min_by_key(|id| (crowd(facts, voters, *id), *id))
}
