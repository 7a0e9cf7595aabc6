//! The shell around the product's leader: its turns, and what it wants done over the simulated Raft.

use gcache::ids::{Epoch, Generation, GroupId, NodeId};
use gcache::raft::event::{Event as RaftEvent, Outcome, RequestId};
use gcache::topology::commands::Change;
use gcache::topology::leader::decide::Step;
use gcache::topology::leader::event::{Answer, Outcome as LeaderOutcome, Removal};
use gcache::topology::leader::{Around, Effect, Event};

use crate::faults::Fault;
use crate::lapses::Lapse;
use crate::leases::Said;
use crate::queue::{MILLISECOND, Micros};
use crate::violation::{Checked, Promise, ensure};
use crate::world::{Happening, World};

/// How long a leader waits for the quorum to confirm that it leads, and for the end of a step.
const QUESTION_PATIENCE: Micros = 2_000 * MILLISECOND;
const STEP_PATIENCE: Micros = 3_000 * MILLISECOND;

/// How long a caller of a leader waits at most: a removal, and a step of it.
const CALLER_PATIENCE: Micros = 15_000 * MILLISECOND;

impl World {
    /// An operator asks the leader `id` to remove a member.
    pub(crate) fn remove(&mut self, id: u64, member: NodeId) -> Checked {
        let now = self.queue.now();
        let Some(leasing) = self.leasing(id) else {
            return Ok(());
        };
        let caller = leasing.caller(id, now);
        self.lead(id, Event::Remove(caller, member))
    }

    /// A turn of the leader of node `id`.
    pub(crate) fn lead(&mut self, id: u64, event: Event) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let (Some(driver), Some(leasing)) = (&node.driver, &mut node.leasing) else {
            return Ok(());
        };
        let Some(state) = node.state.clone() else {
            return Ok(());
        };
        let around = Around {
            now: leasing.clock(now),
            state: &state,
            standing: &driver.standing().leading(),
        };
        let effects = leasing.leader.turn(&around, event);
        let start = node.start;
        for effect in effects {
            // Not at once: an answer may come at once, and it is another turn.
            self.queue.push(
                0,
                Happening::Lead {
                    node: id,
                    start,
                    effect,
                },
            );
        }
        Ok(())
    }

    /// What the leader of a node wants done, if the node still runs.
    pub(crate) fn led(&mut self, id: u64, start: u64, effect: Effect) -> Checked {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.start == start) else {
            return Ok(());
        };
        let Some(leasing) = &mut node.leasing else {
            return Ok(());
        };
        match effect {
            Effect::Answer(caller, answer) => {
                let Some((member, _)) = leasing.callers.remove(&caller) else {
                    return Ok(());
                };
                match answer {
                    Answer::Granted(grant) => self.say(id, member, Said::Granted(grant)),
                    Answer::Removed => self.say(id, member, Said::Removed),
                    // The member asks again.
                    Answer::Refused(_) | Answer::NotLeader => Ok(()),
                }
            }
            Effect::Ask(question) if self.lapse == Some(Lapse::NoQuorum) => self.lead(
                id,
                Event::Answered {
                    question,
                    outcome: LeaderOutcome::Applied,
                },
            ),
            Effect::Ask(question) => {
                // Known before the answer, which may come at once.
                let request = self.checks.requests.next();
                leasing.questions.insert(request, question);
                self.lose_patience(id, request, QUESTION_PATIENCE);
                let what = self.checks.requests.read();
                self.ask(id, what, RaftEvent::Read).map(|_| ())
            }
            Effect::Take(term, step) => {
                let request = self.checks.requests.next();
                leasing.steps.insert(request, term);
                self.lose_patience(id, request, STEP_PATIENCE);
                match step {
                    Step::Propose(command) => self.propose(id, command.encode()).map(|_| ()),
                    Step::ChangeQuorum(change) => self.change(id, change).map(|_| ()),
                }
            }
            Effect::Publish(settled) => {
                leasing.settled = settled;
                self.acknowledge_resets(id)
            }
            Effect::Removal(caller, removal) => {
                leasing.callers.remove(&caller);
                if matches!(removal, Removal::Removed { .. }) {
                    self.seen.add(Fault::Remove);
                }
                Ok(())
            }
            Effect::Report(_) => Ok(()),
        }
    }

    /// A request has an outcome; maybe a leader waits for it.
    pub(crate) fn leased(&mut self, id: u64, request: RequestId, outcome: &Outcome) -> Checked {
        // The driver's state is as new as what it answers.
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let epoch = node.driver.as_ref().map(|driver| driver.state().epoch());
        let Some(leasing) = &mut node.leasing else {
            return Ok(());
        };
        if let Outcome::Applied {
            result: Ok(Change::Reset(group, generation)),
            ..
        } = outcome
        {
            let epoch = epoch.expect("it has applied the reset");
            leasing.resets.push((epoch, *group, *generation));
        }
        if let Some(question) = leasing.questions.remove(&request) {
            let outcome = outcome.clone().of_question();
            return self.lead_soon(id, Event::Answered { question, outcome });
        }
        if let Some(term) = leasing.steps.remove(&request) {
            let outcome = outcome.clone().into();
            return self.lead_soon(id, Event::Ended { term, outcome });
        }
        Ok(())
    }

    /// Whoever waits for `request` does so for this long and no longer: then its outcome is unknown.
    fn lose_patience(&mut self, id: u64, request: RequestId, patience: Micros) {
        let start = self.nodes.get(&id).map_or(0, |node| node.start);
        let overdue = Happening::Overdue {
            node: id,
            start,
            request,
        };
        self.queue.push(patience, overdue);
    }

    /// A leader waits for `request` no longer, if it still does.
    pub(crate) fn overdue(&mut self, id: u64, start: u64, request: RequestId) -> Checked {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.start == start) else {
            return Ok(());
        };
        let Some(leasing) = &mut node.leasing else {
            return Ok(());
        };
        let outcome = LeaderOutcome::Unknown;
        if let Some(question) = leasing.questions.remove(&request) {
            return self.lead(id, Event::Answered { question, outcome });
        }
        match leasing.steps.remove(&request) {
            Some(term) => self.lead(id, Event::Ended { term, outcome }),
            None => Ok(()),
        }
    }

    /// A turn of the leader of node `id` once the present effects are done: the state is as new as the outcome.
    fn lead_soon(&mut self, id: u64, event: Event) -> Checked {
        let start = self.nodes.get(&id).map_or(0, |node| node.start);
        self.queue.push(
            0,
            Happening::Heard {
                node: id,
                start,
                event,
            },
        );
        Ok(())
    }

    /// The leader of a node hears something, if the node still runs.
    pub(crate) fn heard(&mut self, id: u64, start: u64, event: Event) -> Checked {
        match self.nodes.get(&id).is_some_and(|node| node.start == start) {
            true => self.lead(id, event),
            false => Ok(()),
        }
    }

    /// Every caller of a leader is answered sooner or later: here those that have waited for too long.
    pub(crate) fn leaders_answer(&self) -> Checked {
        let now = self.queue.now();
        for node in self.nodes.values().filter(|node| node.is_up()) {
            let callers = node.leasing.iter().flat_map(|leasing| &leasing.callers);
            for (caller, (member, since)) in callers {
                ensure(now - since <= CALLER_PATIENCE, Promise::OneOutcome, || {
                    format!(
                        "the leader of node {} never answers {member}, {caller:?}",
                        node.id
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Resets are acknowledged that all have heard of.
    fn acknowledge_resets(&mut self, id: u64) -> Checked {
        let Some(leasing) = self.leasing(id) else {
            return Ok(());
        };
        let settled = leasing.settled.clone();
        let is_known = |reset: &mut (Epoch, GroupId, Generation)| settled.covers(reset.0);
        let known: Vec<_> = leasing.resets.extract_if(.., is_known).collect();
        for (_, group, generation) in known {
            self.checks.leases.was_reset(group, generation);
        }
        self.check_leases()
    }
}
