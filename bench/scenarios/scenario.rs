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

/// Three nodes, one frontend, two minutes and a half at most.
const THREE: Scenario = Scenario {
    name: "",
    what: "",
    nodes: 3,
    zones: 3,
    frontends: 1,
    sized_for: 3,
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
        ..THREE
    },
    Scenario {
        name: "frozen",
        what: "one of three nodes, which does not lead, answers nothing for 15 s (SIGSTOP)",
        steps: &[Step::Freeze(15)],
        demands: &[
            Demand::FailedShare(0.0),
            Demand::P99RatioAfter {
                seconds: 5.0,
                ratio: 3.0,
            },
        ],
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
}
