//! Which versions of commands and states this executable knows. Pure.

use super::DecodeError;
use super::error::malformed;
use crate::topology::commands::COMMAND_VERSION;

/// Checks that this executable knows a version.
pub(super) fn check(found: u32) -> Result<(), DecodeError> {
    let known = known();
    if found == 0 {
        return Err(malformed("it has no version"));
    }
    if found > known {
        return Err(DecodeError::UnknownVersion { found, known });
    }
    Ok(())
}

#[cfg(not(feature = "simulation"))]
fn known() -> u32 {
    COMMAND_VERSION
}

#[cfg(feature = "simulation")]
pub use self::simulation::as_version;
#[cfg(feature = "simulation")]
use self::simulation::known;

/// Nodes of several versions in one process.
#[cfg(feature = "simulation")]
mod simulation {
    use std::cell::Cell;

    use super::COMMAND_VERSION;

    thread_local! {
        static KNOWN: Cell<u32> = const { Cell::new(COMMAND_VERSION) };
    }

    pub(super) fn known() -> u32 {
        KNOWN.get()
    }

    /// Runs `run` as an executable would that knows no version above `version`. Not to be nested.
    pub fn as_version<T>(version: u32, run: impl FnOnce() -> T) -> T {
        KNOWN.set(version.min(COMMAND_VERSION));
        let result = run();
        KNOWN.set(COMMAND_VERSION);
        result
    }
}
