//! Discovery with a resolver of the test's, on paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::name::{FRESH, MISSES_MAX};
use super::*;

/// A resolver that answers what the test last set, and counts the questions.
#[derive(Clone, Default)]
struct Dns {
    answer: Arc<Mutex<Option<Vec<IpAddr>>>>,
    is_silent: Arc<Mutex<bool>>,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    fn set(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        *self.answer.lock() = Some(addresses.collect());
    }

    fn fail(&self) {
        *self.answer.lock() = None;
    }

    fn resolve(&self) -> Resolve {
        let dns = self.clone();
        Arc::new(move |_| {
            dns.asked.fetch_add(1, Ordering::Relaxed);
            let (answer, is_silent) = (dns.answer.lock().clone(), *dns.is_silent.lock());
            Box::pin(async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                answer.ok_or_else(|| io::Error::other("no such name"))
            })
        })
    }

    fn start(&self, seeds: &str) -> Discovery {
        let seeds = crate::config::read_seeds(seeds).unwrap();
        let from = [10, 0, 0, 9].into();
        let shutdown = Shutdown::new();
        Discovery::start_with(self.resolve(), seeds, from, &Registry::new(), &shutdown)
    }
}

fn places(discovery: &Discovery) -> String {
    let places = discovery.places();
    let texts: Vec<_> = places.iter().map(Seed::to_string).collect();
    texts.join(" ")
}

/// Lets this much time pass, with all that happens in it.
async fn pass(time: Duration) {
    sleep(time).await;
}

/// Long enough for an address to be forgotten.
const LONG: Duration = ASK_EVERY.saturating_mul(MISSES_MAX + 1);

#[tokio::test(start_paused = true)]
async fn an_address_among_the_seeds_is_never_asked_for() {
    let dns = Dns::default();
    let discovery = dns.start("10.0.0.1,[::1]:9,10.0.0.1:8001");
    discovery.settled().await;
    pass(LONG).await;
    assert_eq!(places(&discovery), "10.0.0.1:8001 [::1]:9");
    assert_eq!(dns.asked.load(Ordering::Relaxed), 0);
    assert!(discovery.is_fixed());
    assert_eq!(discovery.lists("10.0.0.1", 8001), Listed::Yes);
    assert_eq!(discovery.lists("0:0::1", 9), Listed::Yes);
    assert_eq!(discovery.lists("10.0.0.1", 8002), Listed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_name_stands_for_all_its_addresses_beside_others() {
    let dns = Dns::default();
    dns.set(&["10.0.0.2", "10.0.0.1"]);
    let discovery = dns.start("10.0.0.1,nodes.test");
    discovery.settled().await;
    assert_eq!(places(&discovery), "10.0.0.1:8001 10.0.0.2:8001");
    dns.set(&["10.0.0.2", "10.0.0.1", "10.0.0.3"]);
    pass(ASK_EVERY).await;
    assert!(places(&discovery).contains("10.0.0.3:8001"));
    assert!(!discovery.is_fixed() && discovery.unresolved().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_a_minute_of_answers_without_it_denies_an_address() {
    let dns = Dns::default();
    dns.set(&["10.0.0.1", "10.0.0.2"]);
    let discovery = dns.start("nodes.test");
    discovery.settled().await;
    assert_eq!(discovery.lists("10.0.0.1", 8001), Listed::Yes);
    assert_eq!(
        discovery.lists("10.0.0.3", 8001),
        Listed::Unknown,
        "one answer may be a part of the truth"
    );
    dns.set(&["10.0.0.1"]);
    pass(ASK_EVERY * 2).await;
    assert_eq!(discovery.lists("10.0.0.2", 8001), Listed::Yes);
    pass(LONG).await;
    assert_eq!(discovery.lists("10.0.0.2", 8001), Listed::No);
    assert_eq!(discovery.lists("10.0.0.1", 8002), Listed::No);
    assert_eq!(discovery.lists("n1.test", 8001), Listed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_failing_name_keeps_its_addresses_and_denies_nothing() {
    let dns = Dns::default();
    dns.set(&["10.0.0.1"]);
    let discovery = dns.start("nodes.test");
    pass(LONG).await;
    assert_eq!(discovery.lists("10.0.0.2", 8001), Listed::No);
    for is_empty in [true, false] {
        if is_empty {
            dns.set(&[]);
        } else {
            dns.fail();
        }
        pass(FRESH + ASK_EVERY).await;
        assert_eq!(places(&discovery), "10.0.0.1:8001");
        assert_eq!(discovery.lists("10.0.0.2", 8001), Listed::Unknown);
        assert_eq!(discovery.lists("10.0.0.1", 8001), Listed::Yes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_address_delays_the_start_for_no_longer_than_it_may() {
    let dns = Dns::default();
    let discovery = dns.start("nodes.test");
    let begun = Instant::now();
    discovery.settled().await;
    assert!(begun.elapsed() < FIRST_PATIENCE, "a failure is an answer");
    assert_eq!(discovery.unresolved()[0].host, "nodes.test");
    dns.set(&["10.0.0.1"]);
    pass(ASK_FIRST_EVERY).await;
    assert_eq!(places(&discovery), "10.0.0.1:8001");

    let silent = Dns::default();
    *silent.is_silent.lock() = true;
    let discovery = silent.start("nodes.test,10.0.0.7");
    let begun = Instant::now();
    discovery.settled().await;
    assert_eq!(begun.elapsed(), FIRST_PATIENCE);
    pass(LONG).await;
    assert_eq!(
        silent.asked.load(Ordering::Relaxed),
        1,
        "threads never pile up"
    );
    assert_eq!(places(&discovery), "10.0.0.7:8001");
    assert_eq!(discovery.lists("10.0.0.1", 8001), Listed::Unknown);
}
