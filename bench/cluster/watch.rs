//! Waiting, within the bound of a scenario and only until somebody interrupts it.

use std::time::Duration;

use anyhow::bail;
use gcache::shutdown::Shutdown;
use tokio::time::Instant;

use crate::testkit::process::Process;
use crate::testkit::wait::pause;

/// Between two looks at what is waited for, and at the interrupt.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a process may take to end once it was asked to: longer than a node takes to leave.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// How long a scenario may go on.
pub(crate) struct Watch {
    shutdown: Shutdown,
    end: Instant,
}

impl Watch {
    /// One that lets nothing go on for longer than `bound` from now.
    pub(crate) fn new(shutdown: &Shutdown, bound: Duration) -> Self {
        Self {
            shutdown: shutdown.clone(),
            end: Instant::now() + bound,
        }
    }

    /// What is left of the bound.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Lets some time pass.
    ///
    /// # Errors
    /// Somebody interrupted it, or the bound is reached.
    pub(crate) fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            pause(left.min(PAUSE));
        }
    }

    /// Looks until `look` succeeds, for as long as `patience`.
    ///
    /// # Errors
    /// What was seen last, or as [`Watch::pause`].
    pub(crate) fn until<T>(
        &self,
        claim: &str,
        patience: Duration,
        look: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.until_every(PAUSE, claim, patience, look)
    }

    /// The same, with so much time between two looks: for what costs those who are measured something.
    ///
    /// # Errors
    /// As [`Watch::until`].
    pub(crate) fn until_every<T>(
        &self,
        pause: Duration,
        claim: &str,
        patience: Duration,
        mut look: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + patience;
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err(seen) if Instant::now() >= end => {
                    return Err(seen.context(format!("not within {patience:?}: {claim}")));
                }
                Err(_) => self.pause(pause)?,
            }
        }
    }

    /// Waits until a process has ended.
    ///
    /// # Errors
    /// As [`Watch::until`].
    pub(crate) fn ended(&self, process: &mut Process) -> anyhow::Result<()> {
        let claim = format!("{} ends", process.name());
        self.until(&claim, END_PATIENCE, || match process.status() {
            Some(_) => Ok(()),
            None => bail!("it runs"),
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.shutdown.has_begun() {
            bail!("interrupted");
        }
        if self.left().is_zero() {
            bail!("the scenario took longer than it may");
        }
        Ok(())
    }
}
