//! Roles together in one process whose views differ for a while, as they do when a topology changes.

use http::{Method, StatusCode};

use super::*;
use crate::client::{Answer, ask, key_url};
use crate::config::{Layers, SourceFile, load, read_groups};
use crate::hash::KeyHash;
use crate::ids::{Epoch, GroupId};
use crate::origin::embedded;
use crate::origin::memory::Faults;
use crate::topology::place;

const GROUPS: &str =
    "[groups.g]\ntable = \"t\"\nkey_column = \"k\"\nvalue_column = \"v\"\nttl = \"60s\"\n";

/// Two nodes of which the first owned everything at epoch 1 and the second its half at epoch 2, and a
/// frontend.
struct Cluster {
    old: Arc<View>,
    new: Arc<View>,
    frontend: watch::Sender<Arc<View>>,
    http: SocketAddr,
    registry: Registry,
    shutdown: Shutdown,
}

fn views(members: &[Member]) -> (Arc<View>, Arc<View>) {
    let groups = read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })
    .unwrap();
    // The old view lists both, so that frontends know both addresses; the second is not up yet.
    let mut before = members.to_vec();
    before[1].status = MemberStatus::Down;
    let old = fixed_view(before.clone(), groups).unwrap();
    let was = place(&before, None, Epoch(1));
    let table = place(members, Some(&was), Epoch(2));
    let groups = old
        .groups()
        .map(|group| crate::topology::Group::clone(group))
        .collect();
    let new = View::new("test", Epoch(2), members.to_vec(), &table, groups).unwrap();
    (Arc::new(old), Arc::new(new))
}

async fn cluster() -> Cluster {
    cluster_of([NEW, NEW], OLD).await
}

/// A choice of one of the two views.
type Choose = fn(&Arc<View>, &Arc<View>) -> Arc<View>;

const OLD: Choose = |old, _| Arc::clone(old);
const NEW: Choose = |_, new| Arc::clone(new);

/// A cluster whose nodes, and whose frontend, begin with one of the two views.
async fn cluster_of(nodes: [Choose; 2], frontends: Choose) -> Cluster {
    let config = load(&Layers::default()).unwrap().config;
    let host = IpAddr::from([127, 0, 0, 1]);
    let listeners = [(); 2].map(|()| listen((host, 0).into(), "gRPC", BACKLOG).unwrap());
    let members: Vec<Member> = (1..)
        .zip(&listeners)
        .map(|(number, listener)| member(number, host, listener.local_addr().unwrap()))
        .collect();
    let (old, new) = views(&members);
    let (frontend, frontend_view) = watch::channel(frontends(&old, &new));
    let rows: String = (0..100).map(|i| format!("key-{i},{i}\n")).collect();
    let (shutdown, registry) = (Shutdown::new(), Registry::new());
    let world = |view| Given {
        config: &config,
        view,
        origin: embedded("t", &format!("k,v\n{rows}"), Faults::default()).unwrap(),
        registry: registry.clone(),
        clock: Clock::start(),
        shutdown: shutdown.clone(),
    };
    for ((member, listener), node) in members.iter().zip(listeners).zip(nodes) {
        world(watch::channel(node(&old, &new)).1).node(member, listener);
    }
    let listener = listen((host, 0).into(), "HTTP", BACKLOG).unwrap();
    let http = listener.local_addr().unwrap();
    let ready = world(frontend_view).frontend(listener);
    until_ready(&ready).await.unwrap();
    Cluster {
        old,
        new,
        frontend,
        http,
        registry: registry.clone(),
        shutdown: shutdown.clone(),
    }
}

impl Cluster {
    /// A key that the second node owns at epoch 2, and its value.
    fn moved(&self) -> (String, String) {
        let is_moved = |key: &str| {
            let partition = KeyHash::of(GroupId(1), key.as_bytes()).partition();
            self.old.is_owner(NodeId(1), partition) && self.new.is_owner(NodeId(2), partition)
        };
        let number = (0..100)
            .find(|i| is_moved(&format!("key-{i}")))
            .expect("half of them are");
        (format!("key-{number}"), number.to_string())
    }

    async fn until_it_refreshes(&self) {
        let sample = "gcache_frontend_refreshes_total{node=\"frontend\"} 1";
        let wait = async {
            while !self.registry.render().contains(sample) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("the frontend hears of it");
    }

    async fn get(&self, key: &str) -> Answer {
        self.ask(Method::GET, key).await
    }

    async fn ask(&self, method: Method, key: &str) -> Answer {
        ask(
            method,
            &key_url(&format!("http://{}", self.http), "g", key.as_bytes()),
        )
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn a_frontend_that_is_behind_hears_so_and_asks_the_new_owner() {
    let cluster = cluster().await;
    let (key, value) = cluster.moved();
    let (answer, ()) = tokio::join!(cluster.get(&key), async {
        cluster.until_it_refreshes().await;
        cluster.frontend.send_replace(Arc::clone(&cluster.new));
    });
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, value.as_bytes())
    );
    assert!(cluster.shutdown.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_frontend_that_stays_behind_reads_elsewhere_and_deletes_nowhere() {
    let cluster = cluster().await;
    let (key, value) = cluster.moved();
    let answer = cluster.get(&key).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, value.as_bytes())
    );
    let counted = "gcache_frontend_failovers_total{node=\"frontend\",to=\"last-resort\"} 1";
    let counters = cluster.registry.render();
    assert!(counters.contains(counted), "{counters}");
    let answer = cluster.ask(Method::DELETE, &key).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = String::from_utf8_lossy(&answer.body);
    assert!(body.contains("ownership-unsettled"), "{body}");
    assert!(cluster.shutdown.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn an_owner_that_does_not_know_yet_that_it_is_one_is_stood_in_for() {
    let cluster = cluster_of([NEW, OLD], NEW).await;
    let (key, value) = cluster.moved();
    let answer = cluster.get(&key).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, value.as_bytes())
    );
    let counted = "gcache_frontend_failovers_total{node=\"frontend\",to=\"standby\"} 1";
    assert!(cluster.registry.render().contains(counted));
    assert!(cluster.shutdown.finish(Duration::from_secs(5)).await);
}

/// How often a look-up is sent at most: to the owner, to the one that a newer view names, to its standby, and to the
/// last resort.
const CALLS_MAX: f64 = 4.0;

/// The sum of the samples of a metric, and whose they are.
fn counted(registry: &Registry, name: &str) -> (f64, Vec<String>) {
    let text = registry.render();
    let samples = text.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter_map(|rest| rest.strip_prefix('{')?.rsplit_once(' '));
    let samples: Vec<(&str, f64)> = samples
        .map(|(labels, value)| (labels, value.parse().unwrap()))
        .collect();
    let sum = samples.iter().map(|(_, value)| value).sum();
    (
        sum,
        samples
            .iter()
            .map(|(labels, _)| (*labels).to_owned())
            .collect(),
    )
}

#[tokio::test]
async fn whatever_members_think_of_each_other_no_look_up_goes_round_in_circles() {
    let nodes = [[OLD, OLD], [OLD, NEW], [NEW, OLD], [NEW, NEW]];
    for (number, nodes) in nodes.into_iter().enumerate() {
        for frontends in [OLD, NEW] {
            let cluster = cluster_of(nodes, frontends).await;
            let (key, value) = cluster.moved();
            let answer = cluster.get(&key).await;
            let body = String::from_utf8_lossy(&answer.body);
            match answer.status {
                StatusCode::OK => assert_eq!(body, value),
                StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(body.contains("ownership-unsettled"), "{body}");
                }
                other => panic!("{number}: {other} {body}"),
            }
            let (taken, _) = counted(&cluster.registry, "gcache_node_calls_total");
            let (sent, _) = counted(&cluster.registry, "gcache_pipeline_sent_batch_calls_sum");
            // A node that is behind counts no call: it knows too little of it.
            let is_so = taken <= sent && (1.0..=CALLS_MAX).contains(&sent);
            assert!(is_so, "{number}: {sent} sent, {taken} taken");
            // Nobody but the frontend has a line to a node.
            let (_, lines) = counted(&cluster.registry, "gcache_pipeline_connects_total");
            assert!(
                lines
                    .iter()
                    .all(|labels| labels.contains("node=\"frontend\"")),
                "{lines:?}"
            );
            let (loaded, _) = counted(&cluster.registry, "gcache_origin_loaded_keys_total");
            assert!(loaded <= 1.0, "{number}: {loaded}");
            assert!(cluster.shutdown.finish(Duration::from_secs(5)).await);
        }
    }
}
