//! The leader of a cluster: it grants leases, takes members for down and up, gives partitions to members and
//! votes to voters, moves, copies, and removes members. Pure.
//!
//! [`Leader::turn`] takes one event and returns the effects, as the Raft driver does: the same events at the
//! same times give the same effects. `node/leader` is its shell on a real node; the simulators in tests/sim
//! drive the same code.
//!
//! - `event`: what happens to a leader, and what it wants done. `settings`, and the mistakes of simulations.
//! - `term`: all that it knows, which begins and ends with its term.
//! - `decide`: the autopilot, which chooses the next step; `facts`, `vote` and `removal` are its parts.
//! - `removing`: the removals that operators ask for. `heir`: the voter that takes over when a leader stops.
//!
//! The idea of driving the product's own decisions in a simulation is that of Neon's safekeepers.

pub mod decide;
pub mod event;
mod facts;
mod heir;
pub mod mistake;
mod removal;
mod removing;
mod settings;
mod term;
mod vote;

use self::event::{About, Answer, Outcome, Question, Removal, Settled};
pub use self::event::{Around, Caller, Effect, Event, Standing};
pub use self::heir::heir;
pub use self::removing::{REMOVAL_MAX_MS, REMOVALS_MAX};
pub use self::settings::Settings;
use self::term::Term;
pub use self::vote::may_give_vote;
use crate::ids::NodeId;

/// How long a tick of Raft is, in which silence is counted.
pub const TICK_MS: u64 = 100;

/// The leader of one node. It works while the node leads.
#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    settings: Settings,
    term: Option<Term>,
}

impl Leader {
    /// The leader of member `me`, which does not lead yet.
    #[must_use]
    pub fn new(me: NodeId, settings: Settings) -> Self {
        Self {
            me,
            settings,
            term: None,
        }
    }

    /// Takes one event in, and returns what is to be done about it, in this order.
    #[must_use]
    pub fn turn(&mut self, around: &Around<'_>, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.attend(around, &mut effects);
        let Some(term) = &mut self.term else {
            effects.extend(refused(event));
            return effects;
        };
        let Around { now, state, .. } = *around;
        let mut is_time = false;
        match event {
            Event::Changed => {}
            Event::Look(unlisted) => {
                term.note_unlisted(unlisted);
                term.end_overdue_removals(now, &mut effects);
                is_time = true;
            }
            Event::Renew(caller, renewal) => term.arrived((caller, renewal), state, &mut effects),
            Event::Remove(caller, member) => {
                if term.removals.begin(caller, member, now) {
                    let about = About::Removal(caller);
                    let term = term.number;
                    effects.push(Effect::Ask(Question { term, about }));
                } else {
                    let why = "too many removals are under way";
                    let end = Removal::Unfinished(why.into());
                    effects.push(Effect::Removal(caller, end));
                }
            }
            // What was asked or begun in another term is of no use.
            Event::Answered { question, .. } if question.term != term.number => {}
            Event::Ended { term: other, .. } if other != term.number => {}
            Event::Left(caller) => term.removals.left(caller),
            Event::Answered { question, outcome } => match question.about {
                About::Renewals(round) => {
                    let round = (round, outcome == Outcome::Applied);
                    term.round_ended(round, (now, state), &self.settings, &mut effects);
                    let settled = term.settled(now, state, &self.settings);
                    effects.push(Effect::Publish(settled));
                }
                About::Removal(caller) if outcome == Outcome::Applied => {
                    term.removals.confirmed(caller, now);
                    is_time = true;
                }
                About::Removal(caller) => {
                    effects.extend(term.removals.unconfirmed(caller, &outcome));
                }
            },
            Event::Ended { outcome, .. } => {
                // A refused step would be refused again at once: the next look is soon enough.
                is_time = outcome == Outcome::Applied;
                term.step_ended(outcome, (now, state), &mut effects);
            }
        }
        if let Some(round) = term.begin_round() {
            let (term, about) = (term.number, About::Renewals(round));
            effects.push(Effect::Ask(Question { term, about }));
        }
        if is_time {
            let settled = term.settled(now, state, &self.settings);
            effects.push(Effect::Publish(settled));
            if let Some(step) = term.next(self.me, around, &self.settings, &mut effects) {
                effects.push(Effect::Take(term.number, step));
            }
        }
        effects
    }

    /// Begins or ends a term.
    fn attend(&mut self, around: &Around<'_>, effects: &mut Vec<Effect>) {
        let leads = around.standing.leads;
        if leads == self.term.as_ref().map(|term| term.number) {
            return;
        }
        if let Some(term) = self.term.take() {
            term.end(effects);
        }
        self.term = leads.map(|number| Term::new(number, around.now));
        let settled = match &mut self.term {
            Some(term) => term.settled(around.now, around.state, &self.settings),
            None => Settled::default(),
        };
        effects.push(Effect::Publish(settled));
    }
}

/// The answer of a node that does not lead.
fn refused(event: Event) -> Option<Effect> {
    match event {
        Event::Renew(caller, _) => Some(Effect::Answer(caller, Answer::NotLeader)),
        Event::Remove(caller, _) => Some(Effect::Removal(caller, Removal::Elsewhere(None))),
        Event::Changed
        | Event::Look(_)
        | Event::Left(_)
        | Event::Answered { .. }
        | Event::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests;
