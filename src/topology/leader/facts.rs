//! What a leader knows of the members, and questions about that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::lease::Renewal;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{Progress, Quorum, QuorumChange, QuorumRole};
use crate::topology::state::State;

/// The most entries that a member may lack and still count as caught up.
const LAG_MAX: u64 = 250;

/// The most ticks since a member was last heard of for it to count as present: one second.
const SILENT_MAX: u64 = 10;

/// How long a renewal proves that its member is present.
const HEARD_MS: u64 = 1_000;

/// The knowledge of a leader.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The leader itself.
    pub me: NodeId,
    /// The state as it has applied it.
    pub state: &'a State,
    /// The last entry that is known to be committed.
    pub last_index: u64,
    /// How far the log of each peer is.
    pub progress: &'a [Progress],
    /// Ticks since this node began to lead: a member that was not heard may have been silent for as long.
    pub led_ticks: u64,
    /// The notes it has taken while it leads.
    pub noted: Noted<'a>,
}

/// The notes of a leader in its term.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    /// How many voters the cluster should have: an odd number, because one more would tolerate no more
    /// failures.
    pub voters: usize,
    /// Whether partitions are handed over warm, in moves, and not at once and empty.
    pub is_warm: bool,
    /// Since when each caught-up member has been caught up without a break.
    pub caught_up: &'a Since,
    /// Members that discovery no longer lists.
    pub unlisted: &'a BTreeSet<NodeId>,
    /// The last renewal of each member that was decided, and when.
    pub heard: &'a Heard,
    /// Every member that holds a lease has applied this epoch.
    pub settled: Epoch,
    /// The leader's time.
    pub now: Millis,
    /// When, in this term, the leader last failed a member over or gave moves up.
    pub failed_over: Option<Millis>,
    /// Whether the partitions were found to be shared out well in exactly this epoch.
    pub is_shared_out: bool,
}

/// Renewals by member, each with the time when it was decided.
pub(super) type Heard = BTreeMap<NodeId, (Renewal, Millis)>;

/// Times by member.
pub(super) type Since = BTreeMap<NodeId, Millis>;

/// No renewals.
static NONE_HEARD: Heard = Heard::new();

/// No times.
static NONE_SINCE: Since = Since::new();

/// No members.
static NO_MEMBERS: BTreeSet<NodeId> = BTreeSet::new();

impl Default for Noted<'_> {
    /// The notes of a leader that knows nothing yet.
    fn default() -> Self {
        Self {
            voters: 3,
            is_warm: true,
            caught_up: &NONE_SINCE,
            unlisted: &NO_MEMBERS,
            heard: &NONE_HEARD,
            settled: Epoch(0),
            now: Millis(0),
            failed_over: None,
            is_shared_out: false,
        }
    }
}

impl Facts<'_> {
    /// Whether a member that is down renews again, and has applied what it missed.
    pub(super) fn is_back(&self, member: &MemberRecord) -> bool {
        let heard = self.noted.heard.get(&member.id);
        let is_back = |(renewal, at): &(Renewal, Millis)| {
            renewal.incarnation == member.incarnation
                && renewal.epoch >= self.noted.settled
                && self.noted.now.since(*at) < HEARD_MS
        };
        member.replaced_by.is_none() && heard.is_some_and(is_back)
    }

    /// Whether most members are silent: then this node itself may be cut off. The silence of a member that was
    /// leaving proves nothing.
    pub(super) fn is_frozen(&self) -> bool {
        let (mut heard, mut silent) = (0, 0);
        for member in self.state.members() {
            match (member.status, self.is_there(member.id)) {
                (MemberStatus::Up | MemberStatus::Leaving, true) => heard += 1,
                (MemberStatus::Up, false) => silent += 1,
                _ => {}
            }
        }
        silent > heard
    }

    /// Whether the members that are heard are a quorum, both now and after `change`.
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
        // A member outside the quorum is no peer: it counts as silent since this node began to lead.
        peer.and_then(|peer| peer.silent_ticks)
            .unwrap_or(self.led_ticks)
    }

    /// Whether a member was heard a moment ago.
    pub(super) fn is_there(&self, id: NodeId) -> bool {
        self.silence(id) <= SILENT_MAX
    }

    /// Whether a member was heard a moment ago, and has all committed entries, or nearly all and gets the
    /// rest as it comes.
    pub fn has_caught_up(&self, id: NodeId) -> bool {
        if id == self.me {
            return true;
        }
        // A peer that has just started again is probed, and stays so until there is an entry that it lacks.
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
