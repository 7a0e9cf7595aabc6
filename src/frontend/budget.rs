//! The retry budget: how many retries a frontend may make, so that a failing tier does not get
//! more load the more it fails. Pure; time is an argument.
//!
//! As in Finagle's and tower's budgets: over the last ten seconds, retries may be a share of the
//! first attempts plus a floor per second.

use parking_lot::Mutex;

use crate::ids::Millis;

const WINDOW_SECONDS: u64 = 10;
const SLOTS: usize = WINDOW_SECONDS as usize;

#[derive(Clone, Copy, Default)]
struct Slot {
    second: u64,
    first_attempts: u64,
    retries: u64,
}

/// Counts first attempts and grants retries. Shared by all requests of a frontend.
pub(super) struct RetryBudget {
    ratio: f64,
    floor_per_second: u32,
    slots: Mutex<[Slot; SLOTS]>,
}

impl RetryBudget {
    /// `ratio` retries per first attempt, and `floor_per_second` in any case.
    pub(super) fn new(ratio: f64, floor_per_second: u32) -> Self {
        Self {
            ratio,
            floor_per_second,
            slots: Mutex::default(),
        }
    }

    /// Counts a first attempt.
    pub(super) fn first_attempt(&self, now: Millis) {
        current(&mut self.slots.lock(), now).first_attempts += 1;
    }

    /// Grants a retry, or not.
    pub(super) fn may_retry(&self, now: Millis) -> bool {
        let mut slots = self.slots.lock();
        current(&mut slots, now);
        let since = (now.0 / 1000).saturating_sub(WINDOW_SECONDS - 1);
        let (mut first, mut spent) = (0, 0);
        for slot in slots.iter().filter(|slot| slot.second >= since) {
            first += slot.first_attempts;
            spent += slot.retries;
        }
        let floor = u64::from(self.floor_per_second) * WINDOW_SECONDS;
        let granted = (spent as f64) < (first as f64).mul_add(self.ratio, floor as f64);
        current(&mut slots, now).retries += u64::from(granted);
        granted
    }
}

fn current(slots: &mut [Slot; SLOTS], now: Millis) -> &mut Slot {
    let second = now.0 / 1000;
    let slot = &mut slots[(second % WINDOW_SECONDS) as usize];
    if slot.second != second {
        *slot = Slot {
            second,
            ..Slot::default()
        };
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &RetryBudget, now: u64, tries: usize) -> usize {
        (0..tries).filter(|_| budget.may_retry(Millis(now))).count()
    }

    #[test]
    fn an_idle_frontend_has_its_floor() {
        let budget = RetryBudget::new(0.2, 10);
        assert_eq!(granted(&budget, 5_000, 1_000), 100);
        assert_eq!(
            granted(&budget, 14_999, 1_000),
            0,
            "still inside the window"
        );
        assert_eq!(granted(&budget, 15_000, 1_000), 100);
    }

    #[test]
    fn a_busy_one_has_its_share_of_the_last_ten_seconds() {
        let budget = RetryBudget::new(0.2, 0);
        for ms in 0..10_000 {
            budget.first_attempt(Millis(ms));
        }
        assert_eq!(granted(&budget, 9_999, 10_000), 2_000);
        assert_eq!(
            granted(&budget, 30_000, 10_000),
            0,
            "old attempts earn nothing"
        );
    }

    #[test]
    fn no_share_and_no_floor_is_no_retry() {
        let budget = RetryBudget::new(0.0, 0);
        budget.first_attempt(Millis(1));
        assert_eq!(granted(&budget, 1, 10), 0);
    }
}
