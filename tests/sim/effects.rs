//! What a turn wants done: messages travel, answers are checked.

use gcache::ids::NodeId;
use gcache::raft::envelope::{Envelope, Lane};
use gcache::raft::event::{Effect, Event};

use crate::network::Fate;
use crate::queue::{MILLISECOND, Micros};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// The longest that a transport takes to say what became of a message.
const REPORT_AFTER: Micros = 2_000 * MILLISECOND;

impl World {
    /// Does what node `id` wants done, `after` the beginning of its turn.
    pub(crate) fn effect(&mut self, id: u64, after: Micros, effect: Effect) -> Checked {
        let now = self.queue.now();
        if self.trace.is_told() {
            self.tell(id, &effect);
        }
        let node = self.nodes.get_mut(&id).expect("it has just turned");
        match effect {
            Effect::Send(lane, envelope) => {
                self.trace.note(&[envelope.to.0]);
                self.trace.bytes(&envelope.message);
                self.send(after, lane, envelope);
                Ok(())
            }
            Effect::Resolved(request, outcome) => {
                let epoch = node.state.as_ref().map_or(0, |state| state.epoch().0);
                let asked = (id, node.start);
                self.trace.note(&[request.0]);
                self.checks.requests.resolved(
                    asked,
                    request,
                    &outcome,
                    epoch,
                    &mut self.checks.log,
                )?;
                self.churned(request, &outcome)?;
                self.entered(request, &outcome)?;
                self.leased(id, request, &outcome)
            }
            Effect::Applied(state) => {
                self.trace.note(&[state.epoch().0]);
                if let Some(leasing) = &mut node.leasing {
                    leasing.applied(id, &state);
                }
                node.state = Some(state);
                self.check_leases()
            }
            Effect::Role(role) => {
                node.role = role;
                if let Some(leasing) = &mut node.leasing {
                    leasing.leads(role);
                }
                self.trace.note(&[role.term, u64::from(role.is_leader)]);
                self.checks.leaders.said(id, role)
            }
            Effect::Refused(..) => Ok(()),
            Effect::Diverged(..) if self.reported() => Ok(()),
            Effect::Diverged(peer, index) => Err(Violation::new(
                Promise::SameState,
                format!("node {id} has another state than {peer} at {index}, at {now}"),
            )),
        }
    }

    /// A message leaves `after` this moment.
    fn send(&mut self, after: Micros, lane: Lane, envelope: Envelope) {
        self.echo(&envelope);
        let (from, to) = (envelope.from.0, envelope.to.0);
        let leaves = self.queue.now() + after;
        let link = (from, to, lane);
        let fate = self
            .network
            .fate(&mut self.dice, &mut self.seen, link, leaves);
        let start = self.nodes.get(&from).map_or(0, |node| node.start);
        let waits = (lane == Lane::Snapshot).then_some(start);
        let now = self.queue.now();
        match fate {
            Fate::Arrives(at) => {
                self.queue
                    .push(at - now, Happening::Arrive(lane, envelope, waits));
            }
            Fate::ArrivesTwice(first, second) => {
                let copy = Happening::Arrive(lane, envelope.clone(), None);
                self.queue
                    .push(first - now, Happening::Arrive(lane, envelope, waits));
                self.queue.push(second - now, copy);
            }
            Fate::Lost => {
                // A stream that breaks is noticed; a packet that is lost among others often is not.
                if self.dice.chance(500) {
                    self.report(from, start, Event::Unreachable(envelope.to));
                }
                if lane == Lane::Snapshot {
                    self.report(from, start, Event::SnapshotSent(envelope.to, false));
                }
            }
        }
    }

    /// The transport tells a node something, sooner or later.
    fn report(&mut self, node: u64, start: u64, event: Event) {
        let after = if self.dice.chance(800) {
            self.dice.within(100..50 * MILLISECOND)
        } else {
            self.dice.within(MILLISECOND..REPORT_AFTER)
        };
        self.queue
            .push(after, Happening::Report { node, start, event });
    }

    /// A message is there; whether anybody is.
    pub(crate) fn arrive(&mut self, lane: Lane, envelope: Envelope, waits: Option<u64>) -> Checked {
        let (from, to) = (envelope.from.0, envelope.to);
        let reached = self.reached(to.0);
        let there = self.nodes.get(&reached).filter(|node| node.is_up());
        let start = there.map(|node| node.start);
        if let Some(sender) = waits {
            self.report(from, sender, Event::SnapshotSent(to, start.is_some()));
        }
        let Some(start) = start else {
            let sender = self.nodes.get(&from).map_or(0, |node| node.start);
            if self.dice.chance(800) {
                self.report(from, sender, Event::Unreachable(to));
            }
            return Ok(());
        };
        self.trace.note(&[from, to.0, lane as u64]);
        self.give(reached, start, Event::Receive(envelope))
    }

    /// A line for people.
    fn tell(&mut self, id: u64, effect: &Effect) {
        let now = self.queue.now();
        match effect {
            Effect::Send(_, envelope) => {
                let message = crate::wire::message(&envelope.message);
                let NodeId(to) = envelope.to;
                self.trace
                    .tell(now, format_args!("node {id} to {to}: {}", message.told()));
            }
            Effect::Applied(state) => {
                let (epoch, quorum) = (state.epoch(), state.quorum());
                self.trace.tell(
                    now,
                    format_args!("node {id} applied: epoch {epoch}, {quorum:?}"),
                );
            }
            other => self.trace.tell(now, format_args!("node {id}: {other:?}")),
        }
    }
}
