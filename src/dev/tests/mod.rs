//! Roles together in one process, for what takes an origin or a view that a test controls: nodes and
//! frontends that are given their view here, and ask nobody for it.

mod critical;
mod deletes;
mod views;

use tokio::sync::watch;

use super::*;
use crate::ids::NodeId;
use crate::topology::model::member::{Member, MemberStatus};
use crate::topology::view::View;
use crate::topology::view::fixed::fixed_view;

/// How long a frontend may take to reach its nodes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every role of a test shares.
struct Given<'a> {
    config: &'a Config,
    view: watch::Receiver<Arc<View>>,
    origin: Arc<dyn Origin>,
    registry: Registry,
    clock: Clock,
    shutdown: Shutdown,
}

impl Given<'_> {
    fn node(&self, member: &Member, listener: TcpListener) {
        let parts = node::Parts {
            place: node::Place::Fixed {
                me: member.id,
                view: self.view.clone(),
            },
            listener,
            origin: Arc::clone(&self.origin),
            registry: self.registry.labelled("node", &member.name),
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        let _ready = node::start(self.config, parts);
    }

    fn frontend(&self, listener: TcpListener) -> Probe {
        let parts = frontend::Parts {
            listener,
            views: frontend::Views::Given(self.view.clone()),
            registry: self.registry.labelled("node", "frontend"),
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        frontend::start(self.config, parts)
    }
}

fn member(number: u16, host: IpAddr, address: SocketAddr) -> Member {
    Member {
        id: NodeId(number.into()),
        name: name(number).into(),
        host: host.to_string().into(),
        grpc_port: address.port(),
        zone: Zone::new(ZONES[usize::from(number - 1) % ZONES.len()]),
        weight: 1,
        status: MemberStatus::Up,
    }
}

async fn until_ready(ready: &Probe) -> anyhow::Result<()> {
    let wait = async {
        while !ready().is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        bail!("not ready after {PATIENCE:?}: {:?}", ready().checks);
    }
    Ok(())
}
