//! The epochs and tenures that commands make, and the check that a plan is for the present epoch. Pure.

use crate::ids::{Epoch, Tenure};
use crate::topology::commands::Change;
use crate::topology::commands::refusal::Refusal;
use crate::topology::state::State;

/// The epoch that the command under way makes.
pub(in crate::topology) fn next_epoch(state: &State) -> Epoch {
    Epoch(state.epoch.0 + 1)
}

/// The tenure of the partitions that the command under way assigns.
pub(super) fn next_tenure(state: &State) -> Tenure {
    Tenure(next_epoch(state).0)
}

/// Makes the next epoch.
pub(super) fn bump(state: &mut State) -> Change {
    state.epoch = next_epoch(state);
    Change::Epoch(state.epoch)
}

/// Checks that a plan was made for the present epoch.
pub(super) fn check_epoch(state: &State, expected: Epoch) -> Result<(), Refusal> {
    let found = state.epoch;
    if expected == found {
        Ok(())
    } else {
        Err(Refusal::StaleEpoch { expected, found })
    }
}
