//! Claims about single commands: their effects and their refusals.

mod copies;
mod groups;
mod members;
mod partitions;
mod pause;
mod versions;

use super::*;
use crate::ids::{Epoch, Tenure};
use crate::topology::fixtures::{cluster, joiner, status};

/// Applies a command that must be refused, and checks that it changed nothing at all.
fn refused(state: &mut State, command: &Command) -> Refusal {
    let before = state.encode();
    let refusal = state.apply(command).unwrap_err();
    assert_eq!(state.encode(), before, "{refusal}");
    refusal
}

/// Applies a command that must make the next epoch.
fn changed(state: &mut State, command: &Command) -> Change {
    let before = state.epoch();
    let change = state.apply(command).unwrap();
    assert_eq!(state.epoch().0, before.0 + 1, "{command:?}");
    state.view().unwrap();
    change
}

/// Applies a command that must find the state already as it wants it.
fn unchanged(state: &mut State, command: &Command) {
    let before = state.encode();
    assert_eq!(state.apply(command), Ok(Change::Nothing));
    assert_eq!(state.encode(), before);
}
