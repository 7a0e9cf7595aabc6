//! Election timeouts, drawn by us from a seed: `raft` draws from the thread's generator, and then no
//! run could be repeated.

use raft::{Raft, StateRole, Storage};

use super::ELECTION_TICKS;

/// When this node campaigns.
pub(super) struct Election {
    rng: fastrand::Rng,
    ticks: usize,
    /// Term, role and leader when the timeout was drawn: a change of any is a reason to draw again.
    drawn_for: Option<(u64, StateRole, u64)>,
}

impl Election {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            ticks: ELECTION_TICKS,
            drawn_for: None,
        }
    }

    /// Puts our timeout in place of the one that `raft` may have drawn since. After every step.
    pub(super) fn pin<S: Storage>(&mut self, raft: &mut Raft<S>) {
        let now = (raft.term, raft.state, raft.leader_id);
        if self.drawn_for != Some(now) {
            self.drawn_for = Some(now);
            self.draw();
        }
        raft.set_randomized_election_timeout(self.ticks);
    }

    /// After a tick: a node that campaigned in vain draws again, or two that drew the same would meet for ever.
    pub(super) fn ticked<S: Storage>(&mut self, raft: &Raft<S>) {
        if raft.election_elapsed == 0 && raft.state != StateRole::Leader {
            self.draw();
        }
    }

    fn draw(&mut self) {
        self.ticks = self.rng.usize(ELECTION_TICKS..2 * ELECTION_TICKS);
    }
}
