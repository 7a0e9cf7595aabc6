//! What keeps a node from becoming a member that is up: one of a closed set of kinds, and a reason in words. Pure.
//!
//! `node/member` notes each obstacle where it meets it; `readiness` shows the latest. A node that is refused passes
//! the kind to the node that it refuses, by its label.

use std::fmt;

use super::Reason;
use super::superseded::Fate;
use crate::ids::ClusterId;
use crate::topology::commands::refusal::Refusal;

/// The most seeds that a reason names.
const NAMED_MAX: usize = 8;

/// What sort of obstacle it is: a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No cluster is known, and this node may not found one, or not yet.
    NotFounded,
    /// None of the seeds answers.
    SilentSeeds,
    /// Nodes of the cluster answer, but none of them leads to a leader.
    NoLeader,
    /// It was let in, but the members do not reach its Raft port: nothing of the log arrives.
    NoRoute,
    /// Its executable is older than what is in use.
    TooOld,
    /// Its configuration names another cluster.
    OtherName,
    /// It asks for the cluster of its data directory, and the seeds are of another.
    OtherCluster,
    /// A member that is not down has its name.
    NameTaken,
    /// There are as many members as there may be.
    Full,
    /// It was removed, or another member took its place.
    Removed,
    /// The same member has started again somewhere: this one's directory is an old copy.
    StaleCopy,
    /// The data directory cannot be used: it is of another member, or the disk refuses.
    Directory,
    /// A setting that all members share differs.
    OtherSettings,
    /// It is refused for another reason.
    Refused,
}

impl Kind {
    /// Each, with its label.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::NotFounded, "not_founded"),
        (Self::SilentSeeds, "silent_seeds"),
        (Self::NoLeader, "no_leader"),
        (Self::NoRoute, "no_route"),
        (Self::TooOld, "too_old"),
        (Self::OtherName, "other_name"),
        (Self::OtherCluster, "other_cluster"),
        (Self::NameTaken, "name_taken"),
        (Self::Full, "full"),
        (Self::Removed, "removed"),
        (Self::StaleCopy, "stale_copy"),
        (Self::Directory, "directory"),
        (Self::OtherSettings, "other_settings"),
        (Self::Refused, "refused"),
    ];

    /// The word for it on the wire and in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        let labels = Self::ALL.iter();
        let mut own = labels.filter(|(kind, _)| *kind == self);
        own.next().map_or("refused", |(_, label)| label)
    }

    /// The kind of this label. An older or newer node may say another word, or none.
    #[must_use]
    pub fn of_label(text: &str) -> Self {
        let mut kinds = Self::ALL.iter().filter(|(_, label)| *label == text);
        kinds.next().map_or(Self::Refused, |(kind, _)| *kind)
    }
}

impl From<&Refusal> for Kind {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::TooOld { .. } => Self::TooOld,
            Refusal::NameTaken { .. } => Self::NameTaken,
            Refusal::TooManyMembers => Self::Full,
            Refusal::Removed(_) | Refusal::UnknownMember(_) | Refusal::Replaced { .. } => {
                Self::Removed
            }
            Refusal::OtherIncarnation { .. } => Self::StaleCopy,
            Refusal::Renamed { .. } => Self::Directory,
            Refusal::SettingDiffers { .. } => Self::OtherSettings,
            _ => Self::Refused,
        }
    }
}

impl From<&Fate> for Obstacle {
    /// The log that a node had is of no use: it joins anew.
    fn from(fate: &Fate) -> Self {
        let kind = match fate {
            Fate::Superseded { .. } => Kind::OtherCluster,
            Fate::Removed(_) => Kind::Removed,
            Fate::Stale { .. } => Kind::StaleCopy,
        };
        Self::new(
            kind,
            format!("{fate}: its log is set aside, and it joins anew"),
        )
    }
}

/// What keeps a node from becoming a member that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What sort it is.
    pub kind: Kind,
    /// What it is, for the operator of this node.
    pub why: Reason,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Obstacle {
    /// One of this kind.
    #[must_use]
    pub fn new(kind: Kind, why: impl Into<Reason>) -> Self {
        let why = why.into();
        Self { kind, why }
    }

    /// A node without a log may not found a cluster because of `why`; it has asked the seeds `asked`, and so many
    /// of them `answered`.
    #[must_use]
    pub fn before_founding(why: Reason, asked: &[String], answered: usize) -> Self {
        if asked.is_empty() || answered > 0 {
            return Self::new(Kind::NotFounded, why);
        }
        let seeds = listed(asked);
        Self::new(Kind::SilentSeeds, format!("{why}; no answer from {seeds}"))
    }

    /// No node had `cluster` let this node in, though none refused it either: it has asked the seeds `asked`, and
    /// so many of them `answered`.
    #[must_use]
    pub fn before_entering(cluster: ClusterId, asked: &[String], answered: usize) -> Self {
        let seeds = listed(asked);
        match answered {
            0 => Self::new(
                Kind::SilentSeeds,
                format!(
                    "the data directory belongs to cluster {cluster}, and no seed answers: {seeds}"
                ),
            ),
            _ => Self::new(
                Kind::NoLeader,
                format!("no leader of cluster {cluster} is reached through {seeds}"),
            ),
        }
    }

    /// The log of a member that was let in says nothing of it, or not that it is up. Its Raft listens at `place`.
    #[must_use]
    pub fn of_silent_log(place: &str, knows_leader: bool) -> Self {
        match knows_leader {
            true => Self::new(Kind::NoLeader, "its start is not committed yet"),
            false => Self::new(
                Kind::NoRoute,
                format!("no leader is heard: the other members must reach {place}"),
            ),
        }
    }
}

/// Names the seeds, but not too many.
#[must_use]
pub fn listed(seeds: &[String]) -> String {
    let named = seeds.iter().take(NAMED_MAX);
    let mut text = named.map(String::as_str).collect::<Vec<_>>().join(", ");
    match seeds.len() {
        0 => text.push_str("(no seed has an address)"),
        more if more > NAMED_MAX => {
            text.push_str(&format!(" and {} more", more - NAMED_MAX));
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, NodeId};

    #[test]
    fn each_kind_has_a_label_of_its_own_and_an_unknown_word_is_a_refusal() {
        for (kind, label) in Kind::ALL {
            assert_eq!((kind.label(), Kind::of_label(label)), (label, kind));
        }
        for text in ["", "of a later version"] {
            assert_eq!(Kind::of_label(text), Kind::Refused);
        }
    }

    #[test]
    fn what_a_leader_refuses_has_its_kind() {
        let (id, by) = (NodeId(4), NodeId(5));
        let name: std::sync::Arc<str> = "a".into();
        let text = || String::new();
        for (refusal, kind) in [
            (Refusal::TooOld { ours: 3, theirs: 2 }, Kind::TooOld),
            (Refusal::NameTaken { name, holder: id }, Kind::NameTaken),
            (Refusal::TooManyMembers, Kind::Full),
            (Refusal::Removed(id), Kind::Removed),
            (Refusal::Replaced { id, by }, Kind::Removed),
            (
                Refusal::OtherIncarnation {
                    id,
                    known: Incarnation(3),
                    found: Incarnation(2),
                },
                Kind::StaleCopy,
            ),
            (
                Refusal::SettingDiffers {
                    setting: "partitions",
                    ours: text(),
                    theirs: text(),
                },
                Kind::OtherSettings,
            ),
            (Refusal::BadWeight(0), Kind::Refused),
        ] {
            assert_eq!(Kind::from(&refusal), kind, "{refusal}");
        }
    }

    #[test]
    fn seeds_that_answer_nothing_are_named() {
        let seeds: Vec<String> = (1..=10).map(|seed| format!("n{seed}:8001")).collect();
        let one = &seeds[..1];
        let (no, yes) = (0, 1);
        let before = |asked, answered| {
            let obstacle = Obstacle::before_founding("alone".into(), asked, answered);
            (obstacle.kind, obstacle.why)
        };
        assert_eq!(before(&[], no), (Kind::NotFounded, "alone".into()));
        assert_eq!(before(one, yes), (Kind::NotFounded, "alone".into()));
        let silent = "alone; no answer from n1:8001".into();
        assert_eq!(before(one, no), (Kind::SilentSeeds, silent));
        let entering = |answered| Obstacle::before_entering(ClusterId(1), &seeds, answered);
        assert_eq!(entering(yes).kind, Kind::NoLeader);
        let silent = entering(no);
        assert_eq!(silent.kind, Kind::SilentSeeds);
        assert!(silent.why.ends_with("n8:8001 and 2 more"), "{silent}");
    }
}
