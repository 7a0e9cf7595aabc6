//! The closed loop: each connection sends its next request when the answer is in.
//!
//! A stall of the server stops the requests that would have met it: what is measured is service time.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{Cause, Connection};
use super::share::Share;

/// After a failure to connect. Without it a server that is gone is asked as fast as it can refuse.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Runs this worker's share of `connections` until the end of the plan or an interrupt.
pub(super) async fn run(share: &Rc<Share>, connections: usize) {
    let mut tasks = JoinSet::new();
    for number in (share.work.number..connections).step_by(share.work.workers) {
        tasks.spawn_local(converse(Rc::clone(share), number));
    }
    share.finish(tasks).await;
}

async fn converse(share: Rc<Share>, number: usize) {
    let work = &share.work;
    let route = work.routes[number % work.routes.len()].clone();
    let mut connection = Connection::new(route);
    // Each connection has its own sequence of keys, whichever worker it belongs to.
    for request in 0.. {
        let at = work.start.elapsed();
        if at >= work.plan.end() || work.shutdown.has_begun() {
            return;
        }
        let index = work.keys.index(number as u64, request);
        share.began();
        let asked = connection.get(&work.keys, index).await;
        share.ended(&asked, index, at, false);
        let connects = std::mem::take(&mut connection.connects);
        share.record(|record| record.connects += connects);
        if matches!(asked.result, Err(Cause::Connect)) {
            sleep(RECONNECT_PAUSE).await;
        }
    }
}
