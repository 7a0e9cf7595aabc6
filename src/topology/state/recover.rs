//! Makes a new cluster from the state of one that has lost its majority for good. Pure.
//!
//! Only `gcache cluster recover` asks for it, while no node runs. It is not a command of the log, because the
//! old cluster can commit nothing to its log any more.

use std::sync::Arc;

use crate::ids::{ClusterId, Epoch, Generation, NodeId};
use crate::topology::commands::Joiner;
use crate::topology::commands::refusal::Refusal;
use crate::topology::model::member::{MemberRecord, MemberStatus, Tombstone};
use crate::topology::model::quorum::Quorum;
use crate::topology::placement::place;
use crate::topology::state::{KEPT_SUPERSEDED, KEPT_TOMBSTONES, State};

/// The description of the cluster that continues an old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The id of the new cluster, drawn at random.
    pub cluster: ClusterId,
    /// The cluster that the data directory names, if it differs from the state's: the new cluster supersedes
    /// it too.
    pub latched: Option<ClusterId>,
    /// The only member of the new cluster.
    pub founder: Joiner,
}

impl State {
    /// The first state of the cluster that takes the place of this one.
    ///
    /// It keeps the groups, their ids and revisions, and whether the ring is paused. Every group gets its
    /// next generation, so that no entry that was cached under the old cluster is valid. The founder is the
    /// only member, with an id that no member had: it is up, votes and owns every partition. All other
    /// members are removed. Nodes and frontends that follow the old cluster find it among
    /// [`supersedes`](State::supersedes), of which the oldest are forgotten beyond [`KEPT_SUPERSEDED`].
    ///
    /// # Errors
    /// The founder cannot be a member, or a group has had too many generations.
    pub fn recover(&self, recovery: Recovery) -> Result<Self, Refusal> {
        let Recovery {
            cluster,
            latched,
            founder,
        } = recovery;
        crate::topology::state::apply::check_joiner(&founder)?;
        crate::topology::state::apply::check_settings(&self.settings, &founder)?;
        if founder.version < self.version {
            return Err(Refusal::TooOld {
                ours: self.version,
                theirs: founder.version,
            });
        }
        let mut supersedes = self.supersedes.clone();
        supersedes.push(self.cluster);
        let latched = latched.filter(|latched| !supersedes.contains(latched));
        supersedes.extend(latched);
        supersedes.drain(..supersedes.len().saturating_sub(KEPT_SUPERSEDED));

        let mut groups = self.groups.clone();
        for group in groups.values_mut() {
            let next = group.generation.0.checked_add(1);
            group.generation = next
                .map(Generation)
                .ok_or(Refusal::Exhausted("generations"))?;
        }
        let mut tombstones = self.tombstones.clone();
        tombstones.extend(self.members.values().map(tombstone));
        tombstones.drain(..tombstones.len().saturating_sub(KEPT_TOMBSTONES));

        let epoch = Epoch(self.epoch.0 + 1);
        let id = self.next_node;
        let record = founder.record(id, MemberStatus::Up);
        let table = place(&[record.member()], None, epoch);
        Ok(Self {
            cluster,
            supersedes,
            epoch,
            next_node: NodeId(id.0 + 1),
            members: [(id, record)].into(),
            tombstones,
            quorum: Quorum {
                voters: [id].into(),
                ..Quorum::default()
            },
            table: Arc::new(table),
            groups,
            ..self.clone()
        })
    }
}

fn tombstone(record: &MemberRecord) -> Tombstone {
    Tombstone {
        id: record.id,
        name: record.name.clone(),
        incarnation: record.incarnation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::commands::Command;
    use crate::topology::fixtures::{cluster, joiner, query_spec, set_groups, table_spec};

    const NEW: ClusterId = ClusterId(0xabc);

    fn old() -> State {
        let mut old = cluster(3);
        let two = [
            ("scores", table_spec("scores", 60)),
            (
                "teams",
                query_spec("SELECT k, v FROM teams WHERE k = ANY($1)"),
            ),
        ];
        for command in [
            Command::SetGroups(set_groups(0, &two, &[])),
            Command::SetGroups(set_groups(1, &[], &["teams"])),
        ] {
            old.apply(&command).unwrap();
        }
        old
    }

    fn recovery(n: u64) -> Recovery {
        Recovery {
            cluster: NEW,
            latched: None,
            founder: joiner(n),
        }
    }

    #[test]
    fn groups_stay_and_their_cached_entries_are_void() {
        let old = old();
        let new = old.recover(recovery(2)).unwrap();
        assert_eq!(new.revisions(), old.revisions());
        assert_eq!(new.next_group, old.next_group);
        assert_eq!(new.groups().len(), 1);
        for (before, after) in old.groups().zip(new.groups()) {
            assert_eq!((before.id, &before.spec), (after.id, &after.spec));
            assert_eq!(after.generation.0, before.generation.0 + 1);
        }
        assert_eq!(new.epoch().0, old.epoch().0 + 1);
    }

    #[test]
    fn the_founder_is_alone_under_an_id_that_no_member_had() {
        let old = old();
        let new = old.recover(recovery(2)).unwrap();
        let members: Vec<_> = new.members().collect();
        assert_eq!(members.len(), 1);
        assert_eq!((members[0].id, &*members[0].name), (NodeId(4), "node-2"));
        assert_eq!(members[0].status, MemberStatus::Up);
        assert_eq!(new.next_node(), NodeId(5));
        assert_eq!(new.quorum().voters, [NodeId(4)].into());
        assert!(!new.quorum().is_joint() && new.quorum().learners.is_empty());
        assert_eq!(new.table().owned_by(NodeId(4)), crate::hash::PARTITIONS);
        assert!((1..4).all(|id| new.is_tombstone(NodeId(id))));
        assert_eq!(new.tombstones().len(), 3);
        // No tenure of the old cluster is valid in the new one.
        for (_, assignment) in new.table().iter() {
            assert_eq!(assignment.tenure.0, new.epoch().0);
            assert_eq!(assignment.inherits, None);
        }
    }

    #[test]
    fn a_paused_ring_stays_paused() {
        let mut old = old();
        assert!(!old.recover(recovery(2)).unwrap().is_paused());
        old.apply(&Command::SetPaused(true)).unwrap();
        let mut recovery = recovery(2);
        recovery.founder.version = old.version();
        assert!(old.recover(recovery).unwrap().is_paused());
    }

    #[test]
    fn a_recovered_state_can_be_used_like_any_other() {
        let mut new = old().recover(recovery(2)).unwrap();
        assert_eq!(State::decode(&new.encode()), Ok(new.clone()));
        new.view().unwrap();
        // The other nodes come back under their old names.
        for n in [1, 3] {
            new.apply(&Command::Join(joiner(n))).unwrap();
        }
        let again = new.recover(recovery(3)).unwrap();
        assert_eq!(again.supersedes().last(), Some(&NEW));
        assert_eq!(State::decode(&again.encode()), Ok(again));
    }

    #[test]
    fn it_supersedes_all_earlier_clusters_and_the_one_of_the_directory() {
        let old = old();
        let new = old.recover(recovery(1)).unwrap();
        let wanted = [ClusterId(7), ClusterId(8), old.cluster()];
        assert_eq!(new.supersedes(), wanted);
        let latched = |id| {
            let latched = Some(ClusterId(id));
            let recovery = Recovery {
                latched,
                ..recovery(1)
            };
            old.recover(recovery).unwrap().supersedes().to_vec()
        };
        assert_eq!(latched(old.cluster().0), wanted);
        assert_eq!(latched(9).last(), Some(&ClusterId(9)));
        let mut many = old.clone();
        many.supersedes = (0..KEPT_SUPERSEDED as u128).map(ClusterId).collect();
        let many = many.recover(recovery(1)).unwrap();
        assert_eq!(many.supersedes().len(), KEPT_SUPERSEDED);
        assert_eq!(many.supersedes().last(), Some(&old.cluster()));
    }

    #[test]
    fn a_founder_that_cannot_be_a_member_is_refused() {
        let mut wrong = recovery(1);
        wrong.founder.weight = 0;
        assert_eq!(old().recover(wrong), Err(Refusal::BadWeight(0)));
        let mut elder = recovery(1);
        elder.founder.version = 0;
        assert!(matches!(old().recover(elder), Err(Refusal::TooOld { .. })));
    }
}
