//! What a leader knows in one term, and the decisions it takes from that alone. All of it is dropped with the
//! term. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::TICK_MS;
use super::decide::{Next, Step, decide};
use super::event::{Answer, Around, Caller, Effect, Outcome, Report, Settled};
use super::facts::{Facts, Heard, Noted, Since};
use super::mistake::Mistake;
use super::removing::{Removals, Taken};
use super::settings::Settings;
use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::commands::{AbortRun, Command};
use crate::topology::lease::{DOWN_MS, LeaseBook, Renewal, Round};
use crate::topology::moves::{MOVE_MAX_MS, MoveBook};
use crate::topology::state::State;

/// The most renewals of one member that wait for an answer.
const AWAITED_MAX: usize = 4;

/// The knowledge of a leader in one term.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) number: u64,
    since: Millis,
    book: LeaseBook,
    moves: MoveBook,
    awaited: BTreeMap<NodeId, Vec<(Caller, Renewal)>>,
    heard: Heard,
    pub(super) removals: Removals,
    /// The step under way, and the removal that it belongs to, if it belongs to one.
    step: Option<(Step, Option<Taken>)>,
    /// When the leader last failed a member over, or gave moves up.
    failed_over: Option<Millis>,
    /// The epoch in which partitions were last found to be shared out well.
    shared_out: Option<Epoch>,
    /// Since when each caught-up member has been caught up without a break.
    caught_up: Since,
    /// Members that are down and that discovery no longer lists.
    unlisted: BTreeSet<NodeId>,
    /// An epoch, and for each owner in it the `since` of the partition that it got last.
    sinces: (Epoch, BTreeMap<NodeId, Epoch>),
}

impl Term {
    /// Term `number`, which this node has led since `since`. It begins with no knowledge.
    pub(super) fn new(number: u64, since: Millis) -> Self {
        Self {
            number,
            since,
            book: LeaseBook::default(),
            moves: MoveBook::default(),
            awaited: BTreeMap::new(),
            heard: Heard::new(),
            removals: Removals::default(),
            step: None,
            failed_over: None,
            shared_out: None,
            caught_up: Since::new(),
            unlisted: BTreeSet::new(),
            sinces: (Epoch(0), BTreeMap::new()),
        }
    }

    /// Ends the term: every caller is answered that this node does not lead.
    pub(super) fn end(self, effects: &mut Vec<Effect>) {
        let awaited = self.awaited.into_values().flatten();
        effects.extend(awaited.map(|(caller, _)| Effect::Answer(caller, Answer::NotLeader)));
        effects.extend(self.removals.deposed());
    }

    /// Takes a renewal in. The next round decides it.
    pub(super) fn arrived(
        &mut self,
        (caller, renewal): (Caller, Renewal),
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        self.moves.reported(renewal.member, renewal.moves);
        if let Err(refusal) = self.book.arrived(renewal, state) {
            let answer = match state.is_tombstone(renewal.member) {
                true => Answer::Removed,
                false => Answer::Refused(refusal),
            };
            return effects.push(Effect::Answer(caller, answer));
        }
        let awaited = self.awaited.entry(renewal.member).or_default();
        if awaited.len() >= AWAITED_MAX {
            let (displaced, _) = awaited.remove(0);
            effects.push(Effect::Answer(displaced, Answer::NotLeader));
        }
        awaited.push((caller, renewal));
    }

    /// Begins a round for all renewals that wait, if there are any and no round is under way.
    pub(super) fn begin_round(&mut self) -> Option<Round> {
        self.book.begin()
    }

    /// Answers the renewals of a round.
    pub(super) fn round_ended(
        &mut self,
        (round, is_confirmed): (Round, bool),
        (now, state): (Millis, &State),
        settings: &Settings,
        effects: &mut Vec<Effect>,
    ) {
        if !is_confirmed {
            for renewal in self.book.failed(round) {
                self.answer(&renewal, &Answer::NotLeader, effects);
            }
            return;
        }
        // Raft confirms no read before an entry of the leader's own term is committed.
        let first_commit = match settings.makes(Mistake::NoWaitOfNewLeader) {
            true => Millis(now.0.saturating_sub(DOWN_MS)),
            false => now,
        };
        self.book.first_committed(first_commit, state);
        for (renewal, answer) in self.book.confirmed(round, now, state) {
            self.heard.insert(renewal.member, (renewal, now));
            let answer = match answer {
                Ok(grant) => Answer::Granted(grant),
                Err(refusal) => Answer::Refused(refusal),
            };
            self.answer(&renewal, &answer, effects);
        }
    }

    /// Answers `renewal`, and the renewals of the same member that it has overtaken.
    fn answer(&mut self, renewal: &Renewal, answer: &Answer, effects: &mut Vec<Effect>) {
        let Some(awaited) = self.awaited.get_mut(&renewal.member) else {
            return;
        };
        let order = |renewal: &Renewal| (renewal.incarnation, renewal.sent_at);
        let (answered, kept): (Vec<_>, Vec<_>) = std::mem::take(awaited)
            .into_iter()
            .partition(|(_, asked)| order(asked) <= order(renewal));
        *awaited = kept;
        for (caller, asked) in answered {
            let answer = match asked == *renewal {
                true => answer.clone(),
                false => Answer::NotLeader,
            };
            effects.push(Effect::Answer(caller, answer));
        }
    }

    /// What is settled now.
    pub(super) fn settled(&mut self, now: Millis, state: &State, settings: &Settings) -> Settled {
        if self.sinces.0 != state.epoch() {
            self.sinces = (state.epoch(), state.table().latest_sinces());
        }
        if settings.makes(Mistake::SettledAtOnce) {
            return Settled {
                epoch: Some(state.epoch()),
                all_act: true,
                ..Settled::default()
            };
        }
        Settled {
            epoch: Some(self.book.settled(now, state)),
            behind: self.book.behind(now, state.epoch()).collect(),
            all_act: self.book.all_act(now, &self.sinces.1),
        }
    }

    /// Ends removals that take too long. One whose own step is under way waits for the end of that.
    pub(super) fn end_overdue_removals(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let under_way = self.step.as_ref().and_then(|(_, taken)| taken.as_ref());
        self.removals.end_overdue(now, under_way, effects);
    }

    /// Notes the members that are down and that discovery no longer lists.
    pub(super) fn note_unlisted(&mut self, unlisted: BTreeSet<NodeId>) {
        self.unlisted = unlisted;
    }

    /// The next step, if there is one to take and none is under way.
    pub(super) fn next(
        &mut self,
        me: NodeId,
        around: &Around<'_>,
        settings: &Settings,
        effects: &mut Vec<Effect>,
    ) -> Option<Step> {
        let Around {
            now,
            state,
            standing,
        } = *around;
        // A leader does not know what is committed before it has applied an entry of its own term.
        if self.step.is_some()
            || standing.leads != Some(self.number)
            || standing.applied < standing.commit
        {
            return None;
        }
        let due = self.fail_over(now, state, settings);
        let due = due.or_else(|| self.end_moves(now, state, settings, effects));
        let step = match due {
            Some(command) => (Step::Propose(command), None),
            None => self.plan(me, around, settings, effects)?,
        };
        self.step = Some(step.clone());
        Some(step.0)
    }

    /// The next step of a removal or of the autopilot.
    fn plan(
        &mut self,
        me: NodeId,
        around: &Around<'_>,
        settings: &Settings,
        effects: &mut Vec<Effect>,
    ) -> Option<(Step, Option<Taken>)> {
        let Around {
            now,
            state,
            standing,
        } = *around;
        let facts = Facts {
            me,
            state,
            last_index: standing.commit,
            progress: &standing.progress,
            led_ticks: now.since(self.since) / TICK_MS,
            noted: Noted {
                voters: settings.voters,
                is_warm: settings.is_warm,
                caught_up: &self.caught_up,
                unlisted: &self.unlisted,
                heard: &self.heard,
                settled: self.book.settled(now, state),
                now,
                failed_over: self.failed_over,
                is_shared_out: self.shared_out == Some(state.epoch()),
            },
        };
        let members = state.members().map(|member| member.id);
        let caught_up: BTreeSet<_> = members.filter(|id| facts.has_caught_up(*id)).collect();
        let removal = self.removals.next(&facts, effects);
        let next = match removal {
            Some((step, taken)) => Err((step, Some(taken))),
            None => Ok(decide(&facts)),
        };
        self.caught_up.retain(|id, _| caught_up.contains(id));
        for id in caught_up {
            self.caught_up.entry(id).or_insert(now);
        }
        let next = match next {
            Ok(next) => next,
            Err(removal) => return Some(removal),
        };
        match next {
            Next::Step(step) => Some((step, None)),
            Next::SharedOut => {
                self.shared_out = Some(state.epoch());
                None
            }
            Next::Wait => None,
        }
    }

    /// The command that takes the partitions of a member which is silent for too long.
    fn fail_over(&mut self, now: Millis, state: &State, settings: &Settings) -> Option<Command> {
        let by = match settings.makes(Mistake::DownAfterOneSecond) {
            true => now.plus(DOWN_MS - 1_000),
            false => now,
        };
        let down = self.book.down(by, state)?;
        let command = state.plan_fail_over(down)?;
        if !settings.makes(Mistake::GrantWhileFailing) {
            self.book.failing(down, state.epoch());
        }
        Some(command)
    }

    /// The command that ends moves which are complete, or make no progress.
    fn end_moves(
        &mut self,
        now: Millis,
        state: &State,
        settings: &Settings,
        effects: &mut Vec<Effect>,
    ) -> Option<Command> {
        let settled = self.book.settled(now, state);
        let (by, settled) = match settings.makes(Mistake::ActivatedUnsettled) {
            // At once, as if it were late.
            true => {
                let _noted = self.moves.next(now, state, Epoch(u64::MAX));
                (now.plus(MOVE_MAX_MS), Epoch(u64::MAX))
            }
            false => (now, settled),
        };
        let command = self.moves.next(by, state, settled)?;
        if let Command::AbortMoves(runs) = &command {
            let to = |run: &AbortRun| state.table()[run.first].move_to.map(|moving| moving.to);
            let is_unreachable = runs.iter().filter_map(to).any(|id| state.is_up(id));
            if is_unreachable {
                // Moves do not begin again at once: the obstacle may still be there. If the new owners leave,
                // the partitions go to others at once: members that leave have no time to lose.
                self.failed_over = Some(now);
            }
            effects.push(Effect::Report(Report::MovesGivenUp { is_unreachable }));
        }
        Some(command)
    }

    /// Notes the outcome of the step under way.
    pub(super) fn step_ended(
        &mut self,
        outcome: Outcome,
        (now, state): (Millis, &State),
        effects: &mut Vec<Effect>,
    ) {
        let Some((step, taken)) = self.step.take() else {
            return;
        };
        if let Some(taken) = taken {
            effects.extend(self.removals.ended(taken, &outcome, state.epoch()));
        } else if let Step::Propose(Command::FailOver(fail_over)) = &step {
            // While the outcome is unknown, no grant may slip in between; the state shows it in the end.
            match outcome {
                Outcome::Unknown => self.book.unresolved(fail_over.id),
                _ => self.book.resolved(fail_over.id),
            }
            if outcome == Outcome::Applied {
                self.failed_over = Some(now);
                effects.push(Effect::Report(Report::Down(fail_over.id)));
            }
        }
        effects.push(Effect::Report(Report::Ended(step, outcome)));
    }
}
