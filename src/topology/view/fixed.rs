//! A topology that nobody changes: members and groups, placed from scratch. Pure.
//!
//! For tests and benchmarks of the data plane alone; clusters go by what their nodes agree on.

use std::sync::Arc;

use crate::ids::{Epoch, Generation, GroupId};
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::member::Member;
use crate::topology::placement::place;
use crate::topology::view::{View, ViewError};

/// The only epoch there is.
const EPOCH: Epoch = Epoch(1);

/// The name that such a cluster has.
const CLUSTER: &str = "static";

/// The view of these members and groups. Groups get their ids in the order given, from 1.
///
/// # Errors
/// [`ViewError`], with everything that is wrong.
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
