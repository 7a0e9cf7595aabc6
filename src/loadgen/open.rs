//! The open loop: requests are sent when they are due, whatever became of the earlier ones.
//!
//! A bell rings when a request is due. It goes to the connection that was idle for the shortest time,
//! else to a new one; at the bound it waits, in no queue but the sequence of times itself, until a
//! connection is free and takes it. Its latency counts from when it was due all the same.

use std::cell::{Cell, RefCell};
use std::iter::Peekable;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::connection::{Asked, Connection};
use super::pace::{Due, Pace};
use super::plan::Arrivals;
use super::share::Share;

/// How long after the end of the plan requests that are overdue are still sent.
const DRAIN: Duration = Duration::from_secs(1);

/// Connections of one worker that are being opened at once. Opening one costs more than a request: as
/// many as there are requests to send would keep both sides from sending any.
const MAX_OPENING: usize = 16;

/// Keys of an open loop are one sequence, whichever connection asks for them. It is none of a closed loop's,
/// which are numbered by connection: one can warm up for the other without being repeated.
const STREAM: u64 = u64::MAX;

/// Runs this worker's share of the requests until the end of the plan or an interrupt.
pub(super) async fn run(
    share: &Rc<Share>,
    rate_per_second: f64,
    arrivals: Arrivals,
    max_connections: usize,
) {
    let work = &share.work;
    let plan = &work.plan;
    let pace = Pace::new(rate_per_second, arrivals, plan.end(), plan.seed);
    let pool = Rc::new(Pool {
        times: RefCell::new(pace.share(work.number, work.workers).peekable()),
        idle: RefCell::new(vec![Vec::new(); work.routes.len()]),
        room: Cell::new(share_of(max_connections, work.number, work.workers)),
        opening: Cell::new(0),
        is_closed: Cell::new(false),
    });
    let mut tasks = JoinSet::new();
    let mut last_call = std::pin::pin!(sleep_until(work.start + plan.end() + DRAIN));
    loop {
        pool.send_due(share, &mut tasks);
        if pool.times.borrow_mut().peek().is_none() {
            break;
        }
        tokio::select! {
            () = work.bell.notified() => {}
            () = &mut last_call => break,
            () = work.shutdown.begun() => break,
        }
    }
    let ended = work.start.elapsed();
    pool.close();
    share.finish(tasks).await;
    let unsent = pool.overdue(ended);
    share.record(|record| record.unsent += unsent);
}

/// Returns what one of `workers` gets of `whole`.
fn share_of(whole: usize, number: usize, workers: usize) -> usize {
    whole / workers + usize::from(number < whole % workers)
}

/// A connection's place to wait for its next request.
#[derive(Debug, Default)]
struct Seat {
    next: Cell<Option<Due>>,
    called: Notify,
}

/// The requests to come and the connections that wait for them.
struct Pool<T: Iterator<Item = Due>> {
    times: RefCell<Peekable<T>>,
    /// By target, the one that became idle last at the end.
    idle: RefCell<Vec<Vec<Rc<Seat>>>>,
    /// How many more connections may be opened.
    room: Cell<usize>,
    /// How many are being opened.
    opening: Cell<usize>,
    is_closed: Cell<bool>,
}

impl<T: Iterator<Item = Due> + 'static> Pool<T> {
    /// Gives every request that is due to a connection, while there is one.
    fn send_due(self: &Rc<Self>, share: &Rc<Share>, tasks: &mut JoinSet<()>) {
        let now = share.work.start.elapsed();
        while let Some(due) = self.next_due(now) {
            let target = self.target(due);
            if let Some(seat) = self.idle_seat(target) {
                self.times.borrow_mut().next();
                seat.next.set(Some(due));
                seat.called.notify_one();
            } else if self.may_open() {
                self.times.borrow_mut().next();
                self.room.set(self.room.get() - 1);
                self.opening.set(self.opening.get() + 1);
                let task = converse(Rc::clone(self), Rc::clone(share), target, due);
                tasks.spawn_local(task);
            } else {
                return;
            }
        }
    }

    fn may_open(&self) -> bool {
        self.room.get() > 0 && self.opening.get() < MAX_OPENING
    }

    /// Requests go to the targets in turn.
    fn target(&self, due: Due) -> usize {
        let targets = self.idle.borrow().len() as u64;
        usize::try_from(due.number % targets).expect("fewer than targets")
    }

    /// An idle connection: to this target if there is one or one may be opened, else to any.
    fn idle_seat(&self, target: usize) -> Option<Rc<Seat>> {
        let mut idle = self.idle.borrow_mut();
        if let Some(seat) = idle[target].pop() {
            return Some(seat);
        }
        if self.may_open() {
            return None;
        }
        idle.iter_mut().find_map(Vec::pop)
    }

    fn next_due(&self, now: Duration) -> Option<Due> {
        let mut times = self.times.borrow_mut();
        times.peek().copied().filter(|due| due.at <= now)
    }

    /// The next request for a connection that is free; none once the run is over.
    async fn next(&self, share: &Share, seat: &Rc<Seat>, target: usize) -> Option<Due> {
        if self.is_closed.get() {
            return None;
        }
        // The bell rings for those that are not for this connection and may have another.
        let is_mine = |due: &Due| !self.may_open() || self.target(*due) == target;
        let due = self.next_due(share.work.start.elapsed());
        if let Some(due) = due.filter(is_mine) {
            let mut times = self.times.borrow_mut();
            times.next();
            if times.peek().is_none() {
                // Nothing else would wake the loop when all is sent.
                share.work.bell.notify_one();
            }
            return Some(due);
        }
        self.idle.borrow_mut()[target].push(Rc::clone(seat));
        seat.called.notified().await;
        seat.next.take()
    }

    /// Lets connections end after what they are doing.
    fn close(&self) {
        self.is_closed.set(true);
        for seat in self.idle.borrow_mut().iter_mut().flat_map(std::mem::take) {
            seat.called.notify_one();
        }
    }

    /// Returns how many requests were due by then and are not sent.
    fn overdue(&self, then: Duration) -> u64 {
        let mut times = self.times.borrow_mut();
        let mut overdue = 0;
        while times.next_if(|due| due.at <= then).is_some() {
            overdue += 1;
        }
        overdue
    }
}

async fn converse<T>(pool: Rc<Pool<T>>, share: Rc<Share>, target: usize, first: Due)
where
    T: Iterator<Item = Due> + 'static,
{
    let work = &share.work;
    let mut connection = Connection::new(work.routes[target].clone());
    let seat = Rc::new(Seat::default());
    let index = |due: Due| work.keys.index(STREAM, due.number);
    let mut due = first;
    share.began();
    let is_open = connection.open().await;
    pool.opening.set(pool.opening.get() - 1);
    // Requests may wait for their turn to open one.
    work.bell.notify_one();
    let mut asked = if is_open {
        connection.get(&work.keys, index(due)).await
    } else {
        Asked::unconnected()
    };
    loop {
        share.ended(&asked, index(due), due.at, true);
        let connects = std::mem::take(&mut connection.connects);
        share.record(|record| record.connects += connects);
        let Some(next) = pool.next(&share, &seat, target).await else {
            return;
        };
        due = next;
        share.began();
        asked = connection.get(&work.keys, index(due)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_on_connections_is_shared_out_without_remainder() {
        for (whole, workers) in [(1024, 3), (2, 2), (1, 4), (7, 4)] {
            let shares = (0..workers).map(|number| share_of(whole, number, workers));
            assert_eq!(shares.sum::<usize>(), whole);
        }
    }
}
