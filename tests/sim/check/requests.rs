//! One outcome for each request, and reads that see all that was acknowledged before they began.

use std::collections::BTreeMap;

use bytes::Bytes;
use gcache::raft::event::{Outcome, RequestId};

use super::log::Committed;
use crate::queue::{Micros, SECOND};
use crate::violation::{Checked, Promise, Violation, ensure};

/// Within this long after everything is well a request is answered.
const ANSWERED_WITHIN: Micros = 2 * SECOND;

/// What was asked and not answered.
#[derive(Default)]
pub(crate) struct Requests {
    open: BTreeMap<u64, Asked>,
    next: u64,
    /// The highest index that was acknowledged or read.
    floor: u64,
}

/// A request.
struct Asked {
    node: u64,
    start: u64,
    at: Micros,
    what: What,
}

/// What a request asks.
pub(crate) enum What {
    /// To commit this command.
    Command(Bytes),
    /// To read, and what must be seen at least.
    Read(u64),
    /// Something that is not compared.
    Other,
}

impl Requests {
    /// The next request, to this start of `node`.
    pub(crate) fn ask(&mut self, (node, start): (u64, u64), at: Micros, what: What) {
        self.next += 1;
        let asked = Asked {
            node,
            start,
            at,
            what,
        };
        self.open.insert(self.next, asked);
    }

    /// A read that begins now: what it must see at least.
    pub(crate) fn read(&self) -> What {
        What::Read(self.floor)
    }

    /// The request that will be asked next.
    pub(crate) fn next(&self) -> RequestId {
        RequestId(self.next + 1)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether `request` is open.
    pub(crate) fn is_open(&self, request: RequestId) -> bool {
        self.open.contains_key(&request.0)
    }

    /// The node has ended: whoever asked it will never know.
    pub(crate) fn ended(&mut self, node: u64) {
        self.open.retain(|_, asked| asked.node != node);
    }

    /// `node`, whose state is of `epoch`, answers.
    pub(crate) fn resolved(
        &mut self,
        (node, start): (u64, u64),
        request: RequestId,
        outcome: &Outcome,
        epoch: u64,
        log: &mut Committed,
    ) -> Checked {
        let asked = self
            .open
            .remove(&request.0)
            .filter(|asked| (asked.node, asked.start) == (node, start));
        let Some(asked) = asked else {
            let told = format!(
                "node {node} answers request {} once more: {outcome:?}",
                request.0
            );
            return Err(Violation::new(Promise::OneOutcome, told));
        };
        match (asked.what, outcome) {
            (What::Command(command), Outcome::Applied { index, .. }) => {
                self.floor = self.floor.max(*index);
                log.acknowledged(*index, command)
            }
            (What::Read(floor), Outcome::Readable(index)) => {
                self.floor = self.floor.max(*index);
                let is_new = *index >= floor && log.epoch(floor).is_none_or(|least| epoch >= least);
                ensure(is_new, Promise::ReadsAreLinearizable, || {
                    format!(
                        "node {node} answers a read with index {index}, epoch {epoch}, and {floor} was seen before it began"
                    )
                })
            }
            (What::Other, Outcome::Applied { index, .. }) => {
                self.floor = self.floor.max(*index);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// At the end: a request that one of these nodes never answered. Leaders go on asking for leases, so
    /// the latest are not owed yet.
    pub(crate) fn owed(&self, now: Micros, by: impl Fn(u64) -> bool) -> Checked {
        let is_owed = |asked: &Asked| by(asked.node) && asked.at + ANSWERED_WITHIN <= now;
        let mut open = self.open.iter().filter(|(_, asked)| is_owed(asked));
        let Some((request, asked)) = open.next() else {
            return Ok(());
        };
        let told = format!("node {} never answers request {request}", asked.node);
        Err(Violation::new(Promise::OneOutcome, told))
    }
}
