//! Mistakes that a leader can be set to make, so that the simulators show that they would find them. Pure.
//!
//! Only with the feature `simulation`; without it [`Mistake`] has the same names and nobody can ask for one.

/// A mistake of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// A member is down after one second.
    DownAfterOneSecond,
    /// A member gets a grant while its fail-over is under way.
    GrantWhileFailing,
    /// A new leader takes members for down that it has never heard of.
    NoWaitOfNewLeader,
    /// A move is activated before all members know that it was prepared.
    ActivatedUnsettled,
    /// An epoch is reported as settled although a member may hold a lease and not know it.
    SettledAtOnce,
}
