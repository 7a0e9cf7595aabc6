//! A node on loopback with a thousand rows, and a pipeline to it: what benchmarks of the wire ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gcache::clock::Clock;
use gcache::config::{Config, Layers, SourceFile, load, read_groups};
use gcache::ids::NodeId;
use gcache::metrics::Registry;
use gcache::node;
use gcache::origin::{self, memory::Faults};
use gcache::rpc::pipeline::{Metrics, Pipeline, Target};
use gcache::rpc::proto::Call;
use gcache::shutdown::Shutdown;
use gcache::topology::view::fixed::fixed_view;
use gcache::topology::{Member, MemberStatus, View, Zone};
use tokio::net::TcpListener;
use tokio::sync::watch;

const GROUPS: &str =
    "[groups.rows]\ntable = \"rows\"\nkey_column = \"k\"\nvalue_column = \"v\"\nttl = \"1h\"\n";

/// Rows that there are.
pub(crate) const KEYS: usize = 1024;

/// Bytes of each row's value.
pub(crate) const VALUE_BYTES: usize = 100;

/// The key of a row; they begin again after [`KEYS`].
pub(crate) fn key(index: usize) -> String {
    format!("key:{:012}", index % KEYS)
}

/// The configuration that comes with the executable, with `sets` over it.
pub(crate) fn config(sets: &[&str]) -> Config {
    let layers = Layers {
        sets: sets.iter().map(|&set| set.to_owned()).collect(),
        ..Layers::default()
    };
    load(&layers).expect("valid settings").config
}

/// What a node alone on this port of loopback owns.
pub(crate) fn view_of(port: u16) -> View {
    let groups = read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    });
    let member = Member {
        id: NodeId(1),
        name: "bench".into(),
        host: "127.0.0.1".into(),
        grpc_port: port,
        zone: Zone::new("default"),
        weight: 1,
        status: MemberStatus::Up,
    };
    fixed_view(vec![member], groups.expect("valid")).expect("valid")
}

/// Starts that node.
pub(crate) fn node(config: &Config, listener: TcpListener, shutdown: &Shutdown) {
    let port = listener.local_addr().expect("it is bound").port();
    let value = "v".repeat(VALUE_BYTES);
    let rows: String = (0..KEYS).map(|i| format!("{},{value}\n", key(i))).collect();
    let parts = node::Parts {
        place: node::Place::Fixed {
            me: NodeId(1),
            view: watch::channel(Arc::new(view_of(port))).1,
        },
        listener,
        origin: origin::embedded("rows", &format!("k,v\n{rows}"), Faults::default())
            .expect("valid"),
        registry: Registry::new(),
        clock: Clock::start(),
        shutdown: shutdown.clone(),
    };
    let _ready = node::start(config, parts);
}

/// A pipeline to it, once it answers.
pub(crate) async fn pipeline(config: &Config, port: u16, shutdown: &Shutdown) -> Pipeline {
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        from: [127, 0, 0, 1].into(),
    };
    let metrics = Metrics::register(&Registry::new(), "bench");
    let pipeline = Pipeline::open(target, (&config.pipeline).into(), metrics, shutdown);
    while !pipeline.is_reachable() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pipeline
}

/// Asks for a row.
pub(crate) async fn look_up(pipeline: &Pipeline, key: Bytes) {
    let call = Call {
        group: 1,
        epoch: 1,
        ..Call::default()
    };
    let reply = pipeline.call(call, key).await.expect("the node is there");
    assert_eq!(reply.value.len(), VALUE_BYTES, "{:?}", reply.answer);
}
