//! Decides the next step of a leader to remove a member for ever. Pure: the same facts give the same step.
//!
//! Every step is derived from the state anew. So another leader, or the same one when it is asked again, goes
//! on where the last one stopped.

use super::facts::{Facts, change};
use super::vote::candidate;
use crate::ids::NodeId;
use crate::topology::commands::Command;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{QuorumChange, QuorumRole};
use crate::topology::state::State;

/// The most ticks since a member was last heard of for it to count as alive: 3 s.
const ALIVE_TICKS: u64 = 30;

/// The same for a member that is down as the log says, which may be about to come back: one second.
const BACK_TICKS: u64 = 10;

/// The fewest voters that must remain when one is removed without a replacement: two tolerate fewer failures
/// than one.
const LEAST_VOTERS: usize = 3;

/// One step of a removal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The member was removed already.
    Gone,
    /// The removal is not possible now: the reason, and what would help.
    Refuse(String),
    /// Something else has to happen first, and will without the caller.
    Wait(String),
    /// A command to commit, and its effect in words.
    Propose(Command, String),
    /// A change of the quorum to commit, and its effect in words.
    ChangeQuorum(QuorumChange, String),
    /// The last command to commit.
    Remove(Command),
}

/// The next step towards a cluster without member `id`. In `facts`, `led_ticks` counts from when the leader
/// began to look at this member.
pub(super) fn next(facts: &Facts<'_>, id: NodeId) -> Step {
    let state = facts.state;
    let Some(record) = state.member(id) else {
        return match state.is_tombstone(id) {
            true => Step::Gone,
            false => Step::Refuse(format!("there is no member {id}")),
        };
    };
    if state.is_paused() {
        return Step::Refuse(
            "the ring is paused, and no member is removed meanwhile: use gcache ring resume first"
                .into(),
        );
    }
    if let Some(step) = obstacle(facts, record) {
        return step;
    }
    let vote = match state.quorum().is_voter(id) {
        true => match give_vote(facts, record) {
            step @ Step::ChangeQuorum(..) => Some(step),
            step => return step,
        },
        false => None,
    };
    if let Some(step) = give_partitions(state, record) {
        return step;
    }
    if let Some(step) = vote {
        return step;
    }
    let name = &record.name;
    if state.quorum().contains(id) {
        let change = change([(id, QuorumRole::Removed)]);
        return Step::ChangeQuorum(change, format!("{name} no longer gets the log"));
    }
    Step::Remove(Command::RemoveMember(id))
}

/// The reason why a member must not be removed, or not yet: it leads, or it may be alive.
fn obstacle(facts: &Facts<'_>, record: &MemberRecord) -> Option<Step> {
    let (id, name) = (record.id, &record.name);
    if id == facts.me {
        return Some(Step::Refuse(format!(
            "{name} leads: use gcache cluster transfer OTHER first"
        )));
    }
    let peer = facts.progress.iter().find(|peer| peer.node == id);
    let silent_ticks = peer.and_then(|peer| peer.silent_ticks);
    // The process of a replaced member may be alive for ever: it is removed in order to shut it out.
    let alive_ticks = match record.status {
        MemberStatus::Down => BACK_TICKS,
        MemberStatus::Up | MemberStatus::Joining | MemberStatus::Leaving => ALIVE_TICKS,
    };
    let is_heard = silent_ticks.is_some_and(|ticks| ticks <= alive_ticks);
    if is_heard && record.replaced_by.is_none() {
        return Some(Step::Refuse(format!(
            "{name} is alive: stop it first; it is down 3 s after it was last heard of"
        )));
    }
    match record.status {
        MemberStatus::Down => None,
        MemberStatus::Joining if silent_ticks.is_none() && facts.led_ticks <= ALIVE_TICKS => Some(
            Step::Wait(format!("it is not known yet whether {name} is alive")),
        ),
        MemberStatus::Joining => None,
        MemberStatus::Up | MemberStatus::Leaving => Some(Step::Wait(format!(
            "{name} is silent and still {}: it can be removed once it is down",
            record.status
        ))),
    }
}

/// Gives a voter's vote to a learner if there is one, or takes it away if there are enough other voters.
fn give_vote(facts: &Facts<'_>, record: &MemberRecord) -> Step {
    let (id, name) = (record.id, &record.name);
    let quorum = facts.state.quorum();
    if quorum.is_joint() {
        return Step::Wait("another change of the voters is under way".into());
    }
    let stay: Vec<_> = quorum.voters.iter().copied().filter(|v| *v != id).collect();
    if stay.len() >= LEAST_VOTERS {
        let change = change([(id, QuorumRole::Removed)]);
        return Step::ChangeQuorum(change, format!("{name} no longer votes"));
    }
    if let Some(heir) = candidate(facts, &stay) {
        let heir_name = facts.state.member(heir).map(|heir| heir.name.to_string());
        let change = change([(heir, QuorumRole::Voter), (id, QuorumRole::Removed)]);
        let done = format!(
            "{} votes in the place of {name}",
            heir_name.unwrap_or_default()
        );
        return Step::ChangeQuorum(change, done);
    }
    let is_coming = facts.state.members().any(|member| {
        let is_voter = quorum.is_voter(member.id);
        let peer = facts.progress.iter().find(|peer| peer.node == member.id);
        let silent_ticks = peer.and_then(|peer| peer.silent_ticks);
        !is_voter && silent_ticks.is_some_and(|ticks| ticks <= ALIVE_TICKS)
    });
    if is_coming {
        return Step::Wait(format!(
            "the member that is to vote in the place of {name} has not caught up yet"
        ));
    }
    Step::Refuse(format!(
        "{name} votes, and {LEAST_VOTERS} voters are the least: start a node in its place first; it takes the \
         vote within a few seconds, then ask again"
    ))
}

/// Gives the partitions that the member owns, or is the standby of, to others. The member is down from then
/// on, so that no plan gives it anything again.
fn give_partitions(state: &State, record: &MemberRecord) -> Option<Step> {
    let (id, name) = (record.id, &record.name);
    let is_its = |at: &crate::topology::Assignment| {
        [at.owner, at.standby].contains(&Some(id)) || at.move_to.is_some_and(|to| to.to == id)
    };
    let left = state.table().iter().filter(|(_, at)| is_its(at)).count();
    if let Some(command) = state.plan_fail_over(id) {
        let done = match left {
            0 => format!("{name} is down"),
            left => format!("{name} is down, its {left} partitions were given to others"),
        };
        return Some(Step::Propose(command, done));
    }
    let is_any_member_up = state
        .members()
        .any(|member| member.status == MemberStatus::Up);
    match (left, is_any_member_up) {
        (0, _) => None,
        (_, true) => Some(Step::Wait(format!(
            "{left} partitions of {name} are moving between others"
        ))),
        (_, false) => Some(Step::Refuse(format!(
            "no member is up to take the {left} partitions of {name}: start a node first"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Incarnation};
    use crate::topology::commands::{Agreed, SetStatus};
    use crate::topology::fixtures::named;
    use crate::topology::leader::facts::Noted;
    use crate::topology::model::quorum::Progress;
    use crate::topology::model::quorum::Quorum;
    use crate::topology::state::Founding;

    fn status(id: u64, status: MemberStatus) -> Command {
        Command::SetStatus(SetStatus {
            id: NodeId(id),
            status,
            incarnation: Incarnation(1),
        })
    }

    /// Members 1 to `members`, all up. The first `voters` of them are voters and the others learners.
    fn state(members: u64, voters: u64) -> State {
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: named("n1"),
        });
        for n in 2..=members {
            state
                .apply(&Command::Join(named(&format!("n{n}"))))
                .unwrap();
            state.apply(&status(n, MemberStatus::Up)).unwrap();
        }
        state.set_quorum(Quorum {
            voters: (1..=voters).map(NodeId).collect(),
            learners: (voters + 1..=members).map(NodeId).collect(),
            ..Quorum::default()
        });
        if let Some(plan) = state.plan_assign() {
            state.apply(&plan).unwrap();
        }
        state
    }

    fn down(state: &mut State, id: u64) {
        let command = state.plan_fail_over(NodeId(id)).unwrap();
        state.apply(&command).unwrap();
    }

    /// The step for member `id` when all members but `silent` are heard.
    fn step(state: &State, silent: &[u64], id: u64) -> Step {
        let peer = |id: NodeId| Progress {
            node: id,
            matched: 100,
            is_replicating: true,
            silent_ticks: Some(if silent.contains(&id.0) { 500 } else { 1 }),
        };
        let progress: Vec<_> = state.members().map(|member| peer(member.id)).collect();
        let facts = Facts {
            me: NodeId(1),
            state,
            last_index: 100,
            progress: &progress,
            led_ticks: 0,
            noted: Noted::default(),
        };
        next(&facts, NodeId(id))
    }

    /// Takes steps until there is none to take. Returns what was done, and the last step.
    fn steps(state: &mut State, id: u64) -> (Vec<String>, Step) {
        let mut done = Vec::new();
        loop {
            assert!(done.len() < 9, "{done:?}");
            match step(state, &[id], id) {
                Step::Propose(command, words) => {
                    state.apply(&command).unwrap();
                    done.push(words);
                }
                Step::Remove(command) => {
                    state.apply(&command).unwrap();
                }
                Step::ChangeQuorum(change, words) => {
                    state.may_change_quorum(&change).unwrap();
                    let mut quorum = state.quorum().clone();
                    quorum.voters = quorum.voters_after(&change);
                    for (id, _) in change.changes {
                        quorum.learners.remove(&id);
                    }
                    state.set_quorum(quorum);
                    done.push(words);
                }
                last => return (done, last),
            }
        }
    }

    fn refused(step: Step, words: &str) {
        let Step::Refuse(reason) = step else {
            panic!("{step:?}");
        };
        assert!(reason.contains(words), "{reason}");
    }

    #[test]
    fn a_learner_that_is_down_goes() {
        let mut four = state(4, 3);
        down(&mut four, 4);
        let (done, last) = steps(&mut four, 4);
        assert_eq!(done, ["n4 no longer gets the log"]);
        assert_eq!(last, Step::Gone);
        assert!(four.is_tombstone(NodeId(4)));
        // A second request has the same outcome.
        assert_eq!(step(&four, &[], 4), Step::Gone);
    }

    #[test]
    fn a_voters_place_goes_to_a_learner() {
        let mut four = state(4, 3);
        down(&mut four, 2);
        let (done, last) = steps(&mut four, 2);
        assert_eq!(done, ["n4 votes in the place of n2"]);
        assert_eq!(last, Step::Gone);
        assert_eq!(four.quorum().voters.len(), 3);
    }

    #[test]
    fn a_voter_that_is_needed_stays_and_nothing_is_done() {
        let mut three = state(3, 3);
        down(&mut three, 2);
        refused(step(&three, &[2], 2), "start a node in its place first");
        // A silent learner does not count.
        let mut four = state(4, 3);
        down(&mut four, 2);
        refused(step(&four, &[2, 4], 2), "3 voters are the least");
        // A member that is about to catch up is waited for.
        let mut joining = state(3, 3);
        down(&mut joining, 2);
        joining.apply(&Command::Join(named("n4"))).unwrap();
        assert!(matches!(step(&joining, &[2], 2), Step::Wait(_)));
        // Of four voters one may go without a replacement, and of five too.
        let mut more = state(4, 4);
        down(&mut more, 2);
        assert_eq!(steps(&mut more, 2).0, ["n2 no longer votes"]);
    }

    #[test]
    fn no_member_is_removed_while_the_ring_is_paused() {
        let mut four = state(4, 3);
        down(&mut four, 4);
        four.apply(&Command::SetPaused(true)).unwrap();
        refused(step(&four, &[4], 4), "use gcache ring resume first");
        four.apply(&Command::SetPaused(false)).unwrap();
        assert_eq!(steps(&mut four, 4).1, Step::Gone);
    }

    #[test]
    fn a_member_that_leads_or_lives_stays() {
        let mut four = state(4, 3);
        refused(step(&four, &[], 1), "gcache cluster transfer");
        refused(step(&four, &[], 4), "is alive: stop it first");
        assert!(matches!(step(&four, &[4], 4), Step::Wait(_)));
        down(&mut four, 4);
        refused(step(&four, &[], 4), "is alive: stop it first");
        refused(step(&four, &[], 9), "there is no member 9");
        // A member that lost its name while it was down is shut out, alive or not.
        four.apply(&Command::Join(named("n4"))).unwrap();
        assert!(matches!(step(&four, &[], 4), Step::ChangeQuorum(..)));
    }

    #[test]
    fn a_silent_joining_member_goes_once_its_silence_is_certain() {
        let mut four = state(3, 3);
        four.apply(&Command::Join(named("n4"))).unwrap();
        let unheard = |led_ticks| {
            let facts = Facts {
                me: NodeId(1),
                state: &four,
                last_index: 100,
                progress: &[],
                led_ticks,
                noted: Noted::default(),
            };
            next(&facts, NodeId(4))
        };
        assert!(matches!(unheard(ALIVE_TICKS), Step::Wait(_)));
        let Step::Propose(Command::FailOver(_), done) = unheard(ALIVE_TICKS + 1) else {
            panic!("it is set down first");
        };
        assert_eq!(done, "n4 is down");
        assert_eq!(steps(&mut four, 4).1, Step::Gone);
    }

    #[test]
    fn the_partitions_of_the_member_are_given_away_first() {
        let mut four = state(4, 3);
        // Down without a fail-over, as an old operator's tool might have left it.
        four.apply(&status(4, MemberStatus::Down)).unwrap();
        let (done, last) = steps(&mut four, 4);
        assert!(done[0].starts_with("n4 is down, its "), "{done:?}");
        assert_eq!(last, Step::Gone);
        assert_eq!(four.table().owned_by(NodeId(4)), 0);
        let mut alone = state(4, 3);
        for n in [1, 2, 3] {
            alone.apply(&status(n, MemberStatus::Leaving)).unwrap();
        }
        alone.apply(&status(4, MemberStatus::Down)).unwrap();
        refused(step(&alone, &[4], 4), "no member is up");
    }
}
