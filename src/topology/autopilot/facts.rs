//! What a leader knows of the members, and what can be asked of that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::lease::Renewal;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{Progress, Quorum, QuorumChange, QuorumRole};
use crate::topology::state::State;

/// Entries that a member may lack and still count as caught up.
const LAG_MAX: u64 = 250;

/// Ticks since a member was last heard of, for it to count as there: a second.
const SILENT_MAX: u64 = 10;

/// How long a renewal shows that its member is there.
const HEARD_MS: u64 = 1_000;

/// What a leader knows.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The leader itself.
    pub me: NodeId,
    /// The state as it has applied it.
    pub state: &'a State,
    /// The last entry that is known to be committed.
    pub last_index: u64,
    /// How far each peer is.
    pub progress: &'a [Progress],
    /// Ticks for which this node has led: a member that was not heard may have been silent for as long.
    pub led_ticks: u64,
    /// What it has noted while it leads.
    pub noted: Noted<'a>,
}

/// What a leader has noted while it leads.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    /// How many voters there are to be: an odd number, since one more would tolerate no more failures.
    pub voters: usize,
    /// Whether partitions are handed over warm, in moves, and not at once and empty.
    pub is_warm: bool,
    /// Since when members are caught up without a break.
    pub caught_up: &'a Since,
    /// Members that discovery says are nowhere any more.
    pub unlisted: &'a BTreeSet<NodeId>,
    /// The last renewal of each member that was decided, and when.
    pub heard: &'a Heard,
    /// No member that holds a lease has applied less.
    pub settled: Epoch,
    /// The leader's time.
    pub now: Millis,
    /// When a member was last failed over, or moves were given up, in this term.
    pub failed_over: Option<Millis>,
    /// The partitions were found to be shared out well at this very epoch.
    pub is_shared_out: bool,
}

/// Renewals, and when each was decided.
pub type Heard = BTreeMap<NodeId, (Renewal, Millis)>;

/// Moments by member.
pub type Since = BTreeMap<NodeId, Millis>;

/// The renewals of nobody.
static NOBODY_HEARD: Heard = Heard::new();

/// The moments of nobody.
static NOBODY_SINCE: Since = Since::new();

/// Nobody.
static NOBODY: BTreeSet<NodeId> = BTreeSet::new();

impl Default for Noted<'_> {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            voters: 3,
            is_warm: true,
            caught_up: &NOBODY_SINCE,
            unlisted: &NOBODY,
            heard: &NOBODY_HEARD,
            settled: Epoch(0),
            now: Millis(0),
            failed_over: None,
            is_shared_out: false,
        }
    }
}

impl Facts<'_> {
    /// Whether a member that is down renews again, and knows what it missed.
    pub(super) fn is_back(&self, member: &MemberRecord) -> bool {
        let heard = self.noted.heard.get(&member.id);
        let is_back = |(renewal, at): &(Renewal, Millis)| {
            renewal.incarnation == member.incarnation
                && renewal.epoch >= self.noted.settled
                && self.noted.now.since(*at) < HEARD_MS
        };
        member.replaced_by.is_none() && heard.is_some_and(is_back)
    }

    /// Whether most members are silent: then it may be this node that is cut off.
    pub(super) fn is_frozen(&self) -> bool {
        let members = self.state.members();
        let is_counted = |status| matches!(status, MemberStatus::Up | MemberStatus::Leaving);
        let counted = members.filter(|member| is_counted(member.status));
        let (mut all, mut silent) = (0, 0);
        for member in counted {
            all += 1;
            silent += usize::from(!self.is_there(member.id));
        }
        silent * 2 > all
    }

    /// Whether those who are heard can decide by themselves, now and after `change`.
    pub(super) fn can_decide_after(&self, change: &QuorumChange) -> bool {
        let quorum = self.state.quorum();
        let after = Quorum {
            voters: quorum.voters_after(change),
            ..Quorum::default()
        };
        let is_there = |id| self.is_there(id);
        quorum.is_quorum(is_there) && after.is_quorum(is_there)
    }

    /// Ticks since a member was last heard of.
    pub(super) fn silence(&self, id: NodeId) -> u64 {
        if id == self.me {
            return 0;
        }
        let peer = self.progress.iter().find(|peer| peer.node == id);
        // Who is in no quorum is no peer, and has been silent for as long as that.
        peer.and_then(|peer| peer.silent_ticks)
            .unwrap_or(self.led_ticks)
    }

    /// Whether a member was heard of a moment ago.
    pub(super) fn is_there(&self, id: NodeId) -> bool {
        self.silence(id) <= SILENT_MAX
    }

    /// Whether a member has all that is committed, or nearly, and was heard a moment ago.
    pub fn has_caught_up(&self, id: NodeId) -> bool {
        if id == self.me {
            return true;
        }
        // Who has just started again is probed, and stays so until there is an entry that it lacks.
        let has_all = |peer: &Progress| peer.matched >= self.last_index;
        let is_near =
            |peer: &Progress| peer.is_replicating && peer.matched + LAG_MAX >= self.last_index;
        let mut peers = self.progress.iter().filter(|peer| peer.node == id);
        peers.any(|peer| {
            let is_heard = peer.silent_ticks.is_some_and(|ticks| ticks <= SILENT_MAX);
            is_heard && (has_all(peer) || is_near(peer))
        })
    }
}

pub(super) fn change(changes: impl IntoIterator<Item = (NodeId, QuorumRole)>) -> QuorumChange {
    QuorumChange {
        changes: changes.into_iter().collect(),
    }
}
