//! A worker: a thread of its own with a share of the connections, so that nothing it counts is shared.
//!
//! Called by `loadgen::run`, which collects what workers have counted once a second.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::sleep_until;

use super::plan::Pacing;
use super::share::{Share, Work};
use super::{closed, open};

/// Between two snapshots of what a worker has counted.
pub(super) const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// Carries out a worker's share. Blocks until it is done; needs a thread of its own.
///
/// # Errors
/// If the thread can have no runtime.
pub(super) fn run(work: Work) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let share = Rc::new(Share::new(work));
        let mut requests = std::pin::pin!(requests(&share));
        for second in 1.. {
            let due = share.work.start + SNAPSHOT_INTERVAL * second;
            tokio::select! {
                () = requests.as_mut() => break,
                () = sleep_until(due) => share.snapshot(Some(second.into())).await,
            }
        }
        share.snapshot(None).await;
    });
    Ok(())
}

async fn requests(share: &Rc<Share>) {
    sleep_until(share.work.start).await;
    match share.work.plan.pacing {
        Pacing::Open {
            rate_per_second,
            arrivals,
            max_connections,
        } => open::run(share, rate_per_second, arrivals, max_connections).await,
        Pacing::Closed { connections } => closed::run(share, connections).await,
    }
}
