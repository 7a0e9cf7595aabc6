//! A frontend's pipelines, one per member, and the view they belong to.
//!
//! Follows the view: a member that appears gets a pipeline, one that left or moved loses it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ids::NodeId;
use crate::metrics::Registry;
use crate::rpc::pipeline::{Metrics, Pipeline, Settings, Target};
use crate::shutdown::Shutdown;
use crate::topology::model::member::Member;
use crate::topology::view::{MemberIndex, View};

/// A view and the pipelines to its members: what one request routes by.
pub(super) struct Routing {
    pub(super) view: Arc<View>,
    /// Parallel to the view's members.
    pipelines: Vec<Pipeline>,
}

impl Routing {
    /// The member's pipeline if the member is reachable.
    pub(super) fn reachable(&self, member: MemberIndex) -> Option<&Pipeline> {
        self.pipelines
            .get(member.get())
            .filter(|pipeline| pipeline.is_reachable())
    }

    /// Returns how many members are reachable, of how many.
    pub(super) fn reach(&self) -> (usize, usize) {
        let reachable = self
            .pipelines
            .iter()
            .filter(|pipeline| pipeline.is_reachable());
        (reachable.count(), self.pipelines.len())
    }

    /// Whether every member was found reachable or unreachable at least once.
    pub(super) fn is_judged(&self) -> bool {
        self.pipelines.iter().all(Pipeline::is_judged)
    }
}

struct Open {
    pipeline: Pipeline,
    target: Target,
    ends: Shutdown,
}

/// Opens and closes pipelines as members come and go.
struct Opener {
    from: IpAddr,
    settings: Settings,
    registry: Registry,
    shutdown: Shutdown,
    open: HashMap<NodeId, Open>,
}

/// Starts following `views`. The result always holds a routing for some view.
pub(super) fn follow(
    mut views: watch::Receiver<Arc<View>>,
    from: IpAddr,
    settings: Settings,
    registry: Registry,
    shutdown: Shutdown,
) -> watch::Receiver<Arc<Routing>> {
    let mut opener = Opener {
        from,
        settings,
        registry,
        shutdown: shutdown.clone(),
        open: HashMap::new(),
    };
    let first = opener.routing(Arc::clone(&views.borrow_and_update()));
    let (tx, rx) = watch::channel(Arc::new(first));
    let spawner = shutdown.clone();
    spawner.spawn_critical("follower of views", async move {
        loop {
            tokio::select! {
                changed = views.changed() => if changed.is_err() {
                // No other view will come.
                return shutdown.begun().await;
            },
                () = shutdown.begun() => return,
            }
            let view = Arc::clone(&views.borrow_and_update());
            tx.send_replace(Arc::new(opener.routing(view)));
        }
    });
    rx
}

impl Opener {
    fn routing(&mut self, view: Arc<View>) -> Routing {
        let targets: HashMap<NodeId, Target> = view
            .members()
            .iter()
            .map(|member| (member.id, Target::of(member, self.from)))
            .collect();
        self.open.retain(|id, open| {
            let stays = targets.get(id) == Some(&open.target);
            if !stays {
                open.ends.begin();
            }
            stays
        });
        let pipelines = view
            .members()
            .iter()
            .map(|member| self.pipeline(member))
            .collect();
        Routing { view, pipelines }
    }

    /// The member's pipeline, opened if it is new.
    fn pipeline(&mut self, member: &Member) -> Pipeline {
        let target = Target::of(member, self.from);
        let open = self.open.entry(member.id).or_insert_with(|| {
            let ends = self.shutdown.branch();
            let metrics = Metrics::register(&self.registry, &member.name);
            let pipeline = Pipeline::open(target.clone(), self.settings.clone(), metrics, &ends);
            Open {
                pipeline,
                target,
                ends,
            }
        });
        // A member in a new view may be back: one that was cut off hears of all at once.
        open.pipeline.hurry();
        open.pipeline.clone()
    }
}
