//! The readiness probe of a node.

use std::sync::Arc;

use super::{control, groups};
use crate::admin::{Probe, Readiness};
use crate::origin::Origin;
use crate::shutdown::Shutdown;

/// The probe of a node, which is ready from when it has been up until shutdown begins.
pub(super) fn probe(
    origin: Arc<dyn Origin>,
    unusable: groups::Unusable,
    control: Option<control::Service>,
    shutdown: Shutdown,
) -> Probe {
    Arc::new(move || {
        let mut readiness = Readiness::default();
        let stopping = shutdown.has_begun();
        readiness.check(
            "process",
            if stopping {
                Err("shutting down".into())
            } else {
                Ok(None)
            },
        );
        readiness.check("origin", Ok(Some(origin.describe())));
        let bad = unusable.lock();
        let each = bad
            .iter()
            .map(|(group, why)| format!("{group} cannot be loaded: {why}"));
        match bad.is_empty() {
            true => readiness.check("groups", Ok(None)),
            false => readiness.warn("groups", each.collect::<Vec<_>>().join("; ")),
        }
        if let Some(control) = &control {
            control.report(&mut readiness);
        }
        readiness
    })
}
