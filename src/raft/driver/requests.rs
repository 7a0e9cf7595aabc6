//! Requests that wait for their outcome: proposals for their index, reads for a quorum and an index.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId};
use crate::raft::event::RequestId;

/// Ticks that a read waits for a quorum: as long as a leader may believe that it still leads.
const READ_TICKS: u64 = 20;

/// Proposals and reads under way, each at most `max`.
pub(super) struct Requests {
    max: usize,
    /// By index: the term in which it was proposed, and by which request.
    proposals: BTreeMap<u64, (u64, RequestId)>,
    /// Reads of this turn, which no quorum was asked for yet.
    asked: Vec<RequestId>,
    /// By context: reads that a quorum was asked for, and at which tick.
    unconfirmed: BTreeMap<Vec<u8>, (u64, Vec<RequestId>)>,
    /// By index: reads that may be answered once it is applied.
    confirmed: BTreeMap<u64, Vec<RequestId>>,
    reads: usize,
    node: NodeId,
    incarnation: Incarnation,
    contexts: u64,
}

impl Requests {
    pub(super) fn new(node: NodeId, incarnation: Incarnation, max: usize) -> Self {
        Self {
            max,
            proposals: BTreeMap::new(),
            asked: Vec::new(),
            unconfirmed: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            reads: 0,
            node,
            incarnation,
            contexts: 0,
        }
    }

    /// Whether as many proposals wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.proposals.len() >= self.max
    }

    /// A proposal became the entry of this index and term, unless another takes its place. Gives back
    /// whose proposal had the index in an earlier term: that one is lost.
    pub(super) fn proposed(
        &mut self,
        index: u64,
        term: u64,
        request: RequestId,
    ) -> Option<RequestId> {
        let before = self.proposals.insert(index, (term, request));
        before.map(|(_, request)| request)
    }

    /// The proposal that waits for this index, with its term.
    pub(super) fn take_proposal(&mut self, index: u64) -> Option<(u64, RequestId)> {
        self.proposals.remove(&index)
    }

    /// The proposals up to `index`, whose entries will not be seen.
    pub(super) fn skip_to(&mut self, index: u64) -> Vec<RequestId> {
        let later = self.proposals.split_off(&(index + 1));
        let skipped = std::mem::replace(&mut self.proposals, later);
        skipped.into_values().map(|(_, request)| request).collect()
    }

    /// Notes a read of this turn; false if there are as many as may be.
    pub(super) fn ask(&mut self, request: RequestId) -> bool {
        if self.reads >= self.max {
            return false;
        }
        self.reads += 1;
        self.asked.push(request);
        true
    }

    /// The reads of this turn, if there are any, become one question to a quorum: its context, unlike
    /// any other of any node. Were one used twice, a late answer to the first question would confirm
    /// the second (etcd#20418). `is_reused` is the mistake of doing so.
    pub(super) fn question(&mut self, tick: u64, is_reused: bool) -> Option<Vec<u8>> {
        if self.asked.is_empty() {
            return None;
        }
        if !is_reused {
            self.contexts += 1;
        }
        let mut context = Vec::with_capacity(24);
        for part in [self.node.0, self.incarnation.0, self.contexts] {
            context.extend(part.to_be_bytes());
        }
        let asked = std::mem::take(&mut self.asked);
        let reads = self.unconfirmed.entry(context.clone()).or_default();
        reads.0 = tick;
        reads.1.extend(asked);
        Some(context)
    }

    /// A quorum answered: the reads of `context` may be answered when `index` is applied.
    pub(super) fn confirm_reads(&mut self, context: &[u8], index: u64) {
        if let Some((_, reads)) = self.unconfirmed.remove(context) {
            self.confirmed.entry(index).or_default().extend(reads);
        }
    }

    /// The reads that may be answered now that `applied` is applied.
    pub(super) fn readable(&mut self, applied: u64) -> Vec<RequestId> {
        let later = self.confirmed.split_off(&(applied + 1));
        let now = std::mem::replace(&mut self.confirmed, later);
        let reads: Vec<_> = now.into_values().flatten().collect();
        self.reads -= reads.len();
        reads
    }

    /// The reads that no quorum answered for too long.
    pub(super) fn expired_reads(&mut self, tick: u64) -> Vec<RequestId> {
        let mut expired = Vec::new();
        self.unconfirmed.retain(|_, (asked, reads)| {
            let is_due = *asked + READ_TICKS <= tick;
            if is_due {
                expired.append(reads);
            }
            !is_due
        });
        self.reads -= expired.len();
        expired
    }

    /// The reads that nobody will confirm: this node leads no more.
    pub(super) fn lose_reads(&mut self) -> Vec<RequestId> {
        let mut lost = std::mem::take(&mut self.asked);
        for (_, (_, reads)) in std::mem::take(&mut self.unconfirmed) {
            lost.extend(reads);
        }
        self.reads -= lost.len();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Requests {
        Requests::new(NodeId(7), Incarnation(2), 3)
    }

    #[test]
    fn a_context_is_never_used_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for (node, incarnation) in [(7, 2), (7, 3), (8, 2)] {
            let mut requests = Requests::new(NodeId(node), Incarnation(incarnation), 99);
            assert_eq!(requests.question(0, false), None);
            for n in 0..9 {
                assert!(requests.ask(RequestId(n)));
                assert!(seen.insert(requests.question(n, false).unwrap()));
            }
        }
    }

    #[test]
    fn a_read_waits_for_its_quorum_and_its_index() {
        let mut requests = requests();
        assert!(requests.ask(RequestId(1)));
        let context = requests.question(0, false).unwrap();
        assert!(requests.readable(99).is_empty());
        requests.confirm_reads(b"another", 5);
        requests.confirm_reads(&context, 5);
        assert!(requests.readable(4).is_empty());
        assert_eq!(requests.readable(5), [RequestId(1)]);
        assert!(requests.readable(5).is_empty());
    }

    #[test]
    fn reads_are_bounded_expire_and_are_lost_with_the_leadership() {
        let mut requests = requests();
        for n in 0..3 {
            assert!(requests.ask(RequestId(n)));
        }
        assert!(!requests.ask(RequestId(3)));
        assert!(requests.question(10, false).is_some());
        assert!(requests.expired_reads(10 + READ_TICKS - 1).is_empty());
        assert_eq!(requests.expired_reads(10 + READ_TICKS).len(), 3);
        assert!(requests.ask(RequestId(4)));
        assert!(requests.question(40, false).is_some());
        assert!(requests.ask(RequestId(5)));
        assert_eq!(requests.lose_reads(), [RequestId(5), RequestId(4)]);
        assert_eq!(requests.reads, 0);
    }

    #[test]
    fn a_proposal_is_found_by_its_index_or_skipped() {
        let mut requests = requests();
        assert_eq!(requests.proposed(5, 1, RequestId(1)), None);
        assert_eq!(requests.proposed(6, 1, RequestId(2)), None);
        assert_eq!(requests.proposed(6, 2, RequestId(3)), Some(RequestId(2)));
        assert_eq!(requests.proposed(7, 2, RequestId(4)), None);
        assert!(requests.is_full());
        assert_eq!(requests.take_proposal(5), Some((1, RequestId(1))));
        assert_eq!(requests.take_proposal(5), None);
        assert_eq!(requests.skip_to(6), [RequestId(3)]);
        assert_eq!(requests.take_proposal(7), Some((2, RequestId(4))));
    }
}
