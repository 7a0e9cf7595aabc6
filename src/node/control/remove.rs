//! Removes a member for ever, step by step, when an operator asks the leader.
//!
//! `removal` decides each step from the state; this module asks Raft to commit it. The removal may end
//! between any two steps, with the leadership or the process: the leader that is asked next goes on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ids::NodeId;
use crate::ids::as_millis;
use crate::node::member::Running;
use crate::raft::event::Outcome;
use crate::raft::thread::TICK;
use crate::rpc::control_proto::Removed;
use crate::rpc::control_proto::remove_reply::Outcome as Reply;
use crate::topology::leader::facts::{Facts, Noted};
use crate::topology::leader::removal::{Step, next};

/// How long all steps together may take: less than an operator's command waits for its answer.
const REMOVAL_MAX: Duration = Duration::from_secs(8);

/// How long one step may take to be committed before its outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause between two looks at a condition that a step waits for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Removes member `id`, if this node leads.
///
/// Dropping the future undoes no step: a second request goes on from there.
pub(super) async fn remove(running: &Running, id: NodeId) -> Reply {
    // A leader must not refuse because of an old state.
    match running.confirm().await {
        Ok(None) => {}
        Ok(Some(redirect)) => return Reply::Redirect(redirect),
        Err(status) => return Reply::Unfinished(status.message().to_owned()),
    }
    let began = Instant::now();
    let mut done = Vec::new();
    loop {
        let waits = match remove_further(running, id, began, &mut done).await {
            Ok(waits) => waits,
            Err(reply) => return reply,
        };
        if began.elapsed() >= REMOVAL_MAX {
            return unfinished(&done, &waits);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Takes steps until one has to wait, and returns what it waits for. The error is the reply that ends the
/// removal.
async fn remove_further(
    running: &Running,
    id: NodeId,
    began: Instant,
    done: &mut Vec<String>,
) -> Result<String, Reply> {
    while began.elapsed() < REMOVAL_MAX {
        let standing = running.raft.standing().borrow().clone();
        let state = running.raft.state().borrow().clone();
        let facts = Facts {
            me: running.ident.node,
            state: &state,
            last_index: standing.commit,
            progress: &standing.progress,
            led_ticks: as_millis(began.elapsed()) / as_millis(TICK),
            noted: Noted::default(),
        };
        let (outcome, words) = match next(&facts, id) {
            Step::Gone => return Err(removed(running, done, true)),
            Step::Refuse(why) => return Err(Reply::Refused(why)),
            Step::Wait(why) => return Ok(why),
            Step::Propose(command, words) => {
                (running.raft.propose(&command, PATIENCE).await, Some(words))
            }
            Step::ChangeQuorum(change, words) => {
                let outcome = running.raft.change_quorum(change, PATIENCE).await;
                (outcome, Some(words))
            }
            Step::Remove(command) => (running.raft.propose(&command, PATIENCE).await, None),
        };
        match outcome {
            Outcome::Applied { result: Ok(_), .. } => match words {
                Some(words) => done.push(words),
                None => return Err(removed(running, done, false)),
            },
            // The state has changed since the step was decided, or will change in a moment.
            Outcome::Applied {
                result: Err(refusal),
                ..
            } => return Ok(refusal.to_string()),
            Outcome::Refused(why) => return Ok(why.into()),
            Outcome::NotLeader(leader) if done.is_empty() => {
                return Err(Reply::Redirect(running.redirect(leader)));
            }
            Outcome::NotLeader(_) => {
                return Err(unfinished(done, "this node leads no more"));
            }
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
                let why = format!("a step was not committed within {PATIENCE:?}");
                return Err(unfinished(done, &why));
            }
        }
    }
    Ok("the time was up".into())
}

fn removed(running: &Running, done: &mut Vec<String>, was_gone: bool) -> Reply {
    Reply::Removed(Removed {
        was_gone: was_gone && done.is_empty(),
        done: std::mem::take(done),
        epoch: running.raft.state().borrow().epoch().0,
    })
}

/// The reply with the steps that were done, and the reason why the rest was not.
fn unfinished(done: &[String], why: &str) -> Reply {
    let done = match done {
        [] => "nothing was done yet".to_owned(),
        done => format!("done so far: {}", done.join("; ")),
    };
    Reply::Unfinished(format!("{why}; {done}; asking again goes on from there"))
}
