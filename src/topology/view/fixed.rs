//! A topology that never changes: members and groups, placed from scratch. Pure.
//!
//! For tests and benchmarks of the data plane alone; in a cluster the nodes agree on the topology.

use std::sync::Arc;

use crate::ids::{Epoch, Generation, GroupId};
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::member::Member;
use crate::topology::placement::place;
use crate::topology::view::{View, ViewError};

/// The only epoch.
const EPOCH: Epoch = Epoch(1);

/// The name of such a cluster.
const CLUSTER: &str = "static";

/// The view of these members and groups. Groups get ids in their given order, from 1.
///
/// # Errors
/// [`ViewError`], with all mistakes.
pub fn fixed_view(
    members: Vec<Member>,
    groups: Vec<(String, GroupSpec)>,
) -> Result<View, ViewError> {
    let table = place(&members, None, EPOCH);
    let groups = (1..).zip(groups).map(|(id, (name, spec))| Group {
        id: GroupId(id),
        name: name.into(),
        generation: Generation(1),
        copies_since: Epoch(0),
        spec,
    });
    View::new(Arc::from(CLUSTER), EPOCH, members, &table, groups.collect())
}
