//! Checks whether the origin can load each group, before a caller needs it. Failures are reported in the log,
//! a metric and `/readyz?verbose`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::cache::{LoadError, LoadErrorKind};
use crate::metrics::Registry;
use crate::origin::Origin;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;
use crate::topology::view::View;

/// How often all groups are checked: a repaired table is noticed within this time.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The origin's reason for each group that it cannot load, by the group's name.
pub(super) type Unusable = Arc<Mutex<BTreeMap<Arc<str>, String>>>;

/// Registers the gauge of unusable groups.
pub(super) fn register(registry: &Registry) -> Gauge {
    registry.gauge(
        "gcache_origin_unusable_groups",
        "Groups that the origin cannot load, as of the last check.",
        &[],
    )
}

/// Checks the groups of the view against the origin.
pub(super) struct Checker {
    pub(super) origin: Arc<dyn Origin>,
    pub(super) view: watch::Receiver<Arc<View>>,
    /// How long the check of one group may take.
    pub(super) patience: Duration,
    pub(super) unusable: Unusable,
    pub(super) count: Gauge,
}

/// Whether `group` is new, or has another source than when `checked` was checked.
fn is_new(checked: &View, group: &Group) -> bool {
    let known = checked.group(group.id);
    known.is_none_or(|known| known.spec.source != group.spec.source)
}

impl Checker {
    /// Checks all groups every few seconds, and new ones at once, until shutdown. By this check the origin
    /// also learns how to load a group: a node that joins has done so before a caller asks it for a key.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let rounds = async {
            loop {
                let mut checked = Arc::clone(&self.view.borrow());
                self.round(&checked, |_| true).await;
                let next = Instant::now() + CHECK_EVERY;
                while let Some(view) = self.newer(&checked, next).await {
                    self.round(&view, |group| is_new(&checked, group)).await;
                    checked = view;
                }
            }
        };
        tokio::select! {
            () = rounds => {}
            () = shutdown.begun() => {}
        }
    }

    /// Waits for a view with a group that was not checked; none once it is time to check all of them.
    async fn newer(&self, checked: &View, next: Instant) -> Option<Arc<View>> {
        let mut views = self.view.clone();
        let has_new = |view: &Arc<View>| view.groups().any(|group| is_new(checked, group));
        let found = async {
            if let Ok(view) = views.wait_for(has_new).await {
                return Arc::clone(&view);
            }
            // No further view will come.
            std::future::pending().await
        };
        timeout_at(next, found).await.ok()
    }

    /// Checks those groups of a view that are `due`.
    async fn round(&self, view: &View, due: impl Fn(&Group) -> bool) {
        for group in view.groups().filter(|group| due(group)) {
            self.note(group, self.check(group).await);
        }
        let mut unusable = self.unusable.lock();
        unusable.retain(|name, _| view.group_by_name(name).is_some());
        self.count.set(unusable.len() as f64);
    }

    async fn check(&self, group: &Group) -> Result<(), LoadError> {
        let asked = tokio::time::timeout(self.patience, self.origin.check(group)).await;
        asked.unwrap_or_else(|_| {
            let message = format!("the origin did not answer within {:?}", self.patience);
            Err(LoadError::new(LoadErrorKind::Timeout, message))
        })
    }

    /// Records the result of a check, and logs it if it has changed.
    fn note(&self, group: &Group, checked: Result<(), LoadError>) {
        let mut unusable = self.unusable.lock();
        match checked {
            Ok(()) => {
                if unusable.remove(&group.name).is_some() {
                    tracing::info!(group = %group.name, "group usable again");
                }
            }
            Err(error) => {
                let known = unusable.insert(Arc::clone(&group.name), error.message.clone());
                if known.as_ref() != Some(&error.message) {
                    tracing::error!(group = %group.name, %error, "group cannot be loaded");
                }
            }
        }
    }
}
