//! The library's side of the comparison: a pipeline to a node, and a node whose rows cost no memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use gcache::cache::LoadError;
use gcache::clock::Clock;
use gcache::config::{Config, Layers, SourceFile, load, read_groups};
use gcache::ids::NodeId;
use gcache::metrics::Registry;
use gcache::net::{BACKLOG, listen};
use gcache::node;
use gcache::origin::{BoxFuture, Origin, Row};
use gcache::rpc::pipeline::{Metrics, Pipeline, Target};
use gcache::rpc::proto::Call;
use gcache::shutdown::Shutdown;
use gcache::topology::model::group::Group;
use gcache::topology::view::fixed::fixed_view;
use gcache::topology::{Member, MemberStatus, Zone};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::servers::GROUPS;
use crate::testkit::metrics;
use crate::workload::{VALUE_BYTES, value};

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes up the value of any key, so that the memory of the node is that of its cache.
#[derive(Debug)]
struct MadeUp;

impl Origin for MadeUp {
    fn load<'a>(
        &'a self,
        _: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        let row = |key: &Bytes| Ok(Some(value(&String::from_utf8_lossy(key)).into()));
        Box::pin(async move { Ok(keys.iter().map(row).collect()) })
    }

    fn check<'a>(&'a self, _: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "made-up rows".into()
    }
}

/// Serves gRPC at `address` with room for everything, and `/metrics` one port above, until the process
/// ends.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let layers = Layers {
        sets: vec!["node.memory=8GiB".into()],
        ..Layers::default()
    };
    let config: Config = load(&layers)?.config;
    let member = Member {
        id: NodeId(1),
        name: "made-up".into(),
        host: address.ip().to_string().into(),
        grpc_port: address.port(),
        zone: Zone::new("default"),
        weight: 1,
        status: MemberStatus::Up,
    };
    let groups = read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })?;
    let registry = Registry::new();
    let shutdown = Shutdown::new();
    let _ready = node::start(
        &config,
        node::Parts {
            place: node::Place::Fixed {
                me: NodeId(1),
                view: watch::channel(Arc::new(fixed_view(vec![member], groups)?)).1,
            },
            listener: listen(address, "gRPC", BACKLOG)?,
            origin: Arc::new(MadeUp),
            registry: registry.clone(),
            clock: Clock::start(),
            shutdown,
        },
    );
    let metrics = listen(above(address), "metrics", BACKLOG)?;
    let app = Router::new().route("/metrics", get(async move || registry.render()));
    axum::serve(metrics, app).await.context("serving")
}

/// Where [`serve`] tells its metrics.
pub(crate) fn above(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + 1)
}

/// The sum of all samples of a metric.
pub(crate) async fn metric(server: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let text = crate::client::get(server, "/metrics").await?;
    Ok(metrics::sum(&text, name, &[]) as u64)
}

/// Opens a pipeline to the node at `address`, and returns once it is reached.
pub(crate) async fn connect(
    address: SocketAddr,
    from: IpAddr,
    shutdown: &Shutdown,
) -> anyhow::Result<Pipeline> {
    let config = load(&Layers::default())?.config;
    let target = Target {
        host: address.ip().to_string(),
        port: address.port(),
        from,
    };
    let metrics = Metrics::register(&Registry::new(), "node");
    let pipeline = Pipeline::open(target, (&config.pipeline).into(), metrics, shutdown);
    let began = Instant::now();
    while !pipeline.is_reachable() {
        ensure!(began.elapsed() < PATIENCE, "no pipeline to {address}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(pipeline)
}

/// Looks a key up that has a value.
pub(crate) async fn look_up(pipeline: &Pipeline, key: Bytes) -> anyhow::Result<()> {
    let call = Call {
        group: 1,
        epoch: 1,
        ..Call::default()
    };
    let reply = pipeline.call(call, key).await?;
    ensure!(reply.value.len() == VALUE_BYTES, "{:?}", reply.answer);
    Ok(())
}
