//! Futures are polled by hand, and only when woken, so that every interleaving is one of ours and a
//! lost wake-up shows.

mod schedules;

use std::cell::Cell;
use std::collections::HashSet;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A connection that knows its number, and counts those that live.
struct Fake {
    id: usize,
    live: Rc<Cell<usize>>,
    lanes: Weak<Shared<Fake, u8>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.upgrade() {
            // Asking takes the lock, so it must not be held here.
            let Counts { open, opening, .. } = lanes.table.lock().counts();
            assert!(
                open + opening >= self.live.get(),
                "its place was given away before it was gone"
            );
        }
        self.live.set(self.live.get() - 1);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type FakeSeat = Seat<Fake, u8>;
type Seated = Result<FakeSeat, &'static str>;

/// A call of `seat` and what it is given to open, if it comes to that.
struct Call {
    group: u8,
    future: Pin<Box<dyn Future<Output = Seated>>>,
    woken: Arc<Woken>,
    /// Whether it is to open a lane.
    opens: Rc<Cell<bool>>,
    answer: Option<oneshot::Sender<Result<Fake, &'static str>>>,
}

impl Call {
    /// Its outcome, if it was woken and has one.
    fn poll(&mut self) -> Option<Seated> {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }
}

/// Lanes with a database made of numbers.
struct Bench {
    lanes: Lanes<Fake, u8>,
    live: Rc<Cell<usize>>,
    opened: usize,
}

impl Bench {
    fn new(connections: usize, depth: usize) -> Self {
        Self {
            lanes: Lanes::new(Limits { connections, depth }),
            live: Rc::default(),
            opened: 0,
        }
    }

    fn audit(&self) {
        self.lanes.shared.table.lock().audit();
    }

    /// Starts a call, not yet polled.
    fn call(&self, group: u8) -> Call {
        let (answer, answered) = oneshot::channel();
        let opens = Rc::<Cell<bool>>::default();
        let (lanes, opened) = (self.lanes.clone(), Rc::clone(&opens));
        let open = move || {
            opened.set(true);
            async move { answered.await.expect("the bench answers every opener") }
        };
        Call {
            group,
            future: Box::pin(async move { lanes.seat(group, open).await }),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            opens,
            answer: Some(answer),
        }
    }

    /// Starts a call that cannot be served yet, or has to open.
    fn pending(&self, group: u8) -> Call {
        let mut call = self.call(group);
        assert!(call.poll().is_none(), "it was seated at once");
        self.audit();
        call
    }

    fn answer(&mut self, call: &mut Call) {
        self.opened += 1;
        self.live.set(self.live.get() + 1);
        let fake = Fake {
            id: self.opened,
            live: Rc::clone(&self.live),
            lanes: Arc::downgrade(&self.lanes.shared),
        };
        assert!(call.opens.get(), "it is not to open");
        let answer = call.answer.take().expect("answered once");
        assert!(answer.send(Ok(fake)).is_ok());
    }

    /// Lets a call that is to open succeed.
    fn open(&mut self, mut call: Call) -> FakeSeat {
        let _ = call.poll();
        self.answer(&mut call);
        let seat = call.poll().expect("woken").expect("opened");
        self.audit();
        seat
    }

    /// Seats a statement that needs no patience, on a new lane or a shared one.
    fn seat(&mut self, group: u8) -> FakeSeat {
        let mut call = self.call(group);
        let seat = match call.poll() {
            Some(outcome) => outcome.expect("nothing was opened"),
            None => self.open(call),
        };
        self.audit();
        seat
    }

    fn drop_seat(&self, seat: FakeSeat) {
        drop(seat);
        self.audit();
    }

    fn assert_unused(&self) {
        assert_eq!(self.lanes.counts(), Counts::default());
        assert_eq!(self.live.get(), 0, "a connection was kept");
        assert!(self.lanes.shared.table.lock().is_empty());
    }
}

fn seated(call: &mut Call) -> FakeSeat {
    call.poll().expect("not woken").expect("nothing was opened")
}

fn ids(seats: &[FakeSeat]) -> HashSet<usize> {
    seats.iter().map(|seat| seat.id).collect()
}

#[test]
fn a_group_holds_at_most_three_quarters_of_the_lanes() {
    for (connections, share) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (10, 7), (20, 15)] {
        let mut bench = Bench::new(connections, 64);
        let seats: Vec<_> = (0..3 * connections).map(|_| bench.seat(0)).collect();
        assert_eq!(bench.lanes.counts().open, share, "{connections}");
        assert_eq!(ids(&seats).len(), share);
        drop(seats);
        bench.assert_unused();
    }
}

#[test]
fn a_lane_carries_depth_statements_and_the_emptiest_is_taken_first() {
    let mut bench = Bench::new(3, 3);
    let mut seats: Vec<_> = (0..6).map(|_| bench.seat(0)).collect();
    for pair in seats.chunks(2) {
        assert_eq!(ids(pair).len(), 2, "lanes fill evenly");
    }
    let mut waiting = bench.pending(0);
    assert_eq!(
        bench.lanes.counts(),
        Counts {
            open: 2,
            opening: 0,
            in_flight: 6,
            waiting: 1
        }
    );
    bench.drop_seat(seats.swap_remove(0));
    let served = seated(&mut waiting);
    drop((seats, served, waiting));
    bench.assert_unused();
}

#[test]
fn who_comes_first_is_served_first() {
    let mut bench = Bench::new(1, 1);
    let mut seat = bench.seat(0);
    let mut calls: VecDeque<_> = (0..3).map(|_| bench.pending(0)).collect();
    while let Some(call) = calls.pop_front() {
        bench.drop_seat(seat);
        assert!(calls.iter_mut().all(|later| later.poll().is_none()));
        seat = bench.open(call);
    }
    drop(seat);
    bench.assert_unused();
}

#[test]
fn nobody_is_woken_for_whom_there_is_no_place() {
    let mut bench = Bench::new(1, 2);
    let first = bench.seat(0);
    let second = bench.seat(0);
    let calls: Vec<_> = (0..1000).map(|_| bench.pending(0)).collect();
    bench.drop_seat(first);
    let woken = |calls: &[Call]| {
        let woken = calls
            .iter()
            .filter(|call| call.woken.0.load(Ordering::Relaxed));
        woken.count()
    };
    assert_eq!(woken(&calls), 1);
    bench.drop_seat(second);
    assert_eq!(woken(&calls), 2);
    drop(calls);
    bench.assert_unused();
}

#[test]
fn a_waiting_group_gets_a_lane_of_a_busy_one_which_never_pauses() {
    let mut bench = Bench::new(4, 2);
    let mut busy: VecDeque<_> = (0..6).map(|_| bench.seat(0)).collect();
    let small = bench.seat(1);
    let mut starving = bench.pending(2);
    let mut backlog: VecDeque<_> = (0..20).map(|_| bench.pending(0)).collect();
    let mut served = 0;
    while !starving.opens.get() {
        bench.drop_seat(busy.pop_front().expect("the busy group has statements"));
        assert!(bench.lanes.shared.table.lock().staying(0) >= 2);
        let _ = starving.poll();
        while let Some(Ok(seat)) = backlog.front_mut().and_then(Call::poll) {
            backlog.pop_front();
            busy.push_back(seat);
            served += 1;
        }
    }
    assert!(served > 0, "the busy group waited for the starving one");
    assert!(
        busy.iter().all(|seat| seat.id != small.id),
        "a lane has one group"
    );
    let seat = bench.open(starving);
    drop((busy, backlog, small, seat));
    bench.assert_unused();
}

#[test]
fn busy_groups_end_up_with_equal_parts() {
    let mut bench = Bench::new(8, 2);
    let mut seats: Vec<VecDeque<FakeSeat>> = vec![VecDeque::new(), VecDeque::new()];
    let mut calls: Vec<VecDeque<Call>> = vec![VecDeque::new(), VecDeque::new()];
    for _ in 0..200 {
        for group in [0, 1] {
            while calls[group].len() < 3 {
                calls[group].push_back(bench.call(group as u8));
            }
            for mut call in std::mem::take(&mut calls[group]) {
                match call.poll() {
                    Some(outcome) => seats[group].push_back(outcome.expect("opened")),
                    None if call.opens.get() => seats[group].push_back(bench.open(call)),
                    None => calls[group].push_back(call),
                }
            }
            // Only now are all seats taken, and the first group had all that it may have.
            drop(seats[group].pop_front());
            bench.audit();
        }
    }
    let table = bench.lanes.shared.table.lock();
    assert_eq!((table.staying(0), table.staying(1)), (4, 4));
}

#[test]
fn lanes_go_round_among_more_groups_than_lanes() {
    let mut bench = Bench::new(2, 2);
    let mut turns = [0; 5];
    let mut calls: Vec<Call> = Vec::new();
    let mut seats: VecDeque<FakeSeat> = VecDeque::new();
    for _ in 0..1000 {
        // Every group always has more to do than it can.
        for group in 0..turns.len() {
            let waiting = calls.iter().filter(|call| usize::from(call.group) == group);
            for _ in waiting.count()..5 {
                calls.push(bench.call(group as u8));
            }
        }
        for mut call in std::mem::take(&mut calls) {
            let outcome = call.poll();
            match outcome {
                Some(outcome) => {
                    turns[usize::from(call.group)] += 1;
                    seats.push_back(outcome.expect("opened"));
                }
                None if call.opens.get() => {
                    turns[usize::from(call.group)] += 1;
                    seats.push_back(bench.open(call));
                }
                None => calls.push(call),
            }
        }
        drop(seats.pop_front());
        bench.audit();
    }
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(*least > 100 && most - least < 20, "{turns:?}");
}

#[test]
fn a_lane_promised_to_a_starving_group_takes_nobody_more() {
    let mut bench = Bench::new(1, 4);
    let seat = bench.seat(0);
    let starving = bench.pending(1);
    let late = bench.pending(0);
    assert!(!late.opens.get(), "there is one connection only");
    bench.drop_seat(seat);
    let seat = bench.open(starving);
    drop((late, seat));
    bench.assert_unused();
}

#[test]
fn a_lane_that_is_opened_while_another_group_starves_serves_its_waiters_and_ends() {
    let mut bench = Bench::new(1, 3);
    let opener = bench.pending(0);
    let (mut second, starving) = (bench.pending(0), bench.pending(1));
    let first = bench.open(opener);
    let second = seated(&mut second);
    assert_eq!(first.id, second.id);
    let late = bench.pending(0);
    drop((first, second));
    let seat = bench.open(starving);
    drop((late, seat));
    bench.assert_unused();
}

#[test]
fn a_backlog_does_not_go_before_a_group_that_comes_later() {
    let mut bench = Bench::new(1, 1);
    let seat = bench.seat(0);
    let backlog = [bench.pending(0), bench.pending(0)];
    let other = bench.pending(1);
    bench.drop_seat(seat);
    let seat = bench.open(other);
    let again = bench.pending(1);
    bench.drop_seat(seat);
    let [first, second] = backlog;
    assert!(!again.woken.0.load(Ordering::Relaxed), "it had its turn");
    let seat = bench.open(first);
    drop((seat, second, again));
    bench.assert_unused();
}

#[test]
fn one_starving_group_costs_one_lane_the_oldest() {
    let mut bench = Bench::new(2, 2);
    let (older, newer) = (bench.seat(0), bench.seat(1));
    let starving = bench.pending(2);
    let robbed = bench.pending(0);
    let joined = bench.seat(1);
    assert_eq!(joined.id, newer.id, "the newer lane stays");
    bench.drop_seat(older);
    let seat = bench.open(starving);
    drop((robbed, joined, newer, seat));
    bench.assert_unused();
}

#[test]
fn the_lane_that_is_free_first_is_the_one_to_go() {
    let mut bench = Bench::new(3, 3);
    let other = bench.seat(9);
    let mut seats: Vec<_> = (0..4).map(|_| bench.seat(0)).collect();
    let (long, short) = (seats[0].id, seats[1].id);
    let at = seats.iter().position(|seat| seat.id == short);
    bench.drop_seat(seats.swap_remove(at.expect("two are on it")));
    let starving = bench.pending(1);
    let joined = bench.seat(0);
    assert_eq!(joined.id, long);
    let at = seats.iter().position(|seat| seat.id == short);
    bench.drop_seat(seats.swap_remove(at.expect("one is on it")));
    let seat = bench.open(starving);
    drop((seats, joined, seat, other));
    bench.assert_unused();
}

#[test]
fn a_grant_whose_waiter_leaves_before_it_is_sent_goes_to_the_next() {
    let mut bench = Bench::new(1, 2);
    let mut seats = [bench.seat(0), bench.seat(0)];
    let (gone, mut next) = (bench.pending(0), bench.pending(0));
    let connection = seats[0].connection.take().expect("not dropped yet");
    let lane = seats[0].lane;
    let shared = Arc::clone(&bench.lanes.shared);
    let served = shared.take_back(0, Grant::Join { lane, connection });
    drop(gone);
    shared.deliver(served);
    bench.audit();
    let seat = seated(&mut next);
    drop((seats, seat, next));
    bench.assert_unused();
}

#[test]
fn a_failed_open_fails_its_caller_and_lets_the_next_one_try() {
    let mut bench = Bench::new(1, 4);
    let mut first = bench.pending(0);
    let mut second = bench.pending(1);
    assert!(first.answer.take().unwrap().send(Err("refused")).is_ok());
    assert_eq!(first.poll().unwrap().unwrap_err(), "refused");
    bench.audit();
    assert!(second.poll().is_none() && second.opens.get());
    let seat = bench.open(second);
    drop(seat);
    bench.assert_unused();
}

#[test]
fn a_call_that_is_dropped_passes_its_place_on_wherever_it_was() {
    let mut bench = Bench::new(1, 2);
    // Before it was ever polled, while it opens, and when it is to open but not yet polled again.
    drop(bench.call(0));
    let opener = bench.pending(0);
    let next_opener = bench.pending(0);
    let waiter = bench.pending(0);
    let mut last = bench.pending(0);
    drop(opener);
    bench.audit();
    assert!(next_opener.woken.0.load(Ordering::Relaxed));
    drop(waiter);
    drop(next_opener);
    bench.audit();
    assert!(last.poll().is_none() && last.opens.get());
    // When given a seat on a lane but not yet polled again.
    let (one, two) = (bench.open(last), bench.seat(0));
    let (given, mut next) = (bench.pending(0), bench.pending(0));
    bench.drop_seat(two);
    assert!(given.woken.0.load(Ordering::Relaxed));
    drop(given);
    bench.audit();
    let seat = seated(&mut next);
    // When its lane was opened but not yet polled again.
    drop((one, seat));
    let mut opened = bench.pending(0);
    bench.answer(&mut opened);
    drop((opened, next));
    bench.assert_unused();
}

#[test]
fn a_condemned_lane_takes_nobody_and_goes_with_its_last_statement() {
    let mut bench = Bench::new(1, 4);
    let (one, two) = (bench.seat(0), bench.seat(0));
    assert_eq!(one.id, two.id);
    two.condemn();
    two.condemn();
    let mut next = bench.pending(0);
    bench.drop_seat(two);
    assert!(next.poll().is_none() && !next.opens.get());
    assert_eq!(bench.live.get(), 1, "a statement is still on it");
    let condemned = one.id;
    bench.drop_seat(one);
    assert_eq!(
        bench.live.get(),
        0,
        "the connection was kept while another is opened"
    );
    let seat = bench.open(next);
    assert_ne!(seat.id, condemned);
    drop(seat);
    bench.assert_unused();
}
