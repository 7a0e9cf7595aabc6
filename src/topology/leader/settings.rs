//! The settings of a leader. Pure.

use super::mistake::Mistake;

/// The settings of a leader.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many voters the cluster should have: an odd number, because one more would tolerate no more
    /// failures.
    pub voters: usize,
    /// Whether partitions are handed over warm, in moves, and not at once and empty.
    pub is_warm: bool,
    /// A mistake to make.
    #[cfg(feature = "simulation")]
    pub mistake: Option<Mistake>,
}

impl Settings {
    /// The settings of a leader that makes no mistake.
    #[must_use]
    pub fn new(voters: usize, is_warm: bool) -> Self {
        Self {
            voters,
            is_warm,
            #[cfg(feature = "simulation")]
            mistake: None,
        }
    }

    /// Whether the leader is to make this mistake.
    #[cfg(feature = "simulation")]
    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether the leader is to make this mistake: never.
    #[cfg(not(feature = "simulation"))]
    #[expect(clippy::unused_self, reason = "simulations have a mistake to look up")]
    pub(super) fn makes(&self, _mistake: Mistake) -> bool {
        false
    }
}
