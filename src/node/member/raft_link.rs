//! Connects a node's Raft thread with its transport: messages out, reports and addresses in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Shared;
use crate::ids::Epoch;
use crate::membership::readiness::is_up;
use crate::raft::envelope::{Envelope, Lane, Sender};
use crate::raft::filter::MessageRefusal;
use crate::raft::log::Ident;
use crate::raft::thread::{Handle, Inbox, Post};
use crate::raft::transport::book::{Address, Listing};
use crate::raft::transport::{self, Refusal, Report, Transport};
use crate::shutdown::Shutdown;
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;

/// The pause between two attempts to report the end of a snapshot to a full inbox.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// Passes the driver's messages to the transport, once there is one.
pub(super) struct RaftLink {
    transport: Arc<OnceLock<Transport>>,
}

impl RaftLink {
    pub(super) fn new(transport: Arc<OnceLock<Transport>>) -> Self {
        Self { transport }
    }
}

impl Post for RaftLink {
    fn send(&mut self, lane: Lane, envelope: Envelope) {
        // Before the transport exists no tick has passed, so there is nothing to send.
        if let Some(transport) = self.transport.get() {
            transport.send(lane, envelope);
        }
    }

    fn refuse(&mut self, sender: Sender, refusal: MessageRefusal) {
        let refusal = match refusal {
            MessageRefusal::Cluster => Refusal::WrongCluster,
            MessageRefusal::Addressee => Refusal::NotAddressee,
            MessageRefusal::Tombstoned => Refusal::Removed,
            MessageRefusal::Incarnation => Refusal::StaleIncarnation,
            MessageRefusal::Size | MessageRefusal::Malformed | MessageRefusal::Kind => {
                Refusal::Unacceptable
            }
        };
        if let Some(transport) = self.transport.get() {
            transport.refuse(sender, refusal);
        }
    }
}

/// Passes the transport's reports to the driver.
pub(super) fn reporter(inbox: Inbox) -> transport::Reporter {
    let runtime = tokio::runtime::Handle::current();
    Arc::new(move |report| match report {
        Report::Unreachable(peer) => inbox.unreachable(peer),
        Report::SnapshotSent { to, is_delivered } => {
            if inbox.snapshot_sent(to, is_delivered) {
                return;
            }
            // Raft sends that peer nothing until it gets this report, so it must arrive.
            let inbox = inbox.clone();
            runtime.spawn(async move {
                while !inbox.snapshot_sent(to, is_delivered) {
                    tokio::time::sleep(REPORT_EVERY).await;
                }
            });
        }
        Report::Refused { by, refusal } => {
            tracing::warn!(peer = %by, ?refusal, "peer refuses this node's messages");
        }
    })
}

/// Keeps the node's view equal to the state, until shutdown, and notes that it is up.
pub(super) async fn show(raft: Handle, ident: Ident, shared: Arc<Shared>, shutdown: Shutdown) {
    let mut states = raft.state();
    drop(raft);
    let mut shown = Epoch(0);
    loop {
        let state = states.borrow_and_update().clone();
        shared.paused.set(f64::from(u8::from(state.is_paused())));
        if is_up(&state, ident.node, ident.incarnation) && !shared.has_been_up.send_replace(true) {
            shared.obstacles.overcome();
            tracing::info!("up in the cluster");
        }
        if state.epoch() > shown {
            match state.view() {
                Ok(view) => {
                    shown = state.epoch();
                    shared.views.send_replace(Arc::new(view));
                }
                Err(error) => tracing::error!(%error, "topology makes no view"),
            }
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                // The Raft thread is gone: no state comes any more.
                return shutdown.begun().await;
            },
            () = shutdown.begun() => return,
        }
    }
}

/// Keeps the transport's addresses equal to the state's, until shutdown.
pub(super) async fn follow(raft: Handle, transport: Transport, shutdown: Shutdown) {
    let mut states = raft.state();
    drop(raft);
    loop {
        let state = states.borrow_and_update().clone();
        transport.set_addresses(listings(&state));
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                // The Raft thread is gone: no state comes any more.
                return shutdown.begun().await;
            },
            () = shutdown.begun() => return,
        }
    }
}

pub(super) fn listings(state: &State) -> Vec<Listing> {
    let listing = |member: &MemberRecord| Listing {
        node: member.id,
        incarnation: member.incarnation,
        address: Address {
            host: member.host.to_string(),
            port: member.raft_port,
        },
    };
    state.members().map(listing).collect()
}
