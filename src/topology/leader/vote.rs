//! Chooses the voters: an odd number of members that have caught up, spread over zones. Pure.
//!
//! A member that leaves for good votes until it has no vote any more ([`may_give_vote`]): so here its vote goes
//! to the first member that can take it, and if there is none, the voters become fewer.

use super::facts::{Facts, change};
use crate::ids::NodeId;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{QuorumChange, QuorumRole};
use crate::topology::state::State;

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
        .or_else(|| shrink(facts))
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
    // The last one is left out if it would make their number even: of two members, one votes. But a leader that
    // leaves for good, and is the only voter, needs an heir.
    let needs_heir = before == 1 && changes.len() == 1 && is_gone(facts.state, facts.me);
    if voters.len().is_multiple_of(2) && voters.len() > before && !needs_heir {
        changes.pop();
    }
    (!changes.is_empty()).then(|| change(changes))
}

/// Replaces a voter that is gone for good, or has been silent for too long, by a learner.
fn replace(facts: &Facts<'_>) -> Option<QuorumChange> {
    let voters = &facts.state.quorum().voters;
    let others = || voters.iter().copied().filter(|id| *id != facts.me);
    let in_place_of = |lost: NodeId, next: NodeId| {
        change([(next, QuorumRole::Voter), (lost, after_vote(facts, lost))])
    };
    let without = |lost: NodeId| -> Vec<NodeId> {
        let stay = voters.iter().copied().filter(|id| *id != lost);
        stay.collect()
    };
    // Nothing is gained by keeping the vote of a member that is gone: it may stop at any moment.
    let gone = others().find(|id| is_gone(facts.state, *id));
    let heir = gone.and_then(|gone| Some((gone, candidate(facts, &without(gone))?)));
    if let Some((gone, next)) = heir {
        return Some(in_place_of(gone, next));
    }
    let silent = others().find(|id| facts.silence(*id) >= REPLACED_AFTER)?;
    let next = stable_candidate(facts, &without(silent))?;
    Some(in_place_of(silent, next))
}

/// Takes votes from voters that are gone and that nobody can replace, once one of them has left for good: as
/// many as leave an odd number. Those that are silent lose theirs first.
fn shrink(facts: &Facts<'_>) -> Option<QuorumChange> {
    let state = facts.state;
    let voters = &state.quorum().voters;
    if !voters.iter().any(|id| is_gone(state, *id)) {
        return None;
    }
    let others = voters.iter().copied().filter(|id| *id != facts.me);
    let mut gone: Vec<NodeId> = others.filter(|id| is_lost(state, *id)).collect();
    gone.sort_by_key(|id| facts.is_there(*id));
    gone.truncate(surplus(voters.len(), gone.len()));
    let changes = gone.iter().map(|id| (*id, after_vote(facts, *id)));
    (!gone.is_empty()).then(|| change(changes))
}

/// How many of `gone` voters can lose their votes, so that of `voters` an odd number is left.
fn surplus(voters: usize, gone: usize) -> usize {
    let most = gone.min(voters.saturating_sub(1));
    match (voters - most).is_multiple_of(2) {
        true => most.saturating_sub(1),
        false => most,
    }
}

/// Whether a member never comes back: another has its name, or it leaves for good and has announced that.
fn is_gone(state: &State, id: NodeId) -> bool {
    state.member(id).is_some_and(|record| {
        let is_down = record.status == MemberStatus::Down;
        let is_leaving = record.status == MemberStatus::Leaving;
        is_down && record.replaced_by.is_some()
            || (is_down || is_leaving) && record.has_left && record.leaves_on_term
    })
}

/// Whether a member is [gone](is_gone), or is down and does not come back once it is stopped: it may have died.
fn is_lost(state: &State, id: NodeId) -> bool {
    let is_lost =
        |record: &MemberRecord| record.status == MemberStatus::Down && record.leaves_on_term;
    is_gone(state, id) || state.member(id).is_some_and(is_lost)
}

/// Whether member `id` leaves for good and has a vote that a leader will take from it: another member can have
/// it, now or once it has joined, or the cluster can do without it.
#[must_use]
pub fn may_give_vote(state: &State, id: NodeId) -> bool {
    let quorum = state.quorum();
    let leaves = state.member(id).is_some_and(|record| record.leaves_on_term);
    if !leaves || !quorum.is_voter(id) {
        return false;
    }
    let stays = |record: &MemberRecord| {
        record.id != id && matches!(record.status, MemberStatus::Up | MemberStatus::Joining)
    };
    let others: Vec<NodeId> = state
        .members()
        .filter(|record| stays(record))
        .map(|record| record.id)
        .collect();
    if others.is_empty() {
        // Nobody is left to vote.
        return false;
    }
    let voters = &quorum.voters;
    let gone = voters
        .iter()
        .filter(|voter| **voter == id || is_lost(state, **voter));
    others.iter().any(|other| !voters.contains(other)) || surplus(voters.len(), gone.count()) > 0
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
