//! The scenarios: what happens to which cluster, and what must not come of it. Data; `run` carries it out.

use std::time::Duration;

/// A cluster under load, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// In a sentence, for the report.
    pub(crate) what: &'static str,
    /// How many nodes there are before anything happens.
    pub(crate) nodes: usize,
    pub(crate) zones: usize,
    /// The load goes to all of them in turn. They are dealt to the zones as nodes are.
    pub(crate) frontends: usize,
    /// There are twice as many keys as this many nodes hold: the fewest of all times.
    pub(crate) sized_for: usize,
    /// How many members keep each entry: a setting of the group.
    pub(crate) copies: u64,
    /// Whether a node that is stopped is gone for good.
    pub(crate) leaves: bool,
    pub(crate) steps: &'static [Step],
    pub(crate) demands: &'static [Demand],
    /// It stops by itself after this long, whatever happens.
    pub(crate) bound: Duration,
}

/// What happens, one after the other. Each step ends when the cluster has converged again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Another node joins.
    Join,
    /// The last node leaves (SIGTERM).
    Leave,
    /// The node that leads is killed.
    KillLeader,
    /// A node that does not lead is killed.
    KillFollower,
    /// All nodes of the last zone are killed, at once.
    KillZone,
    /// A node that does not lead is stopped (SIGSTOP) for so many seconds. It has converged when the others
    /// own what it owned, and again after that when it is back.
    Freeze(u64),
    /// A node is stopped (SIGTERM) and started again, and then the next, until each was.
    RestartAll,
    /// The nodes and frontends of the last zone and the others do not reach each other for so many seconds. It
    /// has converged when the others own everything, and again after that when the links are whole.
    CutZone(u64),
    /// Nothing arrives, for so many seconds, that a node which does not lead sends to the others and to frontends.
    Mute(u64),
    /// Nothing arrives, for so many seconds, that the others and the frontends send to such a node.
    Deaf(u64),
    /// The disk of the last of the first nodes is full for so many seconds at least, while the cluster commits. It
    /// has converged when the node has ended and the others own everything, and again when it was started with
    /// room.
    FillDisk(u64),
    /// A node that does not lead shares one core with so many endless loops for so many seconds.
    Crowd {
        loops: usize,
        niceness: i32,
        seconds: u64,
    },
}

/// What is demanded of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Demand {
    /// In no window is the hit ratio lower by more than so many points.
    HitDropPoints(f64),
    /// In no window is it lower than this share of what it was before.
    HitFloor(f64),
    /// In no window is the origin asked more than so many times as often.
    OriginRatio(f64),
    /// Exactly as many partitions change owner as must.
    FairMoves,
    /// Each step has converged after so many seconds.
    ConvergedSeconds(f64),
    /// At most this share of all requests fails.
    FailedShare(f64),
    /// Nothing fails later than so many seconds after the change.
    NoFailureAfter(f64),
    /// The p99.9 until five seconds after the last step has converged is at most so many times what it was.
    TailRatio(f64),
    /// From so many seconds on, no window has a p99 of more than so many times what it was.
    P99RatioAfter { seconds: f64, ratio: f64 },
}

/// What moves of partitions must not do.
const OF_MOVES: &[Demand] = &[
    Demand::HitDropPoints(1.0),
    Demand::OriginRatio(1.25),
    Demand::FairMoves,
    Demand::ConvergedSeconds(10.0),
    Demand::FailedShare(0.0),
    Demand::TailRatio(2.0),
];

/// What the loss of a node must not do.
const OF_LOSSES: &[Demand] = &[
    Demand::FailedShare(0.0),
    Demand::FairMoves,
    Demand::ConvergedSeconds(10.0),
];

/// What the loss of a node must not do to those who pay for a second copy.
const OF_COPIES: &[Demand] = &[
    Demand::FailedShare(0.0),
    Demand::HitDropPoints(2.0),
    Demand::ConvergedSeconds(10.0),
];

/// What a node that is ill must not do.
const OF_ILLNESSES: &[Demand] = &[
    Demand::FailedShare(0.0),
    Demand::P99RatioAfter {
        seconds: 5.0,
        ratio: 3.0,
    },
];

/// Three nodes, one frontend, two minutes and a half at most.
const THREE: Scenario = Scenario {
    name: "",
    what: "",
    nodes: 3,
    zones: 3,
    frontends: 1,
    sized_for: 3,
    copies: 1,
    leaves: false,
    steps: &[],
    demands: OF_LOSSES,
    bound: Duration::from_secs(220),
};

/// All there are.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "3to4",
        what: "a fourth node joins three",
        steps: &[Step::Join],
        demands: OF_MOVES,
        ..THREE
    },
    Scenario {
        name: "4to3",
        what: "one of four nodes leaves for good (SIGTERM, `leave_on_term`)",
        nodes: 4,
        leaves: true,
        steps: &[Step::Leave],
        demands: OF_MOVES,
        ..THREE
    },
    Scenario {
        name: "6to12",
        what: "six nodes join six, one after the other",
        nodes: 6,
        sized_for: 6,
        steps: &[Step::Join; 6],
        demands: OF_MOVES,
        bound: Duration::from_secs(400),
        ..THREE
    },
    Scenario {
        name: "killed-follower",
        what: "one of three nodes, which does not lead, is killed (SIGKILL)",
        steps: &[Step::KillFollower],
        ..THREE
    },
    Scenario {
        name: "killed-leader",
        what: "the leader of three nodes is killed (SIGKILL)",
        steps: &[Step::KillLeader],
        ..THREE
    },
    Scenario {
        name: "zone-killed",
        what: "both nodes of one of three zones are killed at once (SIGKILL); the frontends are in the other two",
        nodes: 6,
        frontends: 2,
        sized_for: 4,
        steps: &[Step::KillZone],
        demands: &[Demand::FailedShare(0.0001), Demand::NoFailureAfter(5.0)],
        bound: Duration::from_secs(300),
        ..THREE
    },
    Scenario {
        name: "killed-follower-copies",
        what: "one of three nodes, which does not lead, is killed (SIGKILL); each entry has two copies",
        sized_for: 2,
        copies: 2,
        steps: &[Step::KillFollower],
        demands: OF_COPIES,
        ..THREE
    },
    Scenario {
        name: "zone-killed-copies",
        what: "both nodes of one of three zones are killed at once (SIGKILL); each entry has two copies, in two zones",
        nodes: 6,
        frontends: 2,
        sized_for: 4,
        copies: 2,
        steps: &[Step::KillZone],
        demands: &[
            Demand::FailedShare(0.0001),
            Demand::NoFailureAfter(5.0),
            Demand::HitDropPoints(2.0),
        ],
        bound: Duration::from_secs(300),
        ..THREE
    },
    Scenario {
        name: "zone-cut-off",
        what: "both nodes and the frontend of one of three zones and all others do not reach each other for 20 s; load and PostgreSQL reach all",
        nodes: 6,
        frontends: 3,
        sized_for: 6,
        steps: &[Step::CutZone(20)],
        demands: &[Demand::FailedShare(0.0)],
        bound: Duration::from_secs(300),
        ..THREE
    },
    Scenario {
        name: "frozen",
        what: "one of three nodes, which does not lead, answers nothing for 15 s (SIGSTOP)",
        steps: &[Step::Freeze(15)],
        demands: OF_ILLNESSES,
        ..THREE
    },
    Scenario {
        name: "one-way-out",
        what: "nothing that one of three nodes, which does not lead, sends to the others and the frontend arrives for 20 s",
        steps: &[Step::Mute(20)],
        demands: OF_ILLNESSES,
        bound: Duration::from_secs(240),
        ..THREE
    },
    Scenario {
        name: "one-way-in",
        what: "nothing that the others and the frontend send to one of three nodes, which does not lead, arrives for 20 s",
        steps: &[Step::Deaf(20)],
        demands: OF_ILLNESSES,
        bound: Duration::from_secs(240),
        ..THREE
    },
    Scenario {
        name: "disk-full",
        what: "the disk of one of three nodes is full while the cluster commits; after 15 s there is room and it starts again",
        steps: &[Step::FillDisk(15)],
        demands: OF_ILLNESSES,
        bound: Duration::from_secs(240),
        ..THREE
    },
    Scenario {
        name: "busy-cpu",
        what: "one of three nodes, which does not lead, shares one core with four endless loops for 20 s",
        steps: &[Step::Crowd {
            loops: 4,
            niceness: 0,
            seconds: 20,
        }],
        demands: OF_ILLNESSES,
        bound: Duration::from_secs(240),
        ..THREE
    },
    Scenario {
        name: "starved-cpu",
        what: "the same, and the node weighs next to nothing beside them (`nice` 19)",
        steps: &[Step::Crowd {
            loops: 4,
            niceness: 19,
            seconds: 20,
        }],
        demands: OF_ILLNESSES,
        bound: Duration::from_secs(240),
        ..THREE
    },
    Scenario {
        name: "rolling-restart",
        what: "each of three nodes is stopped (SIGTERM) and started again, one after the other",
        steps: &[Step::RestartAll],
        demands: &[Demand::FailedShare(0.0), Demand::HitFloor(0.9)],
        ..THREE
    },
];

impl Scenario {
    /// Whether partitions move as planned, so that it is of interest whether their entries go with them.
    pub(crate) fn is_about_moves(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Join | Step::Leave | Step::RestartAll))
    }

    /// Whether its nodes and frontends are on hosts of their own, so that links can be cut: needs root.
    pub(crate) fn cuts_links(&self) -> bool {
        let is_cut = |step: &Step| matches!(step, Step::CutZone(_) | Step::Mute(_) | Step::Deaf(_));
        self.steps.iter().any(is_cut)
    }

    /// Whether the last of its first nodes has a small disk of its own: needs root.
    pub(crate) fn fills_a_disk(&self) -> bool {
        let fills = |step: &Step| matches!(step, Step::FillDisk(_));
        self.steps.iter().any(fills)
    }

    /// Whether one core is kept for a node that is crowded. What is left for the load and all others then bears
    /// half of the rate.
    pub(crate) fn crowds_a_core(&self) -> bool {
        let crowds = |step: &Step| matches!(step, Step::Crowd { .. });
        self.steps.iter().any(crowds)
    }

    /// The requests per second of a run that is asked for so many.
    pub(crate) fn rate(&self, rate: u32) -> u32 {
        match self.crowds_a_core() {
            true => (rate / 2).max(1),
            false => rate,
        }
    }
}
