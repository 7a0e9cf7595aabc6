//! Asks the seeds whether the cluster went on without this member, and gives up a log that is of no use.
//!
//! The rule is in [`crate::membership::superseded`]. Called while a log is opened (`admission`), and while its
//! member knows no leader (`life`).

use std::time::Duration;

use super::{Shared, reason_of};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::membership::Reason;
use crate::membership::promises::{OwnLog, Promised, Witness, stale};
use crate::membership::superseded::{Fate, fate};
use crate::raft::directory::Directory;
use crate::raft::event::Standing;
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::rpc::control::{from_wire, shown, status};
use crate::rpc::control_proto::{Promised as WirePromised, StatusReply};
use crate::topology::state::State;

/// How long a seed may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Asks the seeds for the fate of this member. None if they know nothing against it, or do not answer.
/// Cancel-safe.
pub(super) async fn ask_fate(shared: &Shared, ident: &Ident) -> Option<Fate> {
    let others = shared.others();
    let asked = others.iter().map(|seed| shown(seed, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    let own = (ident.node, ident.incarnation);
    fate(ident.cluster, own, states.iter().flatten())
}

/// Asks the seeds, and the voters in the log's `state`, for the fate of a member whose log is not run yet: also
/// whether the log is an old copy. None if they know nothing against it, or do not answer. Cancel-safe.
pub(super) async fn ask_before_start(shared: &Shared, own: &OwnLog, state: &State) -> Option<Fate> {
    // With DNS there are no seeds before its first answer.
    shared.discovery.settled().await;
    let mut others = shared.others();
    let voters = state
        .members()
        .filter(|member| member.id != own.node && state.quorum().is_voter(member.id));
    for voter in voters.map(|voter| shared.target_of(voter)) {
        if !others.contains(&voter) {
            others.push(voter);
        }
    }
    let asked = others.iter().map(|seed| async {
        let state = shown(seed, SHOWN_PATIENCE);
        let status = status(seed, SHOWN_PATIENCE);
        let (state, status) = tokio::join!(state, status);
        (
            state.ok(),
            status.ok().and_then(|it| witness(&it, own.node)),
        )
    });
    let answers = futures_util::future::join_all(asked).await;
    let (states, witnesses): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    let witnesses: Vec<_> = witnesses.into_iter().flatten().collect();
    let states = states.iter().flatten();
    let fate = fate(own.cluster, (own.node, own.incarnation), states.clone());
    fate.or_else(|| stale(own, &witnesses, states))
}

/// What this node has heard the members promise, for one of them that asks before it starts.
pub(in crate::node) fn promised(standing: &Standing) -> Vec<WirePromised> {
    let promised = standing.promised.iter();
    let promised = promised.map(|(node, promised)| WirePromised {
        node: node.0,
        incarnation: promised.incarnation.0,
        term: promised.term,
        index: promised.index,
        has_voted: promised.has_voted,
    });
    promised.collect()
}

/// What a seed says of itself and of member `node`. None if it is no member.
fn witness(status: &StatusReply, node: NodeId) -> Option<Witness> {
    let mut promised = status.promised.iter();
    let promised = promised.find(|promised| promised.node == node.0);
    Some(Witness {
        cluster: ClusterId(from_wire(&status.cluster)?),
        node: NodeId(status.node),
        incarnation: Incarnation(status.incarnation),
        term: status.term,
        commit: status.commit,
        promised: promised.map_or_else(Promised::default, |it| Promised {
            incarnation: Incarnation(it.incarnation),
            term: it.term,
            index: it.index,
            has_voted: it.has_voted,
        }),
    })
}

/// Makes the data directory belong to the cluster that goes on, and sets the log aside, which is closed.
pub(super) fn give_up_log(root: &Root, directory: &Directory, fate: Fate) -> Result<(), Reason> {
    if let Some(successor) = fate.successor() {
        root.replace(successor).map_err(reason_of)?;
    }
    directory.set_aside(&fate.to_string()).map_err(reason_of)?;
    Ok(())
}
