//! The Raft thread: gives a [`Driver`] its ticks, its messages and its requests, and ends with it.
//!
//! One thread owns the driver, and a second watches it. Nothing of either is async: a write that takes
//! long on a network file system must not hold up what serves reads. Everything reaches the driver
//! through one bounded inbox; a message that finds it full is dropped, as a network drops messages, and
//! a request that finds it full is refused.
//!
//! What ends the thread, for good: its driver ([`Fatal`](super::driver::Fatal)), a panic, a write that does not return for
//! [`STALL_MAX`], or being asked. Nothing is sent in the node's name afterwards; the [`End`] says why.

mod end;
mod handle;
mod metrics;
mod watchdog;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::handle::Input;
use self::metrics::Metrics;
use self::watchdog::Pulse;
use super::disk::Disk;
use super::driver::{Driver, ELECTION_TICKS};
use super::envelope::{Envelope, Lane, Sender};
use super::event::{Effect, Event, Outcome, RequestId};
use super::filter::MessageRefusal;
use crate::metrics::Registry;
use crate::topology::leader::TICK_MS;
use crate::topology::state::State;

pub use self::end::{End, STALL_MAX};
pub use self::handle::{Handle, Inbox};
pub use self::watchdog::STALL_NOTICED;
pub use super::event::Standing;

/// Time between two ticks of the driver.
pub const TICK: Duration = Duration::from_millis(TICK_MS);

/// Messages and requests that may wait for the driver.
pub const INBOX_MAX: usize = 4096;

/// Events that one turn takes, so that ticks and answers are never far away.
const TURN_EVENTS_MAX: usize = 512;

/// Ticks that a turn makes up for at most. A thread that was held up must not campaign for that alone:
/// the messages that would stop it are in its inbox, and come first.
const TICKS_MAX: u32 = ELECTION_TICKS as u32 / 2;

/// What carries messages away. Nothing of it may block.
pub trait Post: Send {
    /// Sends a message, or reports to the [`Inbox`] that it could not.
    fn send(&mut self, lane: Lane, envelope: Envelope);

    /// Reports to a sender that nothing is taken from it.
    fn refuse(&mut self, sender: Sender, refusal: MessageRefusal);
}

/// Starts the thread of `driver`, whose messages go to `post`.
///
/// # Errors
/// The machine has no room for another thread.
pub fn start<D: Disk + 'static>(
    driver: Driver<D>,
    registry: &Registry,
    post: impl Post + 'static,
) -> std::io::Result<Handle> {
    start_watched(driver, registry, post, STALL_MAX)
}

/// [`start`], given up after a turn of `stall_max`.
fn start_watched<D: Disk + 'static>(
    driver: Driver<D>,
    registry: &Registry,
    post: impl Post + 'static,
    stall_max: Duration,
) -> std::io::Result<Handle> {
    let (inbox, events) = sync_channel(INBOX_MAX);
    let (states, state) = watch::channel(driver.state().clone());
    let (standings, standing) = watch::channel(Standing::default());
    let (ends, end) = watch::channel(None);
    let pulse = Pulse::start(ends.clone(), stall_max)?;
    let thread = Thread {
        driver,
        post: Box::new(post),
        asked: BTreeMap::new(),
        next_request: 0,
        metrics: Metrics::register(registry),
        states,
        standings,
        pulse: pulse.clone(),
    };
    let handle = Handle::new(inbox, state, standing, end);
    std::thread::Builder::new()
        .name("raft".into())
        .spawn(move || {
            let end = thread.run(events);
            pulse.stop();
            match &end {
                End::Stopped => tracing::info!("raft thread stopped"),
                end => tracing::error!(%end, "raft thread ended"),
            }
            ends.send_if_modified(|known| {
                let is_first = known.is_none();
                known.get_or_insert(end);
                is_first
            });
        })?;
    Ok(handle)
}

/// A request that waits for its outcome.
struct Asked {
    at: Instant,
    answer: oneshot::Sender<Outcome>,
}

struct Thread<D: Disk> {
    driver: Driver<D>,
    post: Box<dyn Post>,
    asked: BTreeMap<RequestId, Asked>,
    next_request: u64,
    metrics: Metrics,
    states: watch::Sender<Arc<State>>,
    standings: watch::Sender<Standing>,
    pulse: Arc<Pulse>,
}

impl<D: Disk> Thread<D> {
    /// Turns the driver until its end. Driver and inbox are gone when this returns, and with them the
    /// lock of the disk.
    fn run(mut self, inbox: Receiver<Input>) -> End {
        let mut last_tick = Instant::now();
        loop {
            let patience = (last_tick + TICK).saturating_duration_since(Instant::now());
            let first = match inbox.recv_timeout(patience) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            };
            let mut events = Vec::new();
            for input in first
                .into_iter()
                .chain(inbox.try_iter())
                .take(TURN_EVENTS_MAX)
            {
                match self.event(input) {
                    Some(event) => events.push(event),
                    None => return End::Stopped,
                }
            }
            let due = last_tick.elapsed().as_millis() / TICK.as_millis();
            let due = u32::try_from(due).unwrap_or(u32::MAX);
            if due > TICKS_MAX {
                // The rest never happened.
                last_tick = Instant::now();
            } else {
                last_tick += TICK * due;
            }
            events.extend((0..due.min(TICKS_MAX)).map(|_| Event::Tick));
            if let Err(end) = self.turn(events) {
                return end;
            }
        }
    }

    /// The event in `input`; none if it is the request to stop.
    fn event(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Event(event) => Some(event),
            Input::Ask(ask, answer) => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                let at = Instant::now();
                self.asked.insert(request, Asked { at, answer });
                Some(ask.event(request))
            }
            Input::Stop => None,
        }
    }

    fn turn(&mut self, events: Vec<Event>) -> Result<(), End> {
        let Self {
            driver,
            post,
            asked,
            metrics,
            states,
            pulse,
            ..
        } = self;
        let began = Instant::now();
        let mut effects = |effect| match effect {
            // A write that returned after the watchdog gave up on it: the node is no longer ours.
            _ if pulse.is_given_up() => {}
            Effect::Send(lane, envelope) => post.send(lane, envelope),
            Effect::Resolved(request, outcome) => {
                if let Some(Asked { at, answer }) = asked.remove(&request) {
                    metrics.resolved(&outcome, at.elapsed());
                    // The caller may have left.
                    let _left = answer.send(outcome);
                }
            }
            Effect::Applied(state) => {
                states.send_replace(state);
            }
            Effect::Role(role) => {
                let leader = role.leader.unwrap_or_default();
                tracing::info!(term = role.term, %leader, "raft leader changed");
            }
            Effect::Refused(sender, refusal) => {
                metrics.refused(refusal);
                tracing::debug!(peer = %sender.node, %refusal, "raft message refused");
                post.refuse(sender, refusal);
            }
            Effect::Diverged(peer, index) => {
                metrics.diverged();
                tracing::error!(%peer, index, "peer has another state at the same index");
            }
        };
        pulse.begin();
        let turned = catch_unwind(AssertUnwindSafe(|| {
            driver.turn(&mut events.into_iter(), &mut effects)
        }));
        pulse.finish();
        if pulse.is_given_up() {
            return Err(End::Stalled);
        }
        turned.map_err(|panic| End::Panicked(message_of(panic.as_ref())))??;
        self.metrics.turned(&self.driver, began.elapsed());
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.standings.send_replace(self.driver.standing());
    }
}

/// The message of a panic.
fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests;
