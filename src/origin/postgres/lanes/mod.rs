//! Which connection a statement goes on.
//!
//! PostgreSQL runs the statements of a connection one after the other, so a slow statement delays
//! those pipelined behind it. Therefore a connection in use, a *lane*, belongs to one group of keys,
//! and no group may hold them all: a slow table delays its own group only.
//!
//! The PostgreSQL origin takes a seat for every statement. This module opens nothing itself and knows
//! no database: the connection is any `C`, and how to get one is the caller's `open`.

mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(super) use self::table::{Counts, Limits};
use self::table::{Grant, Served, Table};

/// The lanes of one origin, for groups identified by `K`. Clones are the same lanes.
pub(super) struct Lanes<C, K: Copy + Eq + Hash> {
    shared: Arc<Shared<C, K>>,
}

impl<C, K: Copy + Eq + Hash> Clone for Lanes<C, K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C, K: Copy + Eq + Hash> fmt::Debug for Lanes<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lanes").field(&self.counts()).finish()
    }
}

impl<C, K: Copy + Eq + Hash> Lanes<C, K> {
    /// No lanes yet. Panics if a limit is zero, which the configuration's checks exclude.
    pub(super) fn new(limits: Limits) -> Self {
        let shared = Shared {
            table: Mutex::new(Table::new(limits)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A seat on a connection for one statement of `group`.
    ///
    /// In this order: a new lane from `open`, while the group is under its share and there is a
    /// connection left; else the group's lane with the fewest statements in flight; else it waits,
    /// after those of its group who came earlier. A group that waits and holds nothing, or clearly
    /// less than another, gets a lane of the group that holds the most, as soon as the statements on
    /// that lane are done; it is the caller that bounds the time of a statement, and of this wait.
    ///
    /// Cancel-safe: a dropped call leaves nothing behind and passes on what it was given.
    ///
    /// # Errors
    /// Those of `open`, which concern this call alone: the next waiter opens anew.
    pub(super) async fn seat<F, Fut, E>(&self, group: K, open: F) -> Result<Seat<C, K>, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<C, E>>,
    {
        let grant = match self.shared.enter(group) {
            Ok(grant) => grant,
            Err(ticket) => ticket.wait().await,
        };
        match grant {
            Grant::Join { lane, connection } => Ok(Seat {
                shared: Arc::clone(&self.shared),
                group,
                lane,
                connection: Some(connection),
            }),
            Grant::Open => {
                let place = Place {
                    shared: Arc::clone(&self.shared),
                    group,
                    taken: true,
                };
                let connection = open().await?;
                Ok(place.fill(connection))
            }
        }
    }

    /// Returns what is in use now, for metrics.
    pub(super) fn counts(&self) -> Counts {
        self.shared.table.lock().counts()
    }
}

/// The place of one statement on a connection, which it derefs to. Dropping it gives the place back;
/// drop it when the statement is done, not before.
pub(super) struct Seat<C, K: Copy + Eq + Hash> {
    shared: Arc<Shared<C, K>>,
    group: K,
    lane: u64,
    /// Empty only while it is dropped.
    connection: Option<Arc<C>>,
}

impl<C, K: Copy + Eq + Hash> Seat<C, K> {
    /// Lets no further statement onto this connection. Those that are on it keep their seats, and the
    /// connection goes with the last of them.
    pub(super) fn condemn(&self) {
        let served = {
            let mut table = self.shared.table.lock();
            table.condemn(self.group, self.lane);
            table.settle(self.group)
        };
        self.shared.deliver(served);
    }
}

impl<C, K: Copy + Eq + Hash> Deref for Seat<C, K> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
            .as_ref()
            .expect("a seat has its connection until it is dropped")
    }
}

impl<C, K: Copy + Eq + Hash> fmt::Debug for Seat<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl<C, K: Copy + Eq + Hash> Drop for Seat<C, K> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let lane = self.lane;
            self.shared
                .give_back(self.group, Grant::Join { lane, connection });
        }
    }
}

struct Shared<C, K> {
    table: Mutex<Table<C, K>>,
}

impl<C, K: Copy + Eq + Hash> Shared<C, K> {
    fn enter(self: &Arc<Self>, group: K) -> Result<Grant<C>, Ticket<C, K>> {
        let mut table = self.table.lock();
        if let Some(grant) = table.admit(group) {
            return Ok(grant);
        }
        let (waiter, answer) = oneshot::channel();
        let id = table.wait(group, waiter);
        Err(Ticket {
            shared: Arc::clone(self),
            group,
            id,
            answer,
            served: false,
        })
    }

    /// Takes back what was granted and hands it on.
    fn give_back(&self, group: K, grant: Grant<C>) {
        let served = self.take_back(group, grant);
        self.deliver(served);
    }

    /// Takes back what was granted; returns who is served by it.
    fn take_back(&self, group: K, grant: Grant<C>) -> Vec<Served<C, K>> {
        if let Grant::Join { lane, connection } = grant {
            // Every seat lets go of the connection before it leaves the lane, so the last one to
            // leave holds it alone, and drops it outside the lock.
            drop(connection);
            let mut table = self.table.lock();
            let Some(last) = table.leave(group, lane) else {
                return table.settle(group);
            };
            drop(table);
            drop(last);
        }
        let mut table = self.table.lock();
        table.give_up(group);
        table.settle(group)
    }

    /// Sends out grants, outside the lock since it wakes their receivers. What a waiter is no longer
    /// there to receive goes to the next; in a loop, for many may leave at once.
    fn deliver(&self, served: Vec<Served<C, K>>) {
        let mut served = VecDeque::from(served);
        while let Some(next) = served.pop_front() {
            if let Err(grant) = next.waiter.send(next.grant) {
                served.extend(self.take_back(next.group, grant));
            }
        }
    }
}

/// A place in the queue, given up when dropped.
struct Ticket<C, K: Copy + Eq + Hash> {
    shared: Arc<Shared<C, K>>,
    group: K,
    id: u64,
    answer: oneshot::Receiver<Grant<C>>,
    served: bool,
}

impl<C, K: Copy + Eq + Hash> Ticket<C, K> {
    async fn wait(mut self) -> Grant<C> {
        let grant = (&mut self.answer)
            .await
            .expect("a waiter that is taken off the queue is sent its grant");
        self.served = true;
        grant
    }
}

impl<C, K: Copy + Eq + Hash> Drop for Ticket<C, K> {
    fn drop(&mut self) {
        if self.served || self.shared.table.lock().forget(self.group, self.id) {
            return;
        }
        // Taken off the queue meanwhile: either the grant is here already, or its sender now fails
        // and keeps it.
        self.answer.close();
        if let Ok(grant) = self.answer.try_recv() {
            self.shared.give_back(self.group, grant);
        }
    }
}

/// A place for a lane that is being opened, given back when dropped.
struct Place<C, K: Copy + Eq + Hash> {
    shared: Arc<Shared<C, K>>,
    group: K,
    taken: bool,
}

impl<C, K: Copy + Eq + Hash> Place<C, K> {
    fn fill(mut self, connection: C) -> Seat<C, K> {
        let connection = Arc::new(connection);
        self.taken = false;
        let (lane, served) = {
            let mut table = self.shared.table.lock();
            let lane = table.opened(self.group, Arc::clone(&connection));
            (lane, table.settle(self.group))
        };
        let seat = Seat {
            shared: Arc::clone(&self.shared),
            group: self.group,
            lane,
            connection: Some(connection),
        };
        self.shared.deliver(served);
        seat
    }
}

impl<C, K: Copy + Eq + Hash> Drop for Place<C, K> {
    fn drop(&mut self) {
        if self.taken {
            self.shared.give_back(self.group, Grant::Open);
        }
    }
}
