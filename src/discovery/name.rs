//! What is known of one DNS name: the addresses of its last answers, and how far they can be trusted.
//!
//! No I/O and no clock: `discovery` asks, and says what time it is. An answer may be a part of the truth
//! (some servers name a random few of many addresses), so an address is forgotten only after many answers
//! in a row without it; a failure or an empty answer forgets nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Seed;

/// The most addresses that are kept, in all and of one name.
pub const ADDRESSES_MAX: usize = 256;

/// Answers in a row without an address before it is forgotten: about a minute of them.
pub(super) const MISSES_MAX: u32 = 12;

/// How old the last answer may be for its silence about an address to mean anything.
pub(super) const FRESH: Duration = Duration::from_secs(30);

/// One DNS name among the seeds.
#[derive(Debug)]
pub(super) struct Name {
    /// As it was given, with the port that all its addresses share.
    pub(super) seed: Seed,
    kept: Vec<Kept>,
    /// Good answers so far, counted up to [`MISSES_MAX`].
    answers: u32,
    /// When the last good one came.
    answered: Option<Instant>,
    /// More addresses were named than are kept.
    is_cut: bool,
    /// What was wrong with the last answer.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Kept {
    address: IpAddr,
    /// The answers in a row that did not name it.
    missed: u32,
}

impl Name {
    /// A name that was not asked for yet.
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            kept: Vec::new(),
            answers: 0,
            answered: None,
            is_cut: false,
            trouble: None,
        }
    }

    /// The addresses known now, the last answer's first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.kept.iter().map(|kept| kept.address)
    }

    /// Whether it has ever had an address.
    pub(super) fn is_resolved(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes an answer that came at `now`. True if that changes the addresses, or ends a trouble.
    pub(super) fn take(&mut self, mut named: Vec<IpAddr>, from: IpAddr, now: Instant) -> bool {
        // A member has one address, of the family that its peers connect from: its other one would look
        // like a member of its own.
        let is_near = |address: &IpAddr| address.is_ipv4() == from.is_ipv4();
        if !from.is_unspecified() && named.iter().any(is_near) {
            named.retain(is_near);
        }
        named.sort_unstable();
        named.dedup();
        if named.is_empty() {
            return self.fail("it has no address".into());
        }
        let before: BTreeSet<IpAddr> = self.addresses().collect();
        for kept in &mut self.kept {
            kept.missed += 1;
        }
        self.kept
            .retain(|kept| kept.missed < MISSES_MAX && !named.contains(&kept.address));
        let named = named.into_iter().map(|address| Kept { address, missed: 0 });
        self.kept.splice(0..0, named);
        self.is_cut = self.kept.len() > ADDRESSES_MAX;
        self.kept.truncate(ADDRESSES_MAX);
        self.answers = (self.answers + 1).min(MISSES_MAX);
        self.answered = Some(now);
        let was_troubled = self.trouble.take().is_some();
        was_troubled || before != self.addresses().collect()
    }

    /// Takes note that there was no answer. True unless the last one was missing for the same reason.
    pub(super) fn fail(&mut self, why: String) -> bool {
        if self.trouble.as_ref() == Some(&why) {
            return false;
        }
        self.trouble = Some(why);
        true
    }

    /// Whether an address that is not among [`Name::addresses`] at `now` is none of this name's: enough
    /// answers came, the last one of late, and all that they named is known.
    pub(super) fn is_conclusive(&self, now: Instant) -> bool {
        let is_fresh = self
            .answered
            .is_some_and(|answered| now.duration_since(answered) <= FRESH);
        is_fresh && !self.is_cut && self.answers == MISSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::new(Seed {
            host: "nodes.test".into(),
            port: 8001,
        })
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn known(name: &Name) -> Vec<IpAddr> {
        let mut known: Vec<_> = name.addresses().collect();
        known.sort_unstable();
        known
    }

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[tokio::test(start_paused = true)]
    async fn an_address_is_forgotten_after_many_answers_without_it() {
        let (mut name, now) = (name(), Instant::now());
        assert!(name.take(ips(&["10.0.0.1", "10.0.0.2"]), FROM, now));
        for _ in 1..MISSES_MAX {
            assert!(!name.take(ips(&["10.0.0.1"]), FROM, now));
        }
        assert_eq!(known(&name), ips(&["10.0.0.1", "10.0.0.2"]));
        assert!(name.take(ips(&["10.0.0.1"]), FROM, now));
        assert_eq!(known(&name), ips(&["10.0.0.1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_random_part_in_each_answer_adds_up_to_all() {
        let (mut name, now) = (name(), Instant::now());
        for last in (1..=9).cycle().take(90) {
            name.take(ips(&[&format!("10.0.0.{last}")]), FROM, now);
        }
        assert_eq!(known(&name).len(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_empty_answers_forget_nothing_and_are_reported_once() {
        let (mut name, now) = (name(), Instant::now());
        name.take(ips(&["10.0.0.1"]), FROM, now);
        for _ in 0..MISSES_MAX * 2 {
            name.take(Vec::new(), FROM, now);
        }
        assert!(!name.take(Vec::new(), FROM, now));
        assert!(name.fail("no answer".into()));
        assert!(!name.fail("no answer".into()));
        assert_eq!(known(&name), ips(&["10.0.0.1"]));
        assert!(
            name.take(ips(&["10.0.0.1"]), FROM, now),
            "the end is reported"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_family_that_connections_leave_from_is_taken() {
        let (mut name, now) = (name(), Instant::now());
        name.take(ips(&["::1", "127.0.0.1"]), FROM, now);
        assert_eq!(known(&name), ips(&["127.0.0.1"]));
        let mut only = self::name();
        only.take(ips(&["::1"]), FROM, now);
        assert_eq!(known(&only), ips(&["::1"]));
        let mut any = self::name();
        any.take(ips(&["::1", "127.0.0.1"]), "::".parse().unwrap(), now);
        assert_eq!(known(&any).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn more_addresses_than_the_bound_are_cut_and_conclude_nothing() {
        let (mut name, now) = (name(), Instant::now());
        let many: Vec<IpAddr> = (0..300_u32)
            .map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
            .collect();
        for _ in 0..MISSES_MAX {
            name.take(many.clone(), FROM, now);
        }
        assert_eq!(known(&name).len(), ADDRESSES_MAX);
        assert!(!name.is_conclusive(now));
    }
}
