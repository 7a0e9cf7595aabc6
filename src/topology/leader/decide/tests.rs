//! Tests of the autopilot, as pairs of facts that a leader knows and the steps that follow.
//!
//! Each file of tests/data/autopilot is such a pair: lines of facts, a line `---`, and the steps that are
//! taken until there is none to take. `GCACHE_BLESS=1` writes the steps. The facts:
//!
//! - `leader ID`, `voters 3|5` (wanted), `members COUNT` (all up, in one zone, learners, heard and caught
//!   up), `unassigned` (the founder still owns everything), `failed-over MS` (ago), `paused` (the ring);
//! - `member IDS WORD…` with any of `zone=Z`, `voter`, `none` (in no quorum), `joining`, `leaving`, `left`
//!   (it was leaving before it was down), `down`, `back` (renews), `replaced`, `leaves-on-term`, `unlisted`,
//!   `lag=ENTRIES`, `heard=TICKS` (ago), `never` (heard), `snapshot` (is sent one, or probed), `stable=MS`
//!   (how long it has been caught up; 60000 by default).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::ids::{ClusterId, Epoch, Incarnation, Millis, NodeId};
use crate::topology::commands::{Agreed, Joiner};
use crate::topology::fixtures::named;
use crate::topology::leader::facts::{Heard, Noted, Since};
use crate::topology::lease::Renewal;
use crate::topology::model::member::Zone;
use crate::topology::model::quorum::{Progress, Quorum};
use crate::topology::moves::{MoveBook, MoveReport};
use crate::topology::state::{Founding, State};

/// The most steps of a case: one with more goes round in circles.
const STEPS_MAX: usize = 20;

const LAST_INDEX: u64 = 10_000;
const NOW: Millis = Millis(1_000_000);

/// The facts of a file.
struct Case {
    leader: NodeId,
    wanted: usize,
    state: State,
    progress: Vec<Progress>,
    heard: Heard,
    caught_up: Since,
    unlisted: BTreeSet<NodeId>,
    failed_over: Option<Millis>,
}

/// A member as a file describes it.
#[derive(Clone)]
struct Words(BTreeMap<String, String>);

impl Words {
    fn has(&self, word: &str) -> bool {
        self.0.contains_key(word)
    }

    fn text(&self, word: &str, otherwise: &str) -> String {
        self.0
            .get(word)
            .map_or(otherwise, String::as_str)
            .to_owned()
    }

    fn number(&self, word: &str, otherwise: u64) -> u64 {
        let text = self.0.get(word);
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    }
}

fn joiner(id: u64, words: &Words) -> Joiner {
    Joiner {
        zone: Zone::new(words.text("zone", "a")),
        leaves_on_term: words.has("leaves-on-term"),
        ..named(&format!("n{id}"))
    }
}

/// Reads the facts of a file.
fn case(text: &str) -> Case {
    let mut members: Vec<Words> = Vec::new();
    let (mut leader, mut wanted, mut failed_over, mut is_assigned) = (NodeId(1), 3, None, true);
    let mut is_paused = false;
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "leader" => leader = NodeId(rest.parse().expect("an id")),
            "voters" => wanted = rest.parse().expect("a number"),
            "members" => {
                let count = rest.parse().expect("a number");
                members = vec![Words(BTreeMap::new()); count];
            }
            "unassigned" => is_assigned = false,
            "paused" => is_paused = true,
            "failed-over" => failed_over = Some(Millis(NOW.0 - rest.parse::<u64>().expect("ms"))),
            "member" => {
                let mut words = rest.split(' ');
                let ids = words.next().expect("ids").split(',');
                let words: Vec<(String, String)> = words
                    .map(|word| word.split_once('=').unwrap_or((word, "")))
                    .map(|(word, value)| (word.to_owned(), value.to_owned()))
                    .collect();
                for id in ids {
                    let id: usize = id.parse().expect("an id");
                    members[id - 1].0.extend(words.iter().cloned());
                }
            }
            other => panic!("{other:?} is no fact"),
        }
    }
    let mut state = state(&members, is_assigned);
    let paused = state.apply(&Command::SetPaused(is_paused));
    paused.expect("a ring can be paused at any time");
    let mut case = Case {
        leader,
        wanted,
        state,
        progress: Vec::new(),
        heard: Heard::new(),
        caught_up: Since::new(),
        unlisted: BTreeSet::new(),
        failed_over,
    };
    for (id, words) in (1..).zip(&members) {
        case.know(NodeId(id), words);
    }
    case
}

impl Case {
    /// Adds what the leader knows of a member beside the state.
    fn know(&mut self, id: NodeId, words: &Words) {
        if !words.has("none") {
            self.progress.push(Progress {
                node: id,
                matched: LAST_INDEX - words.number("lag", 0),
                is_replicating: !words.has("snapshot"),
                silent_ticks: (!words.has("never")).then(|| words.number("heard", 1)),
            });
        }
        let stable = words.number("stable", 60_000);
        self.caught_up.insert(id, Millis(NOW.0 - stable));
        if words.has("back") {
            let renewal = Renewal {
                member: id,
                incarnation: Incarnation(1),
                sent_at: NOW,
                epoch: self.state.epoch(),
                moves: MoveReport::default(),
            };
            self.heard.insert(id, (renewal, NOW));
        }
        if words.has("unlisted") {
            self.unlisted.insert(id);
        }
    }

    fn step(&self) -> Option<Step> {
        let next = decide(&Facts {
            me: self.leader,
            state: &self.state,
            last_index: LAST_INDEX,
            progress: &self.progress,
            led_ticks: 10_000,
            noted: Noted {
                is_warm: true,
                voters: self.wanted,
                caught_up: &self.caught_up,
                unlisted: &self.unlisted,
                heard: &self.heard,
                settled: Epoch(1),
                now: NOW,
                failed_over: self.failed_over,
                is_shared_out: false,
            },
        });
        match next {
            Next::Step(step) => Some(step),
            Next::SharedOut | Next::Wait => None,
        }
    }

    /// Completes all moves.
    fn end_moves(&mut self) {
        let mut book = MoveBook::default();
        let _known = book.next(Millis(0), &self.state, self.state.epoch());
        if let Some(command) = book.next(NOW, &self.state, self.state.epoch()) {
            let ended = self.state.apply(&command);
            ended.expect("a leader knows what may be done");
        }
    }

    /// Takes a step as if it were committed. Returns it in words.
    fn take(&mut self, step: Step) -> String {
        match step {
            Step::Propose(command) => {
                let text = match &command {
                    Command::SetStatus(set) => format!("{} is {}", set.id, set.status),
                    Command::FailOver(fail_over) => format!("{} is failed over", fail_over.id),
                    Command::RemoveMember(id) => format!("{id} is removed"),
                    Command::Assign(_) => "partitions are shared out".into(),
                    Command::PrepareMoves(moves) => {
                        let count = moves.runs.iter().map(|run| run.count).sum::<u16>();
                        format!("{count} partitions move")
                    }
                    other => format!("{other:?}"),
                };
                self.state
                    .apply(&command)
                    .expect("a leader knows what may be done");
                self.end_moves();
                text
            }
            Step::ChangeQuorum(change) => {
                assert!(self.state.may_change_quorum(&change).is_ok(), "{change:?}");
                let mut quorum = self.state.quorum().clone();
                let mut text = Vec::new();
                for (id, role) in change.changes {
                    quorum.voters.remove(&id);
                    quorum.learners.remove(&id);
                    text.push(match role {
                        QuorumRole::Voter => {
                            quorum.voters.insert(id);
                            format!("{id} votes")
                        }
                        QuorumRole::Learner => {
                            quorum.learners.insert(id);
                            format!("{id} listens")
                        }
                        QuorumRole::Removed => format!("{id} is in no quorum"),
                    });
                    let is_peer = self.progress.iter().any(|peer| peer.node == id);
                    if !is_peer && role == QuorumRole::Learner {
                        // The member gets the log from now on, and catches up at once.
                        self.progress.push(Progress {
                            node: id,
                            matched: LAST_INDEX,
                            is_replicating: true,
                            silent_ticks: Some(1),
                        });
                    }
                }
                self.state.set_quorum(quorum);
                text.join(", ")
            }
        }
    }

    /// All steps until there is none to take, and what each member owns then.
    fn steps(mut self) -> String {
        let mut steps = String::new();
        for _ in 0..STEPS_MAX {
            let Some(step) = self.step() else {
                let owned = self.state.members().map(|member| {
                    format!("{} {}", member.id, self.state.table().owned_by(member.id))
                });
                let owned: Vec<_> = owned.collect();
                let _infallible = writeln!(steps, "owned: {}", owned.join(", "));
                return steps;
            };
            let step = self.take(step);
            let _infallible = writeln!(steps, "{step}");
        }
        panic!("more than {STEPS_MAX} steps: {steps}");
    }
}

fn state(members: &[Words], is_assigned: bool) -> State {
    let mut state = State::found(Founding {
        cluster: ClusterId(1),
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: joiner(1, &members[0]),
    });
    let apply = |state: &mut State, command: Command| {
        state
            .apply(&command)
            .expect("a case describes a possible state");
    };
    let status = |id, status| {
        Command::SetStatus(SetStatus {
            id,
            status,
            incarnation: Incarnation(1),
        })
    };
    for (id, words) in (1..).zip(members) {
        if id > 1 {
            apply(&mut state, Command::Join(joiner(id, words)));
        }
        if !words.has("joining") {
            apply(&mut state, status(NodeId(id), MemberStatus::Up));
        }
    }
    if is_assigned && let Some(assign) = state.plan_assign() {
        apply(&mut state, assign);
    }
    let mut quorum = Quorum::default();
    for (id, words) in (1..).map(NodeId).zip(members) {
        if words.has("leaving") || words.has("left") {
            apply(&mut state, status(id, MemberStatus::Leaving));
        }
        if words.has("down") {
            let fail_over = state.plan_fail_over(id).expect("it was up");
            apply(&mut state, fail_over);
        }
        if words.has("replaced") {
            apply(&mut state, Command::Join(joiner(id.0, words)));
        }
        match (words.has("voter"), words.has("none")) {
            (true, _) => quorum.voters.insert(id),
            (false, true) => false,
            (false, false) => quorum.learners.insert(id),
        };
    }
    state.set_quorum(quorum);
    state
}

#[test]
fn each_case_has_the_steps_in_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/autopilot");
    let mut count = 0;
    for file in std::fs::read_dir(&folder).expect("the cases are there") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a case is text");
        let (facts, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let found = case(facts).steps();
        if std::env::var_os("GCACHE_BLESS").is_some() {
            let blessed = format!("{}---\n{found}", facts.trim_end().to_owned() + "\n");
            std::fs::write(&path, blessed).expect("the case is writable");
        } else {
            assert_eq!(found, expected, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 20, "{count} cases");
}
