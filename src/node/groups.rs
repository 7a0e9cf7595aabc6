//! Whether the origin can load each group: found out before a caller does, told in the log, a metric and
//! `/readyz?verbose`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::{LoadError, LoadErrorKind};
use crate::metrics::Registry;
use crate::origin::Origin;
use crate::shutdown::Shutdown;
use crate::topology::group::Group;
use crate::topology::view::View;

/// How often the groups are checked: a repaired table is noticed by then.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// What the origin said of each group that it cannot load, by name.
pub(super) type Unusable = Arc<Mutex<BTreeMap<Arc<str>, String>>>;

/// Registers the count of unusable groups.
pub(super) fn register(registry: &Registry) -> Gauge {
    registry.gauge(
        "gcache_origin_unusable_groups",
        "Groups that the origin cannot load, as of the last check.",
        &[],
    )
}

/// Asks the origin about the groups of the view.
pub(super) struct Checker {
    pub(super) origin: Arc<dyn Origin>,
    pub(super) view: watch::Receiver<Arc<View>>,
    /// How long one answer may take.
    pub(super) patience: Duration,
    pub(super) unusable: Unusable,
    pub(super) count: Gauge,
}

impl Checker {
    /// Checks every few seconds, until shutdown.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let rounds = async {
            loop {
                self.round().await;
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            () = shutdown.begun() => {}
        }
    }

    async fn round(&self) {
        let view = Arc::clone(&self.view.borrow());
        for group in view.groups() {
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

    /// Logs what is new.
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
