//! The removals that operators have asked a leader for, each a few steps long. Pure.
//!
//! `removal` decides each step from the state. A removal may end between any two steps, with the leadership or
//! the process: the leader that is asked next goes on.

use super::TICK_MS;
use super::decide::Step;
use super::event::{Caller, Effect, Outcome, Removal};
use super::facts::Facts;
use super::removal;
use crate::ids::{Epoch, Millis, NodeId};

/// The most removals under way at once.
pub const REMOVALS_MAX: usize = 8;

/// How long all steps of a removal together may take: less than an operator's command waits for its answer.
pub const REMOVAL_MAX_MS: u64 = 8_000;

/// The removals under way, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals(Vec<Removing>);

/// A removal under way.
#[derive(Clone, Debug)]
struct Removing {
    caller: Caller,
    member: NodeId,
    began: Millis,
    /// Since when a quorum has confirmed, after the operator asked, that this node leads. The leader looks at
    /// the member from then on.
    confirmed: Option<Millis>,
    /// Its last step was not applied: at the next look others come first.
    gives_way: bool,
    /// The steps that were taken, in words.
    done: Vec<String>,
    /// What it waits for.
    waits: String,
}

/// A step of a removal.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    caller: Caller,
    /// Its effect in words; none for the last one.
    words: Option<String>,
}

impl Removals {
    /// Begins a removal. False if there are too many.
    pub(super) fn begin(&mut self, caller: Caller, member: NodeId, now: Millis) -> bool {
        if self.0.len() >= REMOVALS_MAX {
            return false;
        }
        self.0.push(Removing {
            caller,
            member,
            began: now,
            confirmed: None,
            gives_way: false,
            done: Vec::new(),
            waits: "it is not known yet whether this node leads".into(),
        });
        true
    }

    /// Notes that a quorum has confirmed the leadership after the operator asked.
    pub(super) fn confirmed(&mut self, caller: Caller, now: Millis) {
        if let Some(removing) = self.find(caller) {
            removing.confirmed = Some(now);
        }
    }

    /// Ends a removal for which no quorum has confirmed that this node leads.
    pub(super) fn unconfirmed(&mut self, caller: Caller, outcome: &Outcome) -> Option<Effect> {
        let removing = self.end(caller)?;
        Some(match outcome {
            Outcome::NotLeader(leader) => removing.elsewhere(*leader),
            Outcome::Refused(why) => removing.unfinished(why),
            Outcome::Applied | Outcome::Void(_) | Outcome::Unknown => {
                removing.unfinished("no quorum has confirmed that this node leads")
            }
        })
    }

    /// Ends a removal that its operator waits for no more: what was done stays done.
    pub(super) fn left(&mut self, caller: Caller) {
        self.end(caller);
    }

    /// Ends removals that take too long, but for the one whose step is under way.
    pub(super) fn end_overdue(
        &mut self,
        now: Millis,
        under_way: Option<&Taken>,
        effects: &mut Vec<Effect>,
    ) {
        let under_way = under_way.map(|taken| taken.caller);
        self.0.retain(|removing| {
            let is_overdue = now.since(removing.began) >= REMOVAL_MAX_MS;
            let ends = is_overdue && under_way != Some(removing.caller);
            if ends {
                effects.push(removing.unfinished(&removing.waits));
            }
            !ends
        });
    }

    /// The next step, if a removal has one to take. `led_ticks` of `facts` counts anew for each removal, from
    /// when the leader began to look at the member.
    pub(super) fn next(
        &mut self,
        facts: &Facts<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<(Step, Taken)> {
        let now = facts.noted.now;
        let mut at = 0;
        while let Some(removing) = self.0.get_mut(at) {
            at += 1;
            let gives_way = std::mem::take(&mut removing.gives_way);
            let Some(since) = removing.confirmed.filter(|_| !gives_way) else {
                continue;
            };
            let facts = Facts {
                led_ticks: now.since(since) / TICK_MS,
                ..*facts
            };
            let caller = removing.caller;
            let taken = |words| Taken { caller, words };
            let end = match removal::next(&facts, removing.member) {
                removal::Step::Propose(command, words) => {
                    return Some((Step::Propose(command), taken(Some(words))));
                }
                removal::Step::ChangeQuorum(change, words) => {
                    return Some((Step::ChangeQuorum(change), taken(Some(words))));
                }
                removal::Step::Remove(command) => {
                    return Some((Step::Propose(command), taken(None)));
                }
                removal::Step::Wait(why) => {
                    removing.waits = why;
                    continue;
                }
                removal::Step::Gone => removing.removed(true, facts.state.epoch()),
                removal::Step::Refuse(why) => Removal::Refused(why),
            };
            at -= 1;
            effects.push(Effect::Removal(caller, end));
            self.0.remove(at);
        }
        None
    }

    /// Notes the outcome of a step.
    pub(super) fn ended(
        &mut self,
        taken: Taken,
        outcome: &Outcome,
        epoch: Epoch,
    ) -> Option<Effect> {
        let removing = self.find(taken.caller)?;
        let end = match (outcome, taken.words) {
            (Outcome::Applied, Some(words)) => {
                removing.done.push(words);
                return None;
            }
            (Outcome::Applied, None) => {
                Effect::Removal(taken.caller, removing.removed(false, epoch))
            }
            // The state has changed since the step was decided, or will change in a moment.
            (Outcome::Void(refusal), _) => {
                removing.waits = refusal.to_string();
                removing.gives_way = true;
                return None;
            }
            (Outcome::Refused(why), _) => {
                removing.waits = (*why).into();
                removing.gives_way = true;
                return None;
            }
            (Outcome::NotLeader(leader), _) => removing.elsewhere(*leader),
            (Outcome::Unknown, _) => removing.unfinished("a step was not committed in time"),
        };
        self.end(taken.caller);
        Some(end)
    }

    /// Ends all removals, because this node leads no more.
    pub(super) fn deposed(self) -> impl Iterator<Item = Effect> {
        let removals = self.0.into_iter();
        removals.map(|removing| removing.elsewhere(None))
    }

    fn find(&mut self, caller: Caller) -> Option<&mut Removing> {
        self.0.iter_mut().find(|removing| removing.caller == caller)
    }

    fn end(&mut self, caller: Caller) -> Option<Removing> {
        let at = self
            .0
            .iter()
            .position(|removing| removing.caller == caller)?;
        Some(self.0.remove(at))
    }
}

impl Removing {
    fn removed(&mut self, was_gone: bool, epoch: Epoch) -> Removal {
        Removal::Removed {
            was_gone: was_gone && self.done.is_empty(),
            done: std::mem::take(&mut self.done),
            epoch,
        }
    }

    /// The end of a removal because this node leads no more.
    fn elsewhere(&self, leader: Option<NodeId>) -> Effect {
        match self.done.is_empty() {
            true => Effect::Removal(self.caller, Removal::Elsewhere(leader)),
            false => self.unfinished("this node leads no more"),
        }
    }

    /// The end with the steps that were taken, and the reason why the rest was not.
    fn unfinished(&self, why: &str) -> Effect {
        let done = match &self.done[..] {
            [] => "nothing was done yet".to_owned(),
            done => format!("done so far: {}", done.join("; ")),
        };
        let text = format!("{why}; {done}; asking again goes on from there");
        Effect::Removal(self.caller, Removal::Unfinished(text))
    }
}
