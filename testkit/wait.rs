//! Waiting for a condition, with a deadline: the only way a test here lets time pass.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longer than anything here takes on a starved machine; reached only if it never happens. A test that waits
/// this long fails before the runner ends it, and says what it has seen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Looks until `look` says `Ok`, and gives what it found.
///
/// Panics after [`PATIENCE`] with `claim` and the last `Err`: what was seen instead.
pub(crate) async fn until<T, E: Debug>(claim: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_every(POLL, claim, look).await
}

/// The same with so much time between two looks: for what costs the processes something.
pub(crate) async fn until_every<T, E: Debug>(
    poll: Duration,
    claim: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > PATIENCE => {
                panic!("not within {PATIENCE:?}: {claim}; last seen: {seen:#?}")
            }
            Err(_) => sleep(poll).await,
        }
    }
}

/// Awaits `what`; panics after [`PATIENCE`] with `claim`.
pub(crate) async fn in_time<T>(claim: &str, what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {claim}"),
    }
}

/// Lets time pass on a thread that nothing else runs on.
#[expect(
    clippy::disallowed_methods,
    reason = "every thread that calls it is its own, and no runtime's"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
