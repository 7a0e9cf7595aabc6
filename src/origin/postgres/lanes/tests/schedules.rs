//! Random schedules, by hand and on threads: no limit is broken and nothing is left behind.

use super::*;

/// One random schedule: calls come and go, opens succeed and fail, statements end.
fn run_schedule(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let connections = random.usize(1..8);
    let mut bench = Bench::new(connections, random.usize(1..4));
    let groups = random.u8(1..6);
    let (mut calls, mut seats): (Vec<Call>, Vec<FakeSeat>) = (Vec::new(), Vec::new());
    for step in 0..600 {
        // Towards the end nothing new comes, and all must drain.
        let action = random.u8(if step < 400 { 0..10 } else { 4..10 });
        let call = (!calls.is_empty()).then(|| random.usize(..calls.len()));
        let seat = (!seats.is_empty()).then(|| random.usize(..seats.len()));
        match (action, call, seat) {
            (0..4, _, _) => calls.push(bench.call(random.u8(..groups))),
            (4, Some(call), _) => drop(calls.swap_remove(call)),
            (5, Some(call), _) if calls[call].opens.get() => {
                if let Some(answer) = calls[call].answer.take() {
                    let _left = answer.send(Err("refused"));
                }
            }
            (6, _, Some(seat)) if random.u8(..8) == 0 => seats[seat].condemn(),
            (6 | 7, _, Some(seat)) => drop(seats.swap_remove(seat)),
            (8, Some(call), _) if calls[call].opens.get() && calls[call].answer.is_some() => {
                bench.answer(&mut calls[call]);
            }
            // One call notices that it was woken, or not yet.
            (_, Some(call), _) => {
                if let Some(outcome) = calls[call].poll() {
                    calls.swap_remove(call);
                    seats.extend(outcome);
                }
            }
            _ => {}
        }
        bench.audit();
        assert!(bench.live.get() <= connections, "too many connections");
    }
    drain(&mut bench, calls, seats);
}

/// Lets everything that is left succeed, which must take no more than polling those who are woken.
fn drain(bench: &mut Bench, mut calls: Vec<Call>, mut seats: Vec<FakeSeat>) {
    while !calls.is_empty() {
        let before = (calls.len(), seats.len(), bench.opened);
        for mut call in std::mem::take(&mut calls) {
            let mut outcome = call.poll();
            if outcome.is_none() && call.opens.get() && call.answer.is_some() {
                bench.answer(&mut call);
                outcome = call.poll();
            }
            match outcome {
                Some(outcome) => seats.extend(outcome),
                None => calls.push(call),
            }
        }
        seats.pop();
        bench.audit();
        let after = (calls.len(), seats.len(), bench.opened);
        assert_ne!(before, after, "somebody waits for nothing");
    }
    drop(seats);
    bench.assert_unused();
}

#[test]
fn no_schedule_breaks_a_limit_or_leaves_anything_behind() {
    for seed in 0..2000 {
        let outcome = std::panic::catch_unwind(|| run_schedule(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_come_and_leave_at_will_leave_nothing_behind() {
    const CONNECTIONS: usize = 4;
    struct Live(Arc<AtomicUsize>);
    impl Drop for Live {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let lanes = Lanes::<Live, u64>::new(Limits {
        connections: CONNECTIONS,
        depth: 2,
    });
    let live = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (lanes, live) = (lanes.clone(), Arc::clone(&live));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for _ in 0..500 {
                    let open = || async {
                        tokio::task::yield_now().await;
                        assert!(live.fetch_add(1, Ordering::SeqCst) < CONNECTIONS);
                        Ok::<_, ()>(Live(Arc::clone(&live)))
                    };
                    // Some give up at once, some soon, most never.
                    let patience = [0, 100, 10_000_000, 10_000_000][random.usize(..4)];
                    let call = lanes.seat(random.u64(..5), open);
                    let seat = timeout(Duration::from_micros(patience), call).await;
                    if random.bool() {
                        tokio::task::yield_now().await;
                    }
                    drop(seat);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(lanes.counts(), Counts::default());
    assert_eq!(live.load(Ordering::SeqCst), 0);
}
