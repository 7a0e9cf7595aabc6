//! What each command does to the state. Pure and deterministic: no clock, no chance, no order but that
//! of ids.
//!
//! Called by [`State::apply`](super::State::apply) with a state that is thrown away if the command is
//! refused, so nothing here has to undo what it began.

mod copies;
mod groups;
mod members;
mod partitions;
mod plan;

use crate::ids::{Epoch, Tenure};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, Command};
use crate::topology::state::State;

pub(super) use groups::{MAX_NOTE_BYTES, check_set, check_spec};
pub(super) use members::{check_joiner, check_settings};

/// Does what `command` asks for.
pub(super) fn apply(state: &mut State, command: &Command) -> Result<Change, Refusal> {
    match command {
        Command::Join(joiner) => members::join(state, joiner),
        Command::Resume(resume) => members::resume(state, resume),
        Command::SetStatus(set) => members::set_status(state, set),
        Command::RemoveMember(id) => members::remove(state, *id),
        Command::Assign(assign) => partitions::assign(state, assign),
        Command::PrepareMoves(prepare) => partitions::prepare(state, prepare),
        Command::ActivateMoves(runs) => partitions::activate(state, runs),
        Command::AbortMoves(runs) => partitions::abort(state, runs),
        Command::FailOver(fail_over) => partitions::fail_over(state, fail_over),
        Command::SetGroups(set) => groups::set(state, set),
        Command::ResetGroup(group) => groups::reset(state, group),
        Command::SetPaused(is_paused) => Ok(set_paused(state, *is_paused)),
        Command::SetCopies(runs) => copies::set(state, runs),
    }
}

/// The epoch that the command under way makes.
pub(in crate::topology) fn next_epoch(state: &State) -> Epoch {
    Epoch(state.epoch.0 + 1)
}

/// The tenure of what the command under way gives to others.
fn next_tenure(state: &State) -> Tenure {
    Tenure(next_epoch(state).0)
}

/// Makes the next epoch.
fn bump(state: &mut State) -> Change {
    state.epoch = next_epoch(state);
    Change::Epoch(state.epoch)
}

/// Stops all planned moves, or lets them go on. It makes an epoch, so that a plan which was made before it
/// is refused: once it is committed, nothing begins to move.
fn set_paused(state: &mut State, is_paused: bool) -> Change {
    if state.is_paused == is_paused {
        return Change::Nothing;
    }
    state.is_paused = is_paused;
    bump(state)
}

/// Whether a plan was made for the present epoch.
fn check_epoch(state: &State, expected: Epoch) -> Result<(), Refusal> {
    let found = state.epoch;
    if expected == found {
        Ok(())
    } else {
        Err(Refusal::StaleEpoch { expected, found })
    }
}

#[cfg(test)]
mod tests;
